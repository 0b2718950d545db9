"""Linear maps of one source, and their sums.

Every branch of a reparameterizable block is a `Form`: a stored convolution (or linear layer) of
some source. The identity, a batch norm and a per-channel factor are 1x1 depthwise ones; an average
pool is a depthwise one with equal taps. Two forms of one source add up tap by tap:

    Σ_o W1[o] x[s·p + o] + Σ_o W2[o] x[s·p + o] = Σ_o (W1 + W2)[o] x[s·p + o]

with o the offset of a tap from the output position p, s the common stride, and W = 0 where a kernel
has no tap. Kernels of different size and padding are so aligned by their offsets, and the merged
convolution is exact when one padding gives every output position its place. Grouped kernels are
first written in the largest grouping that both have.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ..graph.affine import Affine, batch_norm_of, scale_of, vector
from ..graph.editor import GraphEditor, shape_of, where
from ..graph.layers import layer_of, regrouped
from ..graph.ops import CONVS, argument, as_list, is_call, source_of

__all__ = ["Form", "add_forms", "emit", "forms_of"]

aten = torch.ops.aten


@dataclass(frozen=True)
class Form:
    """A linear map of a source: spatial convolution, or linear layer when ``rank`` is 0.

    Attributes:
        nodes: the calls that it replaces.
        weight: (out, in / groups, *kernel), float64; None for "one factor per channel", whose
            rank, stride and grouping are whatever the other summand has.
        scale, shift: per channel, as tensors that broadcast to the output.
        macs: multiplications per output position of the calls that it replaces; 0 for elementwise.
        main: the call whose place and name a merged convolution takes.
    """

    source: Node
    shape: tuple[int, ...]
    nodes: tuple[Node, ...]
    main: Node
    scale: Tensor
    shift: Tensor
    weight: Tensor | None = None
    bias: Tensor | None = None
    rank: int = 0
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    macs: int = 0


def forms_of(graph: GraphEditor, node: Node, sign: float) -> list[Form]:
    """``sign`` · ``node`` as a form of each source from which it is one, nearest first."""
    rank = len(shape_of(node))
    factor = torch.full((1,) * rank, sign, dtype=torch.float64)
    affine = Affine(factor, torch.zeros_like(factor))
    found: list[Form] = []
    nodes: tuple[Node, ...] = ()
    current = node
    shape = shape_of(node)
    while True:
        found.append(Form(current, shape, nodes, node, affine.scale, affine.shift))
        if graph.only_user(current) is None:
            return found  # a source may have any number of users; what lies between only one
        step = _affine_step(graph, current)
        if step is None:
            break
        nodes = (*nodes, current)
        current, affine = step[0], affine.after(step[1])
    layer = _layer_form(graph, current, found[-1])
    return found if layer is None else [*found, layer]


def _affine_step(graph: GraphEditor, node: Node) -> tuple[Node, Affine] | None:
    norm = batch_norm_of(graph, node)
    if isinstance(norm, Affine):
        return source_of(node), norm
    scale = scale_of(graph, node)
    return scale if isinstance(scale, tuple) else None


def _layer_form(graph: GraphEditor, node: Node, outer: Form) -> Form | None:
    """The convolution, linear layer or average pool ``node`` with what ``outer`` does after it."""
    nodes = (*outer.nodes, node)
    layer = layer_of(graph, node)
    if layer is not None:
        if isinstance(layer, str) or layer.transposed:
            return None
        return replace(
            outer,
            source=layer.source,
            nodes=nodes,
            main=node,
            weight=layer.weight,
            bias=layer.bias,
            rank=layer.rank,
            stride=layer.stride,
            padding=layer.padding,
            dilation=layer.dilation,
            groups=layer.groups,
            macs=layer.weight.numel(),
        )
    if not is_call(node, aten.avg_pool2d.default) or len(shape_of(node)) != 4:
        return None
    kernel, padding = (as_list(argument(node, name), 2) for name in ("kernel_size", "padding"))
    stride = as_list(argument(node, "stride") or kernel, 2)
    counted = argument(node, "count_include_pad") or not any(padding)
    if argument(node, "ceil_mode") or not counted:
        return None
    divisor = argument(node, "divisor_override") or math.prod(kernel)
    channels = shape_of(node)[1]
    weight = torch.full((channels, 1, *kernel), 1 / divisor, dtype=torch.float64)
    return replace(
        outer,
        source=source_of(node),
        nodes=nodes,
        main=node,
        weight=weight,
        rank=2,
        stride=tuple(stride),
        padding=tuple(padding),
        dilation=(1, 1),
        groups=channels,
        macs=weight.numel(),
    )


def add_forms(first: Form, second: Form) -> Form | str:
    """The sum of two forms of one source with one output shape, or why it is none that pays."""
    if first.weight is None:
        first, second = second, first
    if first.weight is None:
        return replace(
            first,
            nodes=first.nodes + second.nodes,
            scale=first.scale + second.scale,
            shift=first.shift + second.shift,
        )
    one = _plain(first)
    if isinstance(one, str):
        return one
    two = _as_layer(second, one) if second.weight is None else _plain(second)
    if isinstance(two, str):
        return two
    if (one.rank, one.stride) != (two.rank, two.stride):
        return f"strides differ: {list(one.stride)} and {list(two.stride)}"
    groups = math.gcd(one.groups, two.groups)
    one, two = _regrouped(one, groups), _regrouped(two, groups)
    merged = _aligned(one, two)
    if isinstance(merged, str):
        return merged
    assert merged.weight is not None
    if merged.weight.numel() > first.macs + second.macs:
        return (
            f"{where(first.main)} and {where(second.main)} would merge into a larger convolution: "
            f"{merged.weight.numel()} multiplications instead of {first.macs + second.macs}"
        )
    biases = [form.bias for form in (one, two) if form.bias is not None]
    main = first.main if first.macs >= second.macs else second.main
    nodes = first.nodes + second.nodes
    bias = sum(biases[1:], biases[0]) if biases else None
    return replace(merged, bias=bias, nodes=nodes, main=main, macs=merged.weight.numel())


def _plain(form: Form) -> Form | str:
    """With scale and shift inside weight and bias."""
    assert form.weight is not None
    out, axis = form.weight.shape[0], 1 if form.rank else -1
    scale, shift = vector(form.scale, axis, out), vector(form.shift, axis, out)
    if scale is None or shift is None:
        return f"the factor after {where(form.main)} varies along other axes than its channels"
    weight = form.weight * scale.reshape(-1, *[1] * (form.weight.ndim - 1))
    bias = None if form.bias is None else form.bias * scale
    if shift.any():
        bias = shift.clone() if bias is None else bias + shift
    one = torch.ones_like(form.scale[(slice(0, 1),) * form.scale.ndim])
    return replace(form, weight=weight, bias=bias, scale=one, shift=torch.zeros_like(one))


def _as_layer(form: Form, like: Form) -> Form | str:
    """One factor per channel as a 1x1 depthwise convolution, or a diagonal linear layer."""
    axis = 1 if like.rank else -1
    channels = form.shape[axis]
    if any(step != 1 for step in like.stride):
        return f"{where(like.main)} has stride {list(like.stride)}, the other branch none"
    one = (1,) * like.rank
    weight = torch.ones(channels, 1, *one, dtype=torch.float64)
    groups = channels
    if not like.rank:
        weight, groups = torch.eye(channels, dtype=torch.float64), 1
    return _plain(
        replace(
            form,
            weight=weight,
            rank=like.rank,
            stride=like.stride,
            padding=(0,) * like.rank,
            dilation=one,
            groups=groups,
        )
    )


def _regrouped(form: Form, groups: int) -> Form:
    """The same map with fewer groups."""
    assert form.weight is not None
    return replace(form, weight=regrouped(form.weight, form.groups, groups), groups=groups)


def _aligned(one: Form, two: Form) -> Form | str:
    """The sum of two plain forms of equal stride and grouping."""
    assert one.weight is not None
    assert two.weight is not None
    weights = (one.weight, two.weight)
    if not one.rank:
        return replace(one, weight=one.weight + two.weight)
    kernel, padding, dilation, places = [], [], [], []
    for axis in range(one.rank):
        taps = [
            [i * form.dilation[axis] - form.padding[axis] for i in range(weight.shape[2 + axis])]
            for form, weight in zip((one, two), weights, strict=True)
        ]
        union = sorted({*taps[0], *taps[1]})
        step = math.gcd(*[b - a for a, b in itertools.pairwise(union)]) or 1
        size = shape_of(one.source)[2 + axis]
        low, high = union[0], union[-1]
        fitting = _common_padding(size, one.shape[2 + axis], one.stride[axis], low, high, step)
        if fitting is None:
            return f"no one padding aligns {where(one.main)} with {where(two.main)}"
        low, count = fitting
        kernel.append(count)
        padding.append(-low)
        dilation.append(step)
        places.append([[(tap - low) // step for tap in side] for side in taps])
    total = one.weight.new_zeros(*one.weight.shape[:2], *kernel)
    for side, weight in enumerate(weights):
        index = torch.meshgrid(*[torch.tensor(p[side]) for p in places], indexing="ij")
        every: Any = (slice(None), slice(None), *index)
        total[every] += weight
    return replace(one, weight=total, padding=tuple(padding), dilation=tuple(dilation))


def _common_padding(
    size: int, out: int, stride: int, low: int, high: int, step: int
) -> tuple[int, int] | None:
    """First tap offset and number of taps that cover low…high and give ``out`` positions."""
    for extra_low in range(3):
        for extra_high in range(3):
            first, last = low - extra_low * step, high + extra_high * step
            if first > 0:
                continue
            if (size - 2 * first - (last - first) - 1) // stride + 1 == out:
                return first, (last - first) // step + 1
    return None


def emit(graph: GraphEditor, form: Form, before: Node) -> Node:
    """The call that computes ``form``, put before ``before``."""
    like = form.main
    if form.weight is None:
        return _emit_affine(graph, form, before)
    plain = _plain(form)
    assert not isinstance(plain, str)
    weight_node = argument(like, "weight") if layer_of(graph, like) is not None else None
    name = graph.name_of(weight_node) or f"{like.name}.weight"
    weight = graph.derived(weight_node, plain.weight, name)  # type: ignore[arg-type]
    bias = None
    if plain.bias is not None:
        bias = graph.derived(None, plain.bias, f"{name.removesuffix('.weight')}.bias")
    if not form.rank:
        return graph.call(aten.linear.default, form.source, weight, bias, like=like, before=before)
    target = next(target for target, rank in CONVS.items() if rank == form.rank)
    numbers = [list(v) for v in (plain.stride, plain.padding, plain.dilation)]
    args = (form.source, weight, bias, *numbers, plain.groups)
    return graph.call(target, *args, like=like, before=before)


def _emit_affine(graph: GraphEditor, form: Form, before: Node) -> Node:
    result, like = form.source, form.main
    if (form.scale != 1).any():
        scale = graph.derived(None, form.scale.contiguous(), f"{like.name}.scale")
        result = graph.call(aten.mul.Tensor, result, scale, like=like, before=before)
    if form.shift.any():
        shift = graph.derived(None, form.shift.contiguous(), f"{like.name}.shift")
        result = graph.call(aten.add.Tensor, result, shift, like=like, before=before)
    return result
