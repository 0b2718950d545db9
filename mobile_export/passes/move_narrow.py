"""Layers that widen are computed after their input is rearranged, not before.

With P a chain of permutes and reshapes that leaves the channels of a pixel together,

    P(layer(x)) = layer(P'(x))     P' the same for another number of channels

for linear layers and 1x1 convolutions. P' moves less than P when the layer has fewer inputs than
outputs, and merges with the movements in front of the layer. `move_less` has the same rule; this is
for formats that take rank 5 (Core ML), where the rest of it costs more ops than it saves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..graph.editor import GraphEditor
from ..graph.pointwise import move_before
from .limit_rank import write_whole
from .remove_noops import simplify

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["move_narrow"]

aten = torch.ops.aten


def move_narrow(program: Program) -> PassResult:
    """No wide result of a layer is moved where its narrow input can be."""
    graph = GraphEditor(program)
    for node in graph.find(aten.conv2d.default, aten.linear.default):
        move_before(graph, node, write_whole)
    if graph.edits:
        graph.sweep()
        simplify(graph)
    return graph.result()
