"""What a format takes of a plan whose runtime multiplies integers inside single layers.

A plan says of every tensor which integers it is stored in, with a zero point. A runtime like ncnn
has integers inside its convolutions and linear layers only, and zero is always stored as 0. The
projection keeps the weights of such layers and their biases, as they are; what the layer reads
has a symmetric scale that reaches as far as the plan's range on its longer side; all else is
computed in floating point. TNN's layers give integers only, so what they give has such a scale,
too, and biases are integers of the symmetric scale times that of the weights. It follows from the
plan and the row of the format alone.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..errors import UsageError
from ..graph.editor import GraphEditor
from ..graph.roundings import CLAMPS, limits_of
from .assign import assign, module_of, name_of
from .plan import Floating, Kind, PlannedTensor, QuantizationPlan

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
    graph = GraphEditor(program)
    found = assign(graph)
    activations, weights = plan.by_name("activation"), plan.by_name("weight")
    biases = plan.by_name("bias")
    tensors: list[PlannedTensor] = []
    floating = list(plan.floating)
    ends: set[Node] = set()
    for node, role in found.roles.items():
        if node in ends:
            continue
        layer = found.layers.get(node)
        why = _BETWEEN
        end = node
        if role == "layer" and layer is not None:
            why = left.get(node.name) or _why_not(node, layer, activations, weights, takes)
            if takes.gives and not why:
                end, why = _end(graph, node, activations, takes)
        if why:
            floating.append(Floating(node.name, name_of(node), why, module_of(node)))
            continue
        assert layer is not None
        weight, bias = weights[node.name], biases.get(node.name)
        source = _symmetric(node, "source", activations[layer.source.name], takes.least)
        if takes.gives:
            ends.add(end)
            result = _symmetric(end, "result", activations[end.name], takes.least)
            tensors += [source, result, *_of_integers(weight, bias, source)]
        else:
            tensors += [source, *_stored(weight, bias)]
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


def _end(
    graph: GraphEditor, node: Node, activations: Container[str], takes: IntegerLayers
) -> tuple[Node, str]:
    """The node that gives the integers of a layer: itself, or the activation that is computed with
    it; and why there is none, or nothing."""
    if node.name in activations:
        return node, ""
    user = graph.only_user(node)
    if user is None or user.name not in activations:
        return node, "the plan has no scale for what it gives"
    if _activation(user) in takes.gives[name_of(node)]:
        return user, ""
    return node, f"no layer of integers computes the {name_of(user)} behind it"


_SAME_AS = {(0.0, math.inf): "relu", (0.0, 6.0): "relu6"}


def _activation(node: Node) -> str:
    """``relu`` or ``relu6``, however it is spelled; else the name of the operator."""
    name = name_of(node)
    if node.target not in CLAMPS:
        return name
    low, high = limits_of(node)
    bounds = (-math.inf if low is None else low, math.inf if high is None else high)
    return _SAME_AS.get(bounds, name)


def _symmetric(node: Node, kind: Kind, planned: PlannedTensor, least: int) -> PlannedTensor:
    """What a layer reads or gives, with zero in the middle."""
    low, high = (abs(each - planned.zero_point[0]) for each in (planned.low, planned.high))
    limit = 2 ** (planned.bits - 1) - 1
    step = _invertible(max(low, high) * planned.scale[0] / limit)
    return PlannedTensor(
        name=node.name,
        kind=kind,
        bits=planned.bits,
        symmetric=True,
        scale=[step],
        zero_point=[0],
        why=f"symmetric, as far as the plan's range: {planned.why}",
        module=planned.module,
        least=least,
    )


def _invertible(scale: float) -> float:
    """The float32 scale next to ``scale`` that is its own reciprocal's reciprocal: files hold the
    numbers that integers are multiplied by, 1 / scale, in float32."""
    stored = np.float32(1.0 / np.float64(scale))
    return float(np.float32(1.0 / np.float64(stored)))


def _of_integers(
    weight: PlannedTensor, bias: PlannedTensor | None, source: PlannedTensor
) -> list[PlannedTensor]:
    """The integers that a layer stores which gives integers: its file has the scale of the input
    times those of the weights, in float32, from which those of the weights come back."""
    (step,) = source.scale
    scales = [_divisible(each, step) for each in weight.scale]
    made = [msgspec.structs.replace(weight, scale=scales)]
    if bias is None:
        return made
    products = [float(np.float32(each * step)) for each in scales]
    why = f"{bias.why}; the scale of the input is symmetric"
    return [*made, msgspec.structs.replace(bias, scale=products, why=why)]


_NEIGHBOURS = 8


def _divisible(scale: float, step: float) -> float:
    """The float32 number next to ``scale`` that comes back when its product with ``step``, in
    float32, is divided by ``step``."""
    up = down = np.float32(scale)
    for _ in range(_NEIGHBOURS):
        for each in (up, down):
            product = np.float32(float(each) * step)
            if np.float32(float(product) / step) == each:
                return float(each)
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
    raise AssertionError(f"no float32 number next to {scale} comes back from {step}")


def _stored(weight: PlannedTensor, bias: PlannedTensor | None) -> list[PlannedTensor]:
    """The integers that a layer stores."""
    steps = [_invertible(each) for each in weight.scale]
    made = [msgspec.structs.replace(weight, scale=steps)]
    return made if bias is None else [*made, bias]
