"""Layers on the channels of every pixel before or after products that mix the pixels.

With A the other operand of the product and W, b those of a linear layer or 1x1 convolution,

    A (x Wᵀ + 1 bᵀ) = (A x) Wᵀ + (A 1) bᵀ,

so the two commute where every head of A mixes whole groups of W: W is of one group and A has one
head, or the groups of W are those heads (EMO's "efficient equivalent implementation", arXiv
2301.01146 §2.3). A 1 is 1 where the rows of A are a softmax, and then the bias stays as it is.
The cheaper order is the one in which the product sees fewer channels, and the layer fewer pixels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.fx import Node

from ..graph.affine import along
from ..graph.affine_folding import sums_to_one
from ..graph.chains import trace_back, write
from ..graph.editor import GraphEditor, shape_of, where
from ..graph.layers import WeightedLayer, layer_of
from ..graph.ops import argument, is_call, is_elementwise, is_private, source_of
from ..graph.rearrange import Rearrangement

__all__ = ["PRODUCTS", "layer_after_product", "layer_before_product", "multiplications"]

aten = torch.ops.aten
PRODUCTS = (aten.matmul.default, aten.scaled_dot_product_attention.default)


@dataclass(frozen=True)
class _Mixing:
    """A product as seen from one operand: it sums over one axis of it, and keeps the others.

    Attributes:
        position: of the operand among the arguments.
        axis: of operand and result, from the front.
        inputs, outputs: size of that axis in the operand and in the result.
        is_mean: whether the factors of every sum add up to one.
    """

    node: Node
    position: int
    axis: int
    inputs: int
    outputs: int
    is_mean: bool

    @property
    def operand(self) -> Node:
        operand = self.node.args[self.position]
        assert isinstance(operand, Node)
        return operand

    def of(self, graph: GraphEditor, operand: Node, before: Node) -> Node:
        """The same product of another operand, put before ``before``."""
        args = list(self.node.args)
        args[self.position] = operand
        kwargs = dict(self.node.kwargs)
        return graph.call(self.node.target, *args, like=self.node, before=before, kwargs=kwargs)


@dataclass(frozen=True)
class _ChannelLayout:
    """Which factors of the map from a layer to a product hold the layer's channels.

    Attributes:
        forward: from the layer's axes to those of the product's operand (or result), with its
            factors cut along both.
        parts: the axes of the layer's side, that of the channels as two: groups, channels of each.
        axis: of the groups in ``parts``.
        channel: the factor that holds the channels of a group.
        mixed: the factors over which the product sums.
        heads: how many heads of the product share the channels of a group.
    """

    forward: Rearrangement
    parts: tuple[int, ...]
    axis: int
    channel: int
    mixed: tuple[int, ...]
    heads: int

    def resized(self, channels: int, pixels: int) -> Rearrangement:
        """``forward`` for other numbers of channels per group and of pixels that are mixed."""
        sizes = list(self.forward.factors)
        sizes[self.channel] = channels
        if math.prod(sizes[factor] for factor in self.mixed) != pixels:
            for factor in self.mixed:
                sizes[factor] = pixels if factor == self.mixed[0] else 1
        parts, after = [1] * len(self.parts), [1] * len(self.forward.after)
        sources, targets = self.forward.sources(self.parts), self.forward.targets
        for size, part, target in zip(sizes, sources, targets, strict=True):
            parts[part] *= size
            after[target] *= size
        before = list(parts)
        before[self.axis : self.axis + 2] = [parts[self.axis] * parts[self.axis + 1]]
        order = self.forward.order
        return Rearrangement(tuple(before), tuple(sizes), order, tuple(after)).simplified()


def layer_before_product(graph: GraphEditor, node: Node) -> None:
    """A (x Wᵀ) as (A x) Wᵀ for an operand of the product ``node`` that a layer computes."""
    for mixing in _mixings(graph, node):
        root, forward = trace_back(mixing.operand)
        between = root if is_elementwise(root) else None
        layer = layer_of(graph, root if between is None else source_of(between))
        if not isinstance(layer, WeightedLayer) or not layer.is_pointwise:
            continue
        inputs = shape_of(layer.source)[layer.axis]
        layout = _layout_of(forward, layer, layer.channels, mixing)
        costs = _costs(mixing, layer, (layer.channels, inputs), (mixing.inputs, mixing.outputs))
        if layout is None or costs.then >= costs.now:
            continue
        pair = f"{where(layer.node)} before {where(node)}"
        reason = f"{where(between)} stands between" if between is not None else None
        reason = reason or _hindrance(graph, mixing, layer)
        if layout.heads > 1:
            graph.refuse(node, f"{pair}: {costs.of_heads(layout.heads)}")
            continue
        if reason is not None:
            graph.refuse(node, f"{pair}: {reason}; after it: {costs}")
            continue
        graph.replace(
            node, _written_after(graph, mixing, layer, layout), f"{pair}, now after: {costs}"
        )
        graph.sweep()
        return


def _written_after(
    graph: GraphEditor, mixing: _Mixing, layer: WeightedLayer, layout: _ChannelLayout
) -> Node:
    node = mixing.node
    inputs = shape_of(layer.source)[layer.axis] // layer.groups
    moved = write(graph, layer.source, layout.resized(inputs, mixing.inputs), node)
    mixed = mixing.of(graph, moved, node)
    inverse = layout.resized(inputs, mixing.outputs).inverse
    new = _call(graph, layer, write(graph, mixed, inverse, node), node)
    return write(graph, new, layout.resized(layer.channels // layer.groups, mixing.outputs), node)


def layer_after_product(graph: GraphEditor, node: Node) -> None:
    """(A x) Wᵀ as A (x Wᵀ) for the layer ``node`` of a product."""
    layer = layer_of(graph, node)
    if not isinstance(layer, WeightedLayer) or not layer.is_pointwise:
        return
    product, onward = trace_back(layer.source)
    if not is_call(product, *PRODUCTS):
        return
    inputs = shape_of(layer.source)[layer.axis]
    for mixing in _mixings(graph, product):
        layout = _layout_of(onward.inverse, layer, inputs, mixing)
        costs = _costs(mixing, layer, (inputs, layer.channels), (mixing.outputs, mixing.inputs))
        if layout is None or costs.then >= costs.now:
            continue
        pair = f"{where(node)} after {where(product)}"
        if layout.heads > 1:
            graph.refuse(node, f"{pair}: {costs.of_heads(layout.heads)}")
            continue
        if not is_private(graph, layer.source, product):
            graph.refuse(node, f"{pair}: {where(product)} has other users; before it: {costs}")
            continue
        new = _written_before(graph, mixing, layer, layout)
        graph.replace(node, new, f"{pair}, now before: {costs}")
        graph.sweep()
        return


def _written_before(
    graph: GraphEditor, mixing: _Mixing, layer: WeightedLayer, layout: _ChannelLayout
) -> Node:
    node = layer.node
    inputs = shape_of(layer.source)[layer.axis] // layer.groups
    outputs = layer.channels // layer.groups
    source = write(graph, mixing.operand, layout.resized(inputs, mixing.inputs).inverse, node)
    new = _call(graph, layer, source, node, with_bias=mixing.is_mean)
    mixed = mixing.of(graph, write(graph, new, layout.resized(outputs, mixing.inputs), node), node)
    result = write(graph, mixed, layout.resized(outputs, mixing.outputs).inverse, node)
    if layer.bias is None or mixing.is_mean:
        return result
    return _plus_bias(graph, layer, result)


# Reading ----------------------------------------------------------------------------------------


def multiplications(product: Node) -> int:
    """Of a matrix product (…, M, K) (…, K, N)."""
    first = product.args[0]
    assert isinstance(first, Node)
    return math.prod(shape_of(product)) * shape_of(first)[-1]


def _mixings(graph: GraphEditor, node: Node) -> Iterator[_Mixing]:
    """The product ``node`` from each operand that it does not repeat."""
    shape = shape_of(node)
    if is_call(node, aten.matmul.default):
        sides = [(1, len(shape) - 2, node.args[0], -1), (0, len(shape) - 1, node.args[1], -2)]
    elif argument(node, "dropout_p"):
        return
    else:
        sides = [(2, len(shape) - 2, None, -1)]
    for position, axis, other, summed in sides:
        operand = node.args[position] if position < len(node.args) else None
        if not isinstance(operand, Node) or graph.is_constant(operand):
            continue
        if node.args.count(operand) > 1 or len(shape) < 2:
            continue
        before = shape_of(operand)
        if before[:-2] != shape[:-2] or len(before) != len(shape) or before[axis] == 1:
            continue
        if isinstance(other, Node):
            mean = len(shape_of(other)) > 1 and sums_to_one(other, summed)
        else:
            mean = argument(node, "attn_mask") is None
        yield _Mixing(node, position, axis, before[axis], shape[axis], mean)


@dataclass(frozen=True)
class _Costs:
    """Multiplications of a layer and a product, now and in the other order."""

    now: int
    product: int
    layer: int

    @property
    def then(self) -> int:
        return self.product + self.layer

    def of_heads(self, heads: int) -> str:
        """Of ``heads`` that share the channels of a group: each would need all of them."""
        then = self.product * heads + self.layer
        return (
            f"each of {heads} heads would need all channels of a group: "
            f"{then} multiplications, not {self.now}"
        )

    def __str__(self) -> str:
        return f"{self.then} multiplications, not {self.now}"


def _costs(
    mixing: _Mixing, layer: WeightedLayer, channels: tuple[int, int], pixels: tuple[int, int]
) -> _Costs:
    """What both cost. What attention does to get its weights is the same, and not counted.

    Args:
        channels: that the product sees, now and then.
        pixels: that the layer sees, of those that are mixed, now and then.
    """
    product = math.prod(shape_of(mixing.node)) // channels[0] * mixing.inputs
    positions = math.prod(shape_of(layer.node)) // layer.channels // pixels[0]
    per_pixel = layer.weight.numel() * positions
    now = product * channels[0] + per_pixel * pixels[0]
    return _Costs(now, product * channels[1], per_pixel * pixels[1])


def _layout_of(
    forward: Rearrangement, layer: WeightedLayer, channels: int, mixing: _Mixing
) -> _ChannelLayout | None:
    """Where ``channels``, those of the layer's side that faces the product, lie in the product.

    Returns:
        None when the product sums over them, or the axes are cut so that they do not stay together.
    """
    axis = layer.axis % len(forward.before)
    each = channels // layer.groups
    parts = (*forward.before[:axis], layer.groups, each, *forward.before[axis + 1 :])
    cut = forward.cut(parts)
    if cut is None:
        return None
    rank = len(forward.after)
    kept = ({rank - 2, rank - 1} - {mixing.axis}).pop()
    sources, targets = cut.sources(parts), cut.targets
    own = [factor for factor, part in enumerate(sources) if part == axis + 1]
    groups = [factor for factor, part in enumerate(sources) if part == axis]
    mixed = tuple(factor for factor, target in enumerate(targets) if target == mixing.axis)
    together = [factor for factor in own if targets[factor] == kept]
    if len(together) != 1 or any(factor in mixed for factor in (*own, *groups)):
        return None
    heads = each // cut.factors[together[0]]
    return _ChannelLayout(cut, parts, axis, together[0], mixed, heads)


def _hindrance(graph: GraphEditor, mixing: _Mixing, layer: WeightedLayer) -> str | None:
    """Why the layer's result cannot be computed after the product."""
    if not is_private(graph, mixing.operand, layer.node):
        return f"{where(layer.node)} has other users"
    if layer.bias is not None and layer.bias.any() and not mixing.is_mean:
        worst = int(layer.bias.abs().argmax())
        return (
            f"the bias of {where(layer.node)} ({float(layer.bias[worst]):.3g} in channel {worst}) "
            "would be multiplied by sums that are not known to be one"
        )
    return None


# Writing ----------------------------------------------------------------------------------------


def _call(
    graph: GraphEditor, layer: WeightedLayer, source: Node, before: Node, *, with_bias: bool = True
) -> Node:
    """The layer with its own weights on another source."""
    args, kwargs = list(layer.node.args), dict(layer.node.kwargs)
    args[0] = source
    if not with_bias:
        kwargs.pop("bias", None)
        args[2:3] = [None] * len(args[2:3])
    return graph.call(layer.node.target, *args, like=layer.node, before=before, kwargs=kwargs)


def _plus_bias(graph: GraphEditor, layer: WeightedLayer, result: Node) -> Node:
    assert layer.bias is not None
    rank = len(shape_of(layer.node))
    bias = along(layer.axis % rank, rank, layer.bias)
    stored = graph.derived(argument(layer.node, "bias"), bias, f"{layer.node.name}.bias")
    return graph.call(aten.add.Tensor, result, stored, like=layer.node)
