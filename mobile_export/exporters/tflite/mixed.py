"""Layers in float32 between integers, as mixed precision leaves them: refused.

LiteRT's converter makes integers of stored weights wherever what a layer reads and gives are
integers, by scales of its own, whatever the plan says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ExportError
from ...graph.editor import GraphEditor
from ...graph.layers import WeightedLayer, layer_of
from ...graph.quantized import is_quantization

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["refuse_float_layers"]


def refuse_float_layers(program: Program) -> None:
    """Refuse a program with a plan in it that leaves a layer in float32 between integers.

    Raises:
        ExportError: it names the layers.
    """
    graph = GraphEditor(program)
    found = [
        node.name
        for node in graph.nodes
        if isinstance(layer := layer_of(graph, node), WeightedLayer)
        and is_quantization(layer.source)
    ]
    if found:
        named = ", ".join(found[:3]) + (" and others" if found[3:] else "")
        raise ExportError(
            f"The plan leaves {named} in float32 between integers, and LiteRT's converter makes "
            "integers of such weights by itself.",
            hint="Use another format, or a lower `sqnr` or `agreement`.",
        )
