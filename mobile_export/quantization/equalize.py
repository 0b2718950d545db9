"""Cross-layer equalisation: channels of one tensor brought nearer to one range, exactly.

A tensor has one scale of integers for all its channels, so that a channel of small values has few
steps. What a layer or a norm gives is divided by a factor for each channel, and what reads it is
multiplied by it: the model computes the same (Nagel et al. 2019, Data-Free Quantization Through
Weight Equalization and Bias Correction, section 4.1; from norms to linear layers Xiao et al. 2023,
SmoothQuant). In between may stand what a positive factor passes through: ReLU, leaky ReLU, sums of
two tensors that are both divided, pools, and what moves values. ReLU6 and other clamps may not:
their bound would be another one in each channel, which no kernel of integers has; such channels are
left, and `--explain` says so.

Weights have a scale for each output channel. So the factor of channel i is a^e / w^(1 - e), a the
largest activation and w the largest weight that multiplies it, relative to those beside it; e is
the one of five exponents, or none, with the least noise by the calibration samples: that of
rounding the activation, with the range of its largest channel, times the weights, and that of
rounding the weights times the activation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.affine import Affine, along, pull, push, vector
from ..graph.affine_folding import scale_inputs, scale_layer, scale_norm
from ..graph.editor import GraphEditor, shape_of, where
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import called_name, is_call, source_of
from .plan import Equalized
from .roles import ACTIVATIONS

if TYPE_CHECKING:
    from ..graph.affine_folding import Plan
    from ..graph.program import Program
    from ..parity.samples import Sample

__all__ = ["choose_factors", "equalized"]

aten = torch.ops.aten

_HOMOGENEOUS = (
    aten.relu.default,
    aten.leaky_relu.default,
    aten.max_pool2d.default,
    aten.max_pool1d.default,
)
"""f(s x) = s f(x) for s > 0, channel by channel."""

_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_LARGEST = 2.0**12
"""Of a factor over the geometric mean of all; more is a dead channel."""


@dataclass
class _Region:
    """Tensors whose channels have factors together.

    Attributes:
        seed: the layer or norm whose output channels are numbered, from 1.
        numbers: of the channels in each tensor, as what broadcasts to it.
        made: layers and norms that make one of the tensors, and the tensor.
        read: layers that read one.
        why: it has to be left alone; nothing where it has not.
    """

    seed: Node
    numbers: dict[Node, torch.Tensor] = field(default_factory=dict)
    made: list[Node] = field(default_factory=list)
    read: list[WeightedLayer] = field(default_factory=list)
    why: str = ""


def equalized(program: Program, factors: Sequence[Equalized]) -> Program:
    """``program`` with the factors of a plan in its weights, which are float64 then.

    Raises:
        ValueError: the program has not what is named.
    """
    graph = GraphEditor(program)
    regions = {region.seed.name: region for region in _regions(graph)}
    edits: list[tuple[_Region, Plan]] = []
    for each in factors:
        if not each.factors:
            continue
        region = regions.get(each.name)
        if region is None or region.why or _channels(region) != len(each.factors):
            raise ValueError(f"{each.name} has not the {len(each.factors)} channels of the plan")
        plan = _plan_of(graph, region, torch.tensor(each.factors, dtype=torch.float64))
        edits.append((region, plan))
    for region, plan in edits:
        graph.changed(region.seed, f"channels divided by factors, which {plan.run()} take")
    return graph.result().program


def choose_factors(program: Program, samples: Iterable[Sample]) -> list[Equalized]:
    """Factors of everything that can be equalised and gains by it, and why the rest is left."""
    graph = GraphEditor(program)
    regions = [region for region in _regions(graph) if region.read or region.why]
    watched = {layer.source.name: layer for r in regions if not r.why for layer in r.read}
    found = _measure(program, samples, watched)
    return [_chosen(region, found) for region in regions]


# What belongs together --------------------------------------------------------------------------


def _regions(graph: GraphEditor) -> list[_Region]:
    """One for each layer and each norm whose output no other one has taken in."""
    regions: list[_Region] = []
    taken: set[Node] = set()
    for node in graph.nodes:
        if node in taken or not _makes(graph, node):
            continue
        region = _Region(node)
        channels = shape_of(node)[_axis(graph, node)]
        numbers = torch.arange(1, channels + 1, dtype=torch.float64)
        region.why = _take(graph, region, node, along(_axis(graph, node), _rank(node), numbers))
        taken.update(region.made)
        regions.append(region)
    return regions


def _makes(graph: GraphEditor, node: Node) -> bool:
    return isinstance(layer_of(graph, node), WeightedLayer) or _is_norm(node)


def _is_norm(node: Node) -> bool:
    return is_call(node, aten.layer_norm.default) and len(node.args[1]) == 1  # type: ignore[arg-type]


def _axis(graph: GraphEditor, node: Node) -> int:
    layer = layer_of(graph, node)
    return layer.axis % _rank(node) if isinstance(layer, WeightedLayer) else _rank(node) - 1


def _rank(node: Node) -> int:
    return len(shape_of(node))


def _take(graph: GraphEditor, region: _Region, node: Node, numbers: torch.Tensor) -> str:
    """Take a tensor into a region, and all that has to be with it; why that cannot be."""
    left = [(node, numbers)]
    while left:
        node, numbers = left.pop()
        if node in region.numbers:
            if not _same(region.numbers[node], numbers):
                return f"{where(node)} adds channels that are not the same"
            continue
        region.numbers[node] = numbers
        if graph.is_output(node):
            return "the program returns it"
        for step in (_before(graph, region, node), *_behind(graph, region, node)):
            if isinstance(step, str):
                return step
            left += step
    return ""


def _same(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and bool((a == b).all())


_Step = list[tuple[Node, torch.Tensor]] | str


def _before(graph: GraphEditor, region: _Region, node: Node) -> _Step:
    """What has to be divided for ``node`` to be, or why it cannot be; nothing before a layer."""
    numbers = region.numbers[node]
    if _makes(graph, node):
        if vector(numbers, _axis(graph, node), shape_of(node)[_axis(graph, node)]) is None:
            return f"the factor varies along other axes than the channels of {where(node)}"
        region.made.append(node)
        return []
    if is_call(node, *_HOMOGENEOUS):
        return [(source_of(node), numbers)]
    if is_call(node, aten.add.Tensor, aten.sub.Tensor):
        terms = node.args[:2]
        if any(not isinstance(each, Node) or graph.is_constant(each) for each in terms):
            return f"{where(node)} adds what is stored"
        if any(shape_of(each) != shape_of(node) for each in terms):  # type: ignore[arg-type]
            return f"{where(node)} broadcasts"
        return [(each, numbers) for each in terms]  # type: ignore[misc]
    back = pull(node, _factor(numbers)) if node.op == "call_function" else None
    if back is None:
        return _stops(node)
    return [(source_of(node), back.scale)]


def _behind(graph: GraphEditor, region: _Region, node: Node) -> Iterable[_Step]:
    """What is divided where ``node`` is."""
    numbers = region.numbers[node]
    for user in node.users:
        layer = layer_of(graph, user)
        if isinstance(layer, WeightedLayer) and layer.source is node:
            channels = shape_of(node)[layer.axis]
            if vector(numbers, layer.axis % _rank(node), channels) is None or layer.transposed:
                yield f"{where(user)} reads it along other axes than its channels"
            region.read.append(layer)
        elif is_call(user, *_HOMOGENEOUS, aten.add.Tensor, aten.sub.Tensor):
            yield [(user, numbers)]
        elif (there := push(user, _factor(numbers))) is not None and user.args[0] is node:
            yield [(user, there.scale)]
        else:
            yield _stops(user)


def _factor(numbers: torch.Tensor) -> Affine:
    return Affine(numbers, torch.zeros_like(numbers))


def _stops(node: Node) -> str:
    """Why no factor passes through a node."""
    if node.op != "call_function":
        return f"{where(node)} is no layer"
    name = called_name(node)
    if name in ACTIVATIONS:
        return f"{where(node)} clamps: its bound would be another one in each channel"
    return f"no factor of a channel passes through {where(node)} ({name})"


def _channels(region: _Region) -> int:
    return int(region.numbers[region.seed].numel())


def _plan_of(graph: GraphEditor, region: _Region, factors: torch.Tensor) -> Plan:
    """The edits that divide what a region makes, and multiply what reads it."""
    parts = []
    for node in region.made:
        divided = 1 / _picked(factors, region.numbers[node])
        layer = layer_of(graph, node)
        by = _factor(divided)
        parts.append(
            scale_layer(graph, layer, by)
            if isinstance(layer, WeightedLayer)
            else scale_norm(graph, node, by)
        )
    for layer in region.read:
        times = _picked(factors, region.numbers[layer.source])
        parts.append(scale_inputs(graph, layer, _factor(times)))
    whole: Any = None
    for part in parts:
        if isinstance(part, str):
            raise ValueError(part)
        whole = part if whole is None else whole + part
    plan: Plan = whole
    return plan


def _picked(factors: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return factors[numbers.long() - 1]


# Which factors ----------------------------------------------------------------------------------


@dataclass
class _Seen:
    """Of what a layer reads, for each channel: the largest magnitude, and the sum of squares."""

    largest: torch.Tensor
    squares: torch.Tensor
    count: int = 0


def _measure(
    program: Program, samples: Iterable[Sample], watched: dict[str, WeightedLayer]
) -> dict[str, _Seen]:
    from .calibrate import run_watched

    found: dict[str, _Seen] = {}

    def watch(name: str, value: torch.Tensor) -> None:
        layer = watched.get(name)
        if layer is None:
            return
        rows = value.detach().double().movedim(layer.axis, 0).flatten(1)
        largest, squares = rows.abs().amax(1), rows.square().sum(1)
        if name in found:
            seen = found[name]
            largest, squares = torch.maximum(largest, seen.largest), squares + seen.squares
        count = rows.shape[1] + (found[name].count if name in found else 0)
        found[name] = _Seen(largest, squares, count)

    run_watched(program, samples, watch)
    return found


@dataclass
class _Read:
    """What one layer reads and multiplies it by, in the channels of a region.

    Attributes:
        largest, square: of each channel of the region, the largest and the mean square; 0 of those
            that the layer does not read.
        weights: (output channels, channels of the region): sums of squares over the kernel.
        peaks: the same, largest magnitudes.
    """

    largest: torch.Tensor
    square: torch.Tensor
    weights: torch.Tensor
    peaks: torch.Tensor


def _chosen(region: _Region, found: dict[str, _Seen]) -> Equalized:
    name, label = region.seed.name, where(region.seed)
    if region.why:
        return Equalized(name, [], f"left alone: {region.why}", label)
    reads = [_reading(region, layer, found[layer.source.name]) for layer in region.read]
    best, least = torch.ones(_channels(region), dtype=torch.float64), _noise(reads, None)
    before = least
    for exponent in _EXPONENTS:
        factors = _factors(reads, exponent)
        noise = _noise(reads, factors)
        if noise < least:
            best, least, chosen = factors, noise, exponent
    if least > _WORTH * before:
        return Equalized(name, [], "left alone: no factors make less noise", label)
    shared = f"largest activation ^ {chosen} / largest weight ^ {1 - chosen}"
    gain = 10 * torch.log10(torch.tensor(before / least)).item()
    why = f"{shared}: {gain:.1f} dB less noise by the samples"
    return Equalized(name, best.float().double().tolist(), why, label)


_WORTH = 0.98


def _reading(region: _Region, layer: WeightedLayer, seen: _Seen) -> _Read:
    """In the channels of the region, whatever order the layer reads them in."""
    channels = _channels(region)
    size = shape_of(layer.source)[layer.axis]
    at = vector(region.numbers[layer.source], layer.axis % _rank(layer.source), size)
    assert at is not None
    index = at.long() - 1
    weight = layer.weight.flatten(2) if layer.rank else layer.weight[..., None]
    outputs, per_group = weight.shape[:2]
    group = torch.arange(outputs) // (outputs // layer.groups)
    inputs = index[group[:, None] * per_group + torch.arange(per_group)]
    zeros = torch.zeros(outputs, channels, dtype=torch.float64)
    squares = zeros.scatter_add(1, inputs, weight.square().sum(2))
    peaks = zeros.scatter_reduce(1, inputs, weight.abs().amax(2), "amax")
    empty = torch.zeros(channels, dtype=torch.float64)
    largest = empty.scatter_reduce(0, index, seen.largest, "amax")
    square = empty.scatter_reduce(0, index, seen.squares / seen.count, "amax")
    return _Read(largest, square, squares, peaks)


def _factors(reads: Sequence[_Read], exponent: float) -> torch.Tensor:
    activation = torch.stack([each.largest for each in reads]).amax(0)
    relative = [each.peaks / each.peaks.amax(1, keepdim=True).clamp(min=1e-300) for each in reads]
    weight = torch.cat(relative).amax(0)
    alive = (activation > 0) & (weight > 0)
    if not alive.any():
        return torch.ones_like(activation)
    floor = 1.0 / _LARGEST
    a = (activation / activation[alive].max()).clamp(min=floor)
    w = weight.clamp(min=floor)
    factors = a**exponent / w ** (1 - exponent)
    middle = factors[alive].log().mean().exp()
    return torch.where(alive, (factors / middle).clamp(1 / _LARGEST, _LARGEST), 1.0)


def _noise(reads: Sequence[_Read], factors: torch.Tensor | None) -> float:
    """Mean square, up to a factor: of rounding what is read, and of rounding the weights."""
    total = 0.0
    for each in reads:
        s = torch.ones_like(each.largest) if factors is None else factors
        step = (each.largest / s).max()
        activation = step**2 * (each.weights * s**2).sum()
        steps = (each.peaks * s).amax(1)
        kernel = (each.weights > 0).double()
        weights = (steps[:, None] ** 2 * kernel * each.square / s**2).sum()
        total += float(activation + weights)
    return total
