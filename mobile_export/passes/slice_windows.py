"""``unfold`` and ``fold`` as slices, pads and sums, which every converter has.

Along one axis, n windows of k elements are either n slices of k or k slices of n, whichever are
fewer; two axes are taken one after the other. ``fold`` adds what lies in each place of each window
to the image: the places with one remainder of (position / stride) make one image of their own, and
the image is these, interleaved.

coremltools 9 has no ``unfold`` and no ``fold`` of windows that overlap, litert-torch 0.10 writes a
pad of six axes for the one and a scatter that LiteRT cannot run for the other. Only formats that
ask for it in their row get this pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, source_of

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["slice_windows"]

aten = torch.ops.aten


def slice_windows(program: Program) -> PassResult:
    """No ``unfold``, ``im2col`` or ``col2im`` is left."""
    graph = GraphEditor(program)
    rules: dict[object, Callable[[_Writer, Node], Node]] = {
        aten.unfold.default: _unfold,
        aten.im2col.default: _im2col,
        aten.col2im.default: _col2im,
    }
    for node in graph.find(*rules):
        new = rules[node.target](_Writer(graph, node), node)
        graph.replace(node, new, f"{node.target} is slices")
    return graph.result()


class _Writer:
    """Calls that stand where ``origin`` stands."""

    def __init__(self, graph: GraphEditor, origin: Node) -> None:
        self._graph, self._origin = graph, origin

    def call(self, target: object, *args: object) -> Node:
        return self._graph.call(target, *args, like=self._origin)

    def reshape(self, x: Node, *shape: int) -> Node:
        return x if shape_of(x) == shape else self.call(aten.reshape.default, x, list(shape))

    def part(self, x: Node, axis: int, start: int, stop: int, step: int = 1) -> Node:
        if (start, step) == (0, 1) and stop >= shape_of(x)[axis]:
            return x
        return self.call(aten.slice.Tensor, x, axis, start, stop, step)

    def pad(self, x: Node, axis: int, before: int, after: int) -> Node:
        """Zeros on one axis; negative numbers cut."""
        size = shape_of(x)[axis]
        x = self.part(x, axis, max(-before, 0), size - max(-after, 0))
        low, high = max(before, 0), max(after, 0)
        if not low and not high:
            return x
        pairs = [0, 0] * (len(shape_of(x)) - 1 - axis) + [low, high]
        return self.call(aten.constant_pad_nd.default, x, pairs, 0.0)

    def zeros(self, *shape: int) -> Node:
        return self._graph.add_constant(torch.zeros(shape), f"{self._origin.name}.zeros")

    def stack(self, parts: list[Node], axis: int) -> Node:
        """``parts`` along a new axis."""
        shape = list(shape_of(parts[0]))
        shape.insert(axis, 1)
        flat = [self.reshape(part, *shape) for part in parts]
        return flat[0] if len(flat) == 1 else self.call(aten.cat.default, flat, axis)


def _windows(write: _Writer, x: Node, size: int, step: int, dilation: int = 1) -> Node:
    """(A, n, B) to (A, size, windows, B): element k of window w is x[:, w step + k dilation]."""
    length = shape_of(x)[1]
    count = _count(length, size, step, dilation)
    if count < size:
        reach = (size - 1) * dilation + 1
        starts = range(0, count * step, step)
        return write.stack([write.part(x, 1, s, s + reach, dilation) for s in starts], 2)
    reach = (count - 1) * step + 1
    starts = range(0, size * dilation, dilation)
    return write.stack([write.part(x, 1, s, s + reach, step) for s in starts], 1)


def _count(length: int, size: int, step: int, dilation: int) -> int:
    """How many windows fit into ``length`` elements."""
    return (length - (size - 1) * dilation - 1) // step + 1


def _unfold(write: _Writer, node: Node) -> Node:
    """Tensor.unfold: the elements of a window are a new last axis."""
    x, shape = source_of(node), shape_of(source_of(node))
    if not shape:  # a scalar is one window of itself
        return write.reshape(x, *shape_of(node))
    axis = argument(node, "dimension") % len(shape)
    before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    held = write.reshape(x, before, shape[axis], after)
    windows = _windows(write, held, argument(node, "size"), argument(node, "step"))
    last = write.call(aten.permute.default, windows, [0, 2, 3, 1])
    return write.reshape(last, *shape_of(node))


def _im2col(write: _Writer, node: Node) -> Node:
    """torch.nn.functional.unfold: (N, C, H, W) to (N, C kh kw, windows)."""
    kernel, dilation, padding, stride = _window_of(node)
    x = source_of(node)
    *batch, channels, height, width = shape_of(x)
    x = write.reshape(x, math.prod(batch), channels, height, width)
    for axis in (0, 1):
        x = write.pad(x, 2 + axis, padding[axis], padding[axis])
    images, channels, height, width = shape_of(x)
    rows = write.reshape(x, images * channels, height, width)
    rows = _windows(write, rows, kernel[0], stride[0], dilation[0])
    held = write.reshape(rows, math.prod(shape_of(rows)[:-1]), width, 1)
    columns = _windows(write, held, kernel[1], stride[1], dilation[1])
    # (N C kh, windows down, kw, windows across) to (N C kh, kw, windows)
    down, across = shape_of(rows)[2], shape_of(columns)[2]
    apart = write.reshape(columns, images * channels * kernel[0], down, kernel[1], across)
    turned = write.call(aten.permute.default, apart, [0, 2, 1, 3])
    return write.reshape(turned, *shape_of(node))


def _col2im(write: _Writer, node: Node) -> Node:
    """torch.nn.functional.fold: (N, C kh kw, windows) to (N, C, H, W), overlaps added."""
    kernel, dilation, padding, stride = _window_of(node)
    size = as_list(argument(node, "output_size"), 2)
    counts = [_count(size[i] + 2 * padding[i], kernel[i], stride[i], dilation[i]) for i in (0, 1)]
    channels, images = shape_of(node)[-3], math.prod(shape_of(node)[:-3])
    planes = images * channels
    x = write.reshape(source_of(node), planes, *kernel, *counts)
    # (planes, kh, kw, down, across) to (planes kh, across', down), to (planes, down', across')
    x = write.call(aten.permute.default, x, [0, 1, 3, 2, 4])
    x = write.reshape(x, planes * kernel[0] * counts[0], kernel[1], counts[1], 1)
    x = _added(write, x, dilation[1], padding[1], stride[1], size[1])
    x = write.reshape(x, planes, kernel[0], counts[0], size[1])
    x = _added(write, x, dilation[0], padding[0], stride[0], size[0])
    return write.reshape(x, *shape_of(node))


def _added(write: _Writer, x: Node, dilation: int, padding: int, stride: int, size: int) -> Node:
    """(A, k, n, B) to (A, size, B): element (k, n) is added at n stride + k dilation - padding."""
    before, kernel, count, after = shape_of(x)
    steps = math.ceil(size / stride)
    phases: list[list[Node]] = [[] for _ in range(stride)]
    for k in range(kernel):
        shift, phase = divmod(k * dilation - padding, stride)
        part = write.reshape(write.part(x, 1, k, k + 1), before, count, after)
        if -count < shift < steps:
            phases[phase].append(write.pad(part, 1, shift, steps - count - shift))
    images = []
    for parts in phases:
        image = parts[0] if parts else write.zeros(before, steps, after)
        for part in parts[1:]:
            image = write.call(aten.add.Tensor, image, part)
        images.append(image)
    whole = write.stack(images, 2)
    return write.part(write.reshape(whole, before, steps * stride, after), 1, 0, size)


def _window_of(node: Node) -> tuple[list[int], list[int], list[int], list[int]]:
    names = ("kernel_size", "dilation", "padding", "stride")
    kernel, dilation, padding, stride = (as_list(argument(node, name), 2) for name in names)
    return kernel, dilation, padding, stride
