"""Pools of windows of several sizes, and with a divisor of their own."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch.fx import Node

from ..graph.average_pools import AVERAGE_POOLS
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, is_call, source_of
from .indexing import unpool
from .inline import inline, inlined

__all__ = [
    "adaptive_max_pool",
    "avg_pool",
    "drops_windows",
    "fills_windows",
    "max_pool_with_indices",
    "max_unpool",
    "without_dropped",
]

aten = torch.ops.aten
_AXES: dict[Any, int] = {
    aten.adaptive_max_pool1d.default: 1,
    aten.adaptive_max_pool2d.default: 2,
    aten.adaptive_max_pool3d.default: 3,
}


# aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)
def adaptive_max_pool(graph: GraphEditor, node: Node) -> None:
    """One max pool where all windows are alike, else the largest of each window, axis by axis.

    Replaces the items of the call.
    """
    items = [item for item in node.users if item.users]
    if not all(is_call(item, operator.getitem) and item.args[1] == 0 for item in items):
        both = inline(
            graph,
            node,
            lambda x: _with_indices(x, shape_of(items[0]), _AXES[node.target]),
            source_of(node),
        )
        for item in items:
            graph.replace(item, both[item.args[1]], f"{node.target} in core operators")
        return
    for item in items:
        y = source_of(node)
        rank = len(shape_of(y))
        axes = _AXES[node.target]
        for axis in range(rank - axes, rank):
            y = _largest(graph, y, axis, shape_of(item)[axis], item)
        graph.replace(item, y, f"{node.target} in core operators")


def _with_indices(x: torch.Tensor, shape: Sequence[int], axes: int) -> Any:
    """The largest of each window and where it stands in the plane, axis by axis from the last."""
    sizes = x.shape[-axes:]
    places = None
    for axis in range(x.ndim - 1, x.ndim - axes - 1, -1):
        size, count = x.shape[axis], shape[axis]
        step = math.prod(sizes[axis - x.ndim + axes + 1 :])
        values, indices = [], []
        for i in range(count):
            start, end = i * size // count, -(-(i + 1) * size // count)
            value, index = aten.slice.Tensor(x, axis, start, end).max(axis, keepdim=True)
            place = (index + start) * step
            if places is not None:
                part = aten.slice.Tensor(places, axis, start, end)
                place = place + torch.gather(part, axis, index)
            values.append(value)
            indices.append(place)
        x, places = torch.cat(values, axis), torch.cat(indices, axis)
    return x, places


def _largest(graph: GraphEditor, x: Node, axis: int, count: int, like: Node) -> Node:
    """The largest of each of ``count`` windows along ``axis``."""
    size = shape_of(x)[axis]
    if count == size:
        return x
    windows = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
    if count == 1:
        return graph.call(aten.amax.default, x, [axis], True, like=like)
    first, last = windows[0], windows[-1]
    step = windows[1][0]
    uniform = all(w == (i * step, i * step + first[1]) for i, w in enumerate(windows))
    if uniform and len(shape_of(x)) == 4 and axis >= 2 and last[1] == size:
        behind = axis == 3
        kernel = [1, first[1]] if behind else [first[1], 1]
        stride = [1, step] if behind else [step, 1]
        return graph.call(aten.max_pool2d.default, x, kernel, stride, like=like)
    parts = []
    for start, end in windows:
        window = graph.call(aten.slice.Tensor, x, axis, start, end, like=like)
        parts.append(graph.call(aten.amax.default, window, [axis], True, like=like))
    return graph.call(aten.cat.default, parts, axis, like=like)


# aten::avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0,
#     bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor
def avg_pool(graph: GraphEditor, node: Node) -> Node | None:
    """``divisor_override``, which torch.onnx ignores: the mean of whole windows, times a factor.

    With ``ceil_mode`` the last window may hang over the padding: what it lacks is padded first.
    Of pools without a divisor of their own only those are written that `without_dropped` is for.
    """
    divisor = argument(node, "divisor_override")
    if divisor is None:
        return without_dropped(graph, node) if drops_windows(node) else None
    x, sizes = source_of(node), shape_of(source_of(node))[-2:]
    kernel = as_list(argument(node, "kernel_size"), 2)
    stride = as_list(argument(node, "stride") or kernel, 2)
    padding = as_list(argument(node, "padding"), 2)
    beyond = [
        max((n - 1) * s + k - size - 2 * p, 0)
        for n, s, k, size, p in zip(
            shape_of(node)[-2:], stride, kernel, sizes, padding, strict=True
        )
    ]
    if any(beyond):
        behind = [0, beyond[1], 0, beyond[0]]
        x = graph.call(aten.constant_pad_nd.default, x, behind, 0.0, like=node)
    y = graph.call(aten.avg_pool2d.default, x, kernel, stride, padding, like=node)
    return graph.call(aten.mul.Tensor, y, math.prod(kernel) / divisor, like=node)


def drops_windows(node: Node) -> bool:
    """Whether ``ceil_mode`` would add a window to some axis that lies in the padding alone.

    PyTorch leaves it out; ONNX's shape inference does not.
    """
    return bool(argument(node, "ceil_mode")) and any(
        count < ceiled for count, (_, ceiled) in zip(*_windows(node), strict=True)
    )


def without_dropped(graph: GraphEditor, node: Node) -> Node | None:
    """A pool that `drops_windows`: without ``ceil_mode`` in these axes, one axis after the other.

    So the largest and the mean are found as well: the windows of an average, too, hold as many
    elements as their height times their width.
    """
    counts, sizes = _windows(node)
    ceils = [floored < count for count, (floored, _) in zip(counts, sizes, strict=True)]
    if not any(ceils):
        return _pool_of(graph, node, source_of(node), range(len(counts)), ceil=False)
    y = source_of(node)
    for ceil in (True, False):
        y = _pool_of(graph, node, y, [a for a, own in enumerate(ceils) if own is ceil], ceil=ceil)
    return y


def _windows(node: Node) -> tuple[list[int], list[tuple[int, int]]]:
    """Of each axis how many windows a pool has, and without and with one more for what is left."""
    axes = _CEILED[node.target]
    kernel = as_list(argument(node, "kernel_size"), axes)
    stride = as_list(argument(node, "stride") or kernel, axes)
    padding = as_list(argument(node, "padding"), axes)
    dilated = node.target in _LARGEST_OF
    dilation = as_list(argument(node, "dilation"), axes) if dilated else [1] * axes
    counts = list(shape_of(node)[-axes:])
    sizes = []
    for size, k, s, p, d in zip(
        shape_of(source_of(node))[-axes:], kernel, stride, padding, dilation, strict=True
    ):
        room = size + 2 * p - d * (k - 1) - 1
        sizes.append((room // s + 1, -(-room // s) + 1))
    return counts, sizes


def _pool_of(
    graph: GraphEditor, node: Node, x: Node, chosen: Collection[int], *, ceil: bool
) -> Node:
    """The pool of ``node`` along some of its axes, ``chosen``."""
    axes = _CEILED[node.target]

    def own(name: str, other: int) -> list[int]:
        given = as_list(argument(node, name) or argument(node, "kernel_size"), axes)
        return [each if axis in chosen else other for axis, each in enumerate(given)]

    padding = as_list(argument(node, "padding"), axes)
    padding = [each if axis in chosen else 0 for axis, each in enumerate(padding)]
    window = [own("kernel_size", 1), own("stride", 1), padding]
    if node.target in _LARGEST_OF:
        return graph.call(node.target, x, *window, own("dilation", 1), ceil, like=node)
    counts = argument(node, "count_include_pad")
    return graph.call(node.target, x, *window, ceil, counts, like=node)


_LARGEST_OF: dict[Any, int] = {
    aten.max_pool1d.default: 1,
    aten.max_pool2d.default: 2,
    aten.max_pool3d.default: 3,
}
_CEILED: dict[Any, int] = {**_LARGEST_OF, **AVERAGE_POOLS}

_LARGEST = 1 << 20  # elements of all windows


# aten::max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[],
#     int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)
def max_pool_with_indices(graph: GraphEditor, node: Node) -> Any:
    """The elements of all windows, by stored indices, and the first of the largest of each.

    A plain pool where nobody uses the indices. None where only `max_unpool` uses them, which does
    without, or the windows hold more than a million elements.
    """
    items = [item for item in node.users if item.users]
    if all(map(_is_value, items)):
        return [graph.call(_PLAIN_POOLS[node.target], *node.args, like=node, kwargs=node.kwargs)]
    if all(_is_value(item) or all(map(fills_windows, item.users)) for item in items):
        return None
    axes = _POOLED[node.target]
    x = source_of(node)
    sizes = shape_of(x)[-axes:]
    wanted = shape_of(items[0])[-axes:]
    places = [_window(node, axis, axes, size, wanted[axis]) for axis, size in enumerate(sizes)]
    flat = places[0]
    for size, more in zip(sizes[1:], places[1:], strict=True):
        count, width = flat.shape[0] * more.shape[0], flat.shape[1] * more.shape[1]
        both = flat[:, None, :, None] * size + more[None, :, None, :]
        outside = (flat[:, None, :, None] < 0) | (more[None, :, None, :] < 0)
        flat = torch.where(outside, -1, both).reshape(count, width)
    inside = flat >= 0
    if flat.numel() * math.prod(shape_of(x)[:-axes]) > _LARGEST or not inside.any(1).all():
        return None
    # What is outside is the window's first element that is inside once more.
    flat = torch.where(inside, flat, flat.gather(1, inside.int().argmax(1, keepdim=True)))

    def pooled(x: torch.Tensor, index: torch.Tensor) -> Any:
        lead = x.shape[:-axes]
        rows = torch.index_select(x.reshape([*lead, -1]), -1, index.reshape(-1))
        values, first = rows.reshape([*lead, *index.shape]).max(-1)
        width = torch.arange(index.shape[1])
        chosen = torch.where(first.unsqueeze(-1) == width, index, torch.zeros_like(index)).sum(-1)
        return values.reshape([*lead, *wanted]), chosen.reshape([*lead, *wanted])

    return inline(graph, node, pooled, x, flat)


_POOLED: dict[Any, int] = {
    aten.max_pool1d_with_indices.default: 1,
    aten.max_pool2d_with_indices.default: 2,
    aten.max_pool3d_with_indices.default: 3,
}
_PLAIN_POOLS: dict[Any, Any] = {
    aten.max_pool1d_with_indices.default: aten.max_pool1d.default,
    aten.max_pool2d_with_indices.default: aten.max_pool2d.default,
    aten.max_pool3d_with_indices.default: aten.max_pool3d.default,
}


def _is_value(item: Node) -> bool:
    return is_call(item, operator.getitem) and bool(item.args[1] == 0)


# aten::max_unpool2d(Tensor self, Tensor indices, SymInt[2] output_size) -> Tensor
def max_unpool(graph: GraphEditor, node: Node) -> Any:
    """Of the pool that a network undoes (SegNet, ENet): each value at the largest of its window.

    As many comparisons as the image has elements, and no index. Of any other indices: a comparison
    of each value with each place (`indexing.unpool`).
    """
    if not fills_windows(node):
        return inlined(unpool)(graph, node)
    pool = source_of(node.args[1])  # type: ignore[arg-type]
    x = source_of(pool)
    largest = graph.call(operator.getitem, pool, 0, like=node)
    kernel = as_list(argument(pool, "kernel_size"), 2)[0]

    def filled(y: torch.Tensor, x: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
        return _filled(y, x, largest, kernel)

    return inline(graph, node, filled, source_of(node), x, largest)


def fills_windows(node: Node) -> bool:
    """Whether a call is a `max_unpool2d` into the windows that its indices were found in.

    They are square and do not overlap, and the image has the size that it had.
    """
    indices = node.args[1] if is_call(node, aten.max_unpool2d.default) else None
    if not isinstance(indices, Node) or not is_call(indices, operator.getitem):
        return False
    pool = source_of(indices)
    if not is_call(pool, aten.max_pool2d_with_indices.default):
        return False
    kernel = as_list(argument(pool, "kernel_size"), 2)
    stride = as_list(argument(pool, "stride") or kernel, 2)
    whole = [
        size // step for size, step in zip(shape_of(source_of(pool))[-2:], kernel, strict=True)
    ]
    return (
        kernel == stride
        and kernel[0] == kernel[1]
        and as_list(argument(pool, "padding"), 2) == [0, 0]
        and as_list(argument(pool, "dilation"), 2) == [1, 1]
        and shape_of(indices)[-2:] == tuple(whole)
        and shape_of(node)[-2:] == shape_of(source_of(pool))[-2:]
    )


def _filled(y: torch.Tensor, x: torch.Tensor, largest: torch.Tensor, kernel: int) -> torch.Tensor:
    """y (…, C, h, w) in the shape of x (…, C, H, W): at the first of the largest of its window."""
    height, width = (size * kernel for size in y.shape[-2:])
    places = [(row, column) for row in range(kernel) for column in range(kernel)]
    found = torch.full(y.shape, float(len(places) - 1), dtype=y.dtype)
    for number, (row, column) in reversed(list(enumerate(places[:-1]))):
        part = x[..., row:height:kernel, column:width:kernel]
        found = torch.where(part == largest, torch.full_like(y, number), found)
    zero = torch.zeros_like(y)
    parts = [torch.where(found == number, y, zero) for number in range(len(places))]
    stacked = torch.stack(parts, -3).flatten(-4, -3)
    whole = torch.nn.functional.pixel_shuffle(stacked, kernel)
    return torch.nn.functional.pad(whole, (0, x.shape[-1] - width, 0, x.shape[-2] - height))


def _window(node: Node, axis: int, axes: int, size: int, count: int) -> torch.Tensor:
    """(windows, kernel): which places along ``axis`` each window takes, -1 for the padding."""
    kernel = as_list(argument(node, "kernel_size"), axes)
    stride = as_list(argument(node, "stride") or kernel, axes)[axis]
    padding, dilation = (as_list(argument(node, n), axes)[axis] for n in ("padding", "dilation"))
    starts = torch.arange(count).unsqueeze(1) * stride - padding
    places = starts + torch.arange(kernel[axis]) * dilation
    return torch.where((places < 0) | (places >= size), -1, places)
