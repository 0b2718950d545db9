"""Pools in a form that Core ML has, and that every reading of its rule computes alike.

Its largest of a window has no dilation. Such a pool is, one axis after the other, the largest of as
many strided slices as its kernel has elements. What lies outside is another element of the same
window, so that nothing is padded with a number that float16 lacks.

Average pools: with ``ceil_mode`` the last window may reach past the padded input. PyTorch divides
by what lies inside; Core ML, where padding counts, by the whole kernel (coremltools issue 2772,
pull request 2844: numbers from a Mac), while its reference says "same as PyTorch's". So:

* without padding of its own a pool excludes "padding" from the average: what reaches past the edge
  is then left out of every divisor, and nothing else changes;
* with padding the zeros are laid around the input first, and a pool without padding and without
  ``ceil_mode`` follows, its edge windows multiplied by kernel / (elements inside);
* ``divisor_override``, which Core ML's pool does not have: the same, multiplied by
  kernel / divisor.

Pools whose windows all fit stay as they are.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch.fx import Node

from ..graph.average_pools import AVERAGE_POOLS, PoolAxis, pool_axes
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["settle_pools"]

aten = torch.ops.aten


_MAX_POOLS: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool3d.default: 3,
}


def settle_pools(program: Program) -> PassResult:
    """No pool takes a largest element of a dilated window, and no average pool's divisor depends on
    how Core ML counts what lies past the edge."""
    graph = GraphEditor(program)
    for node in graph.find(*_MAX_POOLS):
        windows = _dilated_windows(node)
        if windows:
            graph.replace(node, _largest(graph, node, windows), "the largest of strided slices")
    for node in graph.find(*AVERAGE_POOLS):
        axes = pool_axes(node)
        divisor = None if AVERAGE_POOLS[node.target] == 1 else argument(node, "divisor_override")
        counts = bool(argument(node, "count_include_pad"))
        past = any(axis.past > 0 for axis in axes)
        if divisor is None and not (past and counts):
            continue
        if divisor is None and not any(axis.padding for axis in axes):
            pool = _pool(graph, node, source_of(node), axes, ceil=True, counts=False)
            graph.replace(node, pool, "what lies past the edge is no part of its average")
            continue
        pool = _pool(graph, node, _padded(graph, node, axes), axes, ceil=False, counts=True)
        scale = _scale(graph, node, axes, divisor)
        scaled = graph.call(aten.mul.Tensor, pool, scale, like=node)
        graph.replace(node, scaled, "padded in front of it, and multiplied by kernel / divisor")
    return graph.result()


def _pool(
    graph: GraphEditor,
    node: Node,
    source: Node,
    axes: Sequence[PoolAxis],
    *,
    ceil: bool,
    counts: bool,
) -> Node:
    """The pool of ``node`` without padding."""
    kernel, stride = [axis.kernel for axis in axes], [axis.stride for axis in axes]
    none = [0] * len(axes)
    return graph.call(node.target, source, kernel, stride, none, ceil, counts, like=node)


def _padded(graph: GraphEditor, node: Node, axes: Sequence[PoolAxis]) -> Node:
    """The pool's input with zeros around it, as many as its windows read."""
    amounts = [amount for axis in reversed(axes) for amount in axis.pads]
    if not any(amounts):
        return source_of(node)
    return graph.call(aten.constant_pad_nd.default, source_of(node), amounts, 0.0, like=node)


def _scale(
    graph: GraphEditor, node: Node, axes: Sequence[PoolAxis], divisor: int | None
) -> Node | float:
    """What the mean over the whole kernel is multiplied by: a number, or one per window."""
    whole = math.prod(axis.kernel for axis in axes)
    if divisor is not None:
        return whole / divisor
    scale = torch.ones((1,) * (len(shape_of(node)) - len(axes)), dtype=torch.float64)
    for axis in axes:
        inside = torch.tensor(axis.inside(), dtype=torch.float64)
        scale = scale[..., None] * (axis.kernel / inside)
    return graph.add_constant(scale, f"{node.name}.divisors")


class _Windows(NamedTuple):
    """The windows of a max pool along one axis.

    Attributes:
        axis: of the pool's input, from behind.
        starts: of each element of a window, in the first window, counted from the padding's start.
    """

    axis: int
    size: int
    windows: int
    stride: int
    padding: int
    starts: range

    def elements(self) -> torch.Tensor:
        """(windows, kernel): which elements each window has, before the first below 0."""
        firsts = torch.arange(self.windows).unsqueeze(1) * self.stride - self.padding
        return firsts + torch.tensor(list(self.starts))


def _dilated_windows(node: Node) -> list[_Windows]:
    """Of a pool with dilation; none where it has none, or a window lies outside as a whole."""
    axes = _MAX_POOLS[node.target]
    kernel, padding, dilation = (
        as_list(argument(node, name), axes) for name in ("kernel_size", "padding", "dilation")
    )
    stride = as_list(argument(node, "stride") or kernel, axes)
    if set(dilation) == {1}:
        return []
    sizes, counts = shape_of(source_of(node))[-axes:], shape_of(node)[-axes:]
    windows = [
        _Windows(i - axes, sizes[i], counts[i], stride[i], padding[i],
                 range(0, dilation[i] * kernel[i], dilation[i]))
        for i in range(axes)
    ]  # fmt: skip
    inside = [((w.elements() >= 0) & (w.elements() < w.size)).any(1).all() for w in windows]
    return windows if all(inside) else []


def _largest(graph: GraphEditor, node: Node, windows: Sequence[_Windows]) -> Node:
    """The largest of each window, axis by axis."""
    call = functools.partial(graph.call, like=node)
    x = source_of(node)
    for window in windows:
        if len(window.starts) == 1 and window.stride == 1 and not window.padding:
            continue
        x = _with_surroundings(graph, node, x, window)
        span = (window.windows - 1) * window.stride + 1
        parts = [
            call(aten.slice.Tensor, x, window.axis, start, start + span, window.stride)
            for start in window.starts
        ]
        x = functools.reduce(lambda a, b: call(aten.maximum.default, a, b), parts)
    return x


def _with_surroundings(graph: GraphEditor, node: Node, x: Node, window: _Windows) -> Node:
    """``x`` with what windows have outside: the nearest element inside of the same window."""
    if window.padding == 0 and int(window.elements().max()) < window.size:
        return x
    step = window.starts.step
    places = range(-window.padding, int(window.elements().max()) + 1)
    last = window.size - 1
    index = [
        place % step if place < 0 else last - (last - place) % step if place > last else place
        for place in places
    ]
    held = graph.add_constant(torch.tensor(index), f"{node.name}.elements")
    return graph.call(aten.index_select.default, x, window.axis, held, like=node)
