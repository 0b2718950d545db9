"""Pools of windows of several sizes, and with a divisor of their own."""

from __future__ import annotations

import math
import operator

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, is_call, source_of

__all__ = ["adaptive_max_pool", "avg_pool"]

aten = torch.ops.aten


# aten::adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)
def adaptive_max_pool(graph: GraphEditor, node: Node) -> None:
    """One max pool where all windows are alike, else the largest of each window, axis by axis.

    Replaces the first item of the call; a call whose indices are used is left.
    """
    items = [item for item in node.users if item.users]
    if not all(is_call(item, operator.getitem) and item.args[1] == 0 for item in items):
        return
    for item in items:
        y = source_of(node)
        rank = len(shape_of(y))
        axes = 2 if node.target is aten.adaptive_max_pool2d.default else 1
        for axis in range(rank - axes, rank):
            y = _largest(graph, y, axis, shape_of(item)[axis], item)
        graph.replace(item, y, f"{node.target} in core operators")


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
    if uniform and len(shape_of(x)) == 4 and last[1] == size:
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
    Pools without a divisor of their own are left.
    """
    divisor = argument(node, "divisor_override")
    if divisor is None:
        return None
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
