"""What a format takes of a plan whose runtime multiplies integers inside single layers.

A plan says of every tensor which integers it is stored in, with a zero point. A runtime like ncnn
has integers inside its convolutions and linear layers only, and zero is always stored as 0. The
projection keeps the weights of such layers and their biases, as they are; what the layer reads
has a symmetric scale that reaches as far as the plan's range on its longer side; all else is
computed in floating point. It follows from the plan and the row of the format alone.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..errors import UsageError
from ..graph.editor import GraphEditor
from .assign import assign, module_of, name_of
from .plan import Floating, PlannedTensor, QuantizationPlan

if TYPE_CHECKING:
    from torch.fx import Node

    from ..exporters.row import IntegerLayers
    from ..graph.layers import WeightedLayer
    from ..graph.program import Program

__all__ = ["project"]

_BETWEEN = "computed in float32 between layers of integers"


def project(
    program: Program,
    plan: QuantizationPlan,
    takes: IntegerLayers,
    left: Mapping[str, str],
    title: str,
) -> QuantizationPlan:
    """The plan that a format of `IntegerLayers` carries out.

    Args:
        program: that ``plan`` is of.
        left: layers that the format cannot take, by name -> why.
        title: of the format, for messages.

    Raises:
        UsageError: no layer can multiply integers.
    """
    found = assign(GraphEditor(program))
    activations, weights = plan.by_name("activation"), plan.by_name("weight")
    biases = plan.by_name("bias")
    tensors: list[PlannedTensor] = []
    floating = list(plan.floating)
    for node, role in found.roles.items():
        layer = found.layers.get(node)
        why = _BETWEEN
        if role == "layer" and layer is not None:
            why = left.get(node.name) or _why_not(node, layer, activations, weights, takes)
        if why:
            floating.append(Floating(node.name, name_of(node), why, module_of(node)))
            continue
        assert layer is not None
        source = _symmetric(node, activations[layer.source.name])
        tensors += [source, *_stored(weights[node.name], biases.get(node.name))]
    if not tensors:
        raise UsageError(
            f"{program.spec} has no layer that {title} can compute with integers.",
            hint="Leave `precision` out; or choose another format.",
        )
    return msgspec.structs.replace(plan, tensors=tensors, floating=floating)


def _why_not(
    node: Node,
    layer: WeightedLayer,
    activations: Container[str],
    weights: Container[str],
    takes: IntegerLayers,
) -> str:
    """Why a layer is computed in floating point; nothing where it multiplies integers."""
    name = name_of(node)
    if name not in takes.operators:
        return takes.lacks.get(name, "there is no layer of integers for it")
    if takes.grouped and layer.groups not in (1, layer.channels):
        return takes.grouped
    if node.name not in weights:
        return "the plan leaves its weights in float32"
    if layer.source.name not in activations:
        return "the plan has no scale for what it reads"
    return ""


def _symmetric(node: Node, planned: PlannedTensor) -> PlannedTensor:
    """What a layer reads, with zero in the middle."""
    low, high = (abs(each - planned.zero_point[0]) for each in (planned.low, planned.high))
    limit = 2 ** (planned.bits - 1) - 1
    step = _invertible(max(low, high) * planned.scale[0] / limit)
    return PlannedTensor(
        name=node.name,
        kind="source",
        bits=planned.bits,
        symmetric=True,
        scale=[step],
        zero_point=[0],
        why=f"symmetric, as far as the plan's range: {planned.why}",
        module=planned.module,
    )


def _invertible(scale: float) -> float:
    """The float32 scale next to ``scale`` that is its own reciprocal's reciprocal: files hold the
    numbers that integers are multiplied by, 1 / scale, in float32."""
    stored = np.float32(1.0 / np.float64(scale))
    return float(np.float32(1.0 / np.float64(stored)))


def _stored(weight: PlannedTensor, bias: PlannedTensor | None) -> list[PlannedTensor]:
    """The integers that a layer stores."""
    steps = [_invertible(each) for each in weight.scale]
    made = [msgspec.structs.replace(weight, scale=steps)]
    return made if bias is None else [*made, bias]
