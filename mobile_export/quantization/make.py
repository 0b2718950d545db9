"""Making a plan: from a prepared program and samples to a scale for each tensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..errors import UsageError
from ..graph.editor import GraphEditor
from .assign import Assignment, assign, module_of, name_of
from .blocks import plan_blocks
from .calibrate import measure
from .correct import InputMeans, mean_error
from .histogram import Histogram
from .insert import rounded_values
from .palettes import plan_palettes
from .plan import Chosen, Floating, PlannedTensor, QuantizationPlan, program_hash
from .ranges import Grid, Steps, fit, fit_weight
from .roles import FIXED
from .schemes import SCHEMES, Scheme

if TYPE_CHECKING:
    from torch.fx import Node

    from ..graph.layers import WeightedLayer
    from ..graph.program import Program
    from ..parity.samples import Sample

__all__ = ["make_plan", "small_layers", "weight_rows"]


def make_plan(
    program: Program, precision: str, samples: Sequence[Sample], chosen: Chosen
) -> QuantizationPlan:
    """A plan of a prepared program.

    Args:
        precision: of `SCHEMES`.
        samples: that ranges are measured on; none where activations are floating point.
        chosen: who chooses, and by which method.

    Raises:
        UsageError: nothing in the program can be integers, or a sample gives NaN.
    """
    scheme = SCHEMES[precision]
    graph = GraphEditor(program)
    found = assign(graph)
    if not found.layers:
        raise UsageError(
            f"{program.spec} has no layer with stored weights: nothing of it can be {precision}.",
            hint="Leave `precision` out.",
        )
    if scheme.palette:
        palettes, floating = plan_palettes(found.layers, scheme.weights)
        if not palettes:
            raise UsageError(
                f"{program.spec} has no layer with more than {2**scheme.weights} weights: "
                f"{precision} would not make it smaller.",
                hint="Leave `precision` out.",
            )
        return QuantizationPlan(
            program.spec, program_hash(program), precision, chosen, palettes, floating
        )
    if scheme.block is not None:
        method = chosen.method
        blocks, floating = plan_blocks(found.layers, scheme.weights, scheme.block, method)
        if all(each.bits > scheme.weights for each in blocks):
            raise UsageError(
                f"{program.spec} has no layer whose input channels are blocks of "
                f"{scheme.block // 2} to {scheme.block}: "
                f"nothing of it can be {precision}.",
                hint="Ask for `precision='int8-weights'`, or leave it out.",
            )
        return QuantizationPlan(
            program.spec, program_hash(program), precision, chosen, blocks, floating
        )
    activations: dict[Node, PlannedTensor] = {}
    means = InputMeans(found.layers.values())
    if scheme.activations is not None:
        names = [node.name for node in found.tensors]
        measured = measure(program, samples, names, means)
        activations = _activations(found, measured, scheme.activation_grid, chosen.method)
        for node in found.constants:
            activations[node] = _constant(graph, node, scheme.activation_grid)
    tensors = [activations[node] for node in graph.nodes if node in activations]
    floating = found.floating
    if scheme.activations is None:  # every operator computes in float32
        floating = [] if scheme.dynamic else small_layers(found.layers)
    left = {each.name for each in floating}
    for node, layer in found.layers.items():
        if node.name in left:
            continue
        source = activations.get(layer.source)
        tensors += _of_layer(node, layer, source, scheme, chosen.method, means[layer])
    return QuantizationPlan(
        model=program.spec,
        program=program_hash(program),
        precision=precision,
        chosen=chosen,
        tensors=tensors,
        floating=floating,
    )


_FEW = 2048
_SHARE = 0.01


def small_layers(layers: Mapping[Node, WeightedLayer]) -> list[Floating]:
    """Layers whose weights stay float32 where only weights are integers, the smallest first.

    Those of fewer than 2,048 weights, while all of them together make the file at most 1 % larger.
    They are the first of a network, whose noise all others pass on: in EfficientNet-Lite0 the first
    depthwise layer, 288 of 4.6 million weights, makes most of it.
    """
    sizes = {node: (layer.weight.numel(), layer.channels) for node, layer in layers.items()}
    whole = sum(weights + 4 * scales for weights, scales in sizes.values())
    found, spent = [], 0
    for node, (weights, scales) in sorted(sizes.items(), key=lambda each: each[1]):
        spent += max(3 * weights - 4 * scales, 0)
        if weights >= _FEW or spent > _SHARE * whole:
            break
        why = f"its {weights} weights are few: {spent / whole:.2%} of the file for all such so far"
        found.append(Floating(node.name, name_of(node), why, module_of(node)))
    return found


def _activations(
    found: Assignment, measured: Mapping[str, Histogram], grid: Grid, method: str
) -> dict[Node, PlannedTensor]:
    groups: dict[int, list[Node]] = {}
    for node, group in found.tensors.items():
        groups.setdefault(group, []).append(node)
    planned: dict[Node, PlannedTensor] = {}
    for nodes in groups.values():
        known = {node: _known(node, grid) for node in nodes}
        fixed = [steps for steps in known.values() if steps is not None]
        together = [node for node in nodes if known[node] is None]
        both = None
        for node in together:
            both = measured[node.name] if both is None else both.merged(measured[node.name])
        inside = bool(fixed) and (both is None or _fits(both, fixed[0], grid))
        steps = fixed[0] if inside else (None if both is None else fit(both, grid, method))
        why = f"{method}, {len(together)} tensors" if len(together) > 1 else method
        for node in nodes:
            own = known[node]
            if own is not None:
                planned[node] = _planned(node, own, grid, f"range of {name_of(node)}")
            else:
                assert steps is not None
                planned[node] = _planned(node, steps, grid, "range of a source" if inside else why)
    return planned


def _known(node: Node, grid: Grid) -> Steps | None:
    """The scale and the zero point of an output whose range is known."""
    if name_of(node) not in FIXED:
        return None
    low, high = FIXED[name_of(node)]
    count = grid.high - grid.low + 1
    if grid.symmetric or low < 0:
        return Steps(max(high, -low) / (count // 2), 0)
    return Steps((high - low) / count, grid.low)


def _fits(values: Histogram, steps: Steps, grid: Grid) -> bool:
    """Whether all values that were seen can be stored, to half a step."""
    low, high = ((q - steps.zero_point) * steps.scale for q in (grid.low, grid.high))
    return low - steps.scale <= values.low and values.high <= high + steps.scale


def _planned(node: Node, steps: Steps, grid: Grid, why: str) -> PlannedTensor:
    return PlannedTensor(
        name=node.name,
        kind="activation",
        bits=_bits(grid),
        symmetric=grid.symmetric,
        scale=[steps.scale],
        zero_point=[steps.zero_point],
        why=why,
        module=module_of(node),
    )


def _bits(grid: Grid) -> int:  # the Literal is checked when the plan is read
    return (grid.high - grid.low + 1).bit_length() - 1


def _constant(graph: GraphEditor, node: Node, grid: Grid) -> PlannedTensor:
    stored = graph.constant(node)
    assert stored is not None
    values = Histogram()
    values.add(stored.numpy())
    steps = fit(values, grid, "min-max")
    return PlannedTensor(
        name=node.name,
        kind="constant",
        bits=_bits(grid),
        symmetric=grid.symmetric,
        scale=[steps.scale],
        zero_point=[steps.zero_point],
        why="min-max of a stored operand",
    )


def weight_rows(weight: torch.Tensor, axis: int | None) -> np.ndarray:
    """The weights as a matrix: a row for each place on ``axis``; one row without an axis."""
    if axis is None:
        return weight.reshape(1, -1).numpy()
    return weight.movedim(axis, 0).reshape(weight.shape[axis], -1).numpy()


_MOST_BIAS = {8: 2.0**21, 16: 2.0**30}
"""Largest integer of a bias, by the bits of activations. Converters take a bias as float32 and
divide it by its scale: two roundings of 2^-24 each, so that up to 2^22 the integer comes back. A
channel whose weights are so small beside its bias (a dead one) has them on a coarser grid: with n
weights of independent signs, about sqrt(n) · 255 / 2^22 of the bias is lost, below a step of the
output up to n = 1,000. Scales of 16 bits are 256 times finer, and so are those of biases: within
2^21 nearly all weights would be on coarser grids (measured: 15.6 dB in place of 20, below int8), so
that all of int32 but one bit is used."""


def _of_layer(
    node: Node,
    layer: WeightedLayer,
    source: PlannedTensor | None,
    scheme: Scheme,
    method: str,
    means: torch.Tensor | None,
) -> list[PlannedTensor]:
    """The weight of a layer and its bias.

    Args:
        means: of what the weights are multiplied by (`correct.InputMeans`).
    """
    axis: int | None = 1 if layer.transposed else 0
    if layer.transposed and layer.groups > 1:
        axis = None  # output channels are not on one axis
    rows = weight_rows(layer.weight, axis)
    scales = fit_weight(rows, scheme.weight_grid, method).astype(np.float64)
    why = method if method == "least-squares" else "largest magnitude"
    why += f", per {'tensor' if axis is None else 'channel'}"
    if source is not None and layer.bias is not None:
        bias = layer.bias.abs().numpy()
        bias = bias if axis is not None else bias.max(keepdims=True)
        needed = bias / (source.scale[0] * _MOST_BIAS[source.bits])
        if (needed > scales).any():
            why += ", raised for the bias of some channels"
        scales = np.maximum(scales, needed.astype(np.float32)).astype(np.float64)
    module = module_of(node)
    planned = [
        PlannedTensor(
            name=node.name,
            kind="weight",
            bits=scheme.weights,
            symmetric=True,
            scale=[float(each) for each in scales],
            zero_point=[0] * len(scales),
            why=why,
            axis=axis,
            module=module,
        )
    ]
    if source is not None and layer.bias is not None:
        products = (scales * source.scale[0]).astype(np.float32)
        shift: list[float] = []
        why = "scale of the input times that of the weight"
        if means is not None:
            error = mean_error(layer, rounded_values(layer.weight, planned[0]), means)
            shift = [-float(each) for each in error]
            why += "; less the mean of what rounding the weights adds"
        planned.append(
            PlannedTensor(
                name=node.name,
                kind="bias",
                bits=32,
                symmetric=True,
                scale=[float(each) for each in products],
                zero_point=[0] * len(products),
                why=why,
                axis=0 if axis is not None else None,
                module=module,
                shift=shift,
            )
        )
    return planned
