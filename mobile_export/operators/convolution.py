"""Convolutions whose padding no symmetric padding says."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, source_of

__all__ = [
    "convolution",
    "is_odd",
    "is_unusual",
    "padded_transposed_convolution",
    "same_convolution",
    "unbatched",
    "written_out_convolution",
]

aten = torch.ops.aten


# aten::conv2d.padding(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=[1, 1],
#     str padding="valid", SymInt[2] dilation=[1, 1], SymInt groups=1) -> Tensor
def same_convolution(graph: GraphEditor, node: Node) -> Node | None:
    """ "same" with an odd number of zeros: the odd one is behind, where PyTorch has it."""
    if argument(node, "padding") != "same":
        return None
    weight: Any = argument(node, "weight")
    kernel = shape_of(weight)[2:]
    rank = len(kernel)
    dilation = as_list(argument(node, "dilation"), rank)
    total = [(size - 1) * step for size, step in zip(kernel, dilation, strict=True)]
    if len(shape_of(source_of(node))) != rank + 2 or not any(zeros % 2 for zeros in total):
        return None
    behind = [amount for zeros in reversed(total) for amount in (0, zeros % 2)]
    padded = graph.call(aten.constant_pad_nd.default, source_of(node), behind, 0.0, like=node)
    plain = {1: aten.conv1d.default, 2: aten.conv2d.default}[rank]
    return graph.call(
        plain,
        padded,
        weight,
        argument(node, "bias"),
        as_list(argument(node, "stride"), rank),
        [zeros // 2 for zeros in total],
        dilation,
        argument(node, "groups"),
        like=node,
    )


def unbatched(node: Node) -> bool:
    """Whether the image of a convolution has no batch axis."""
    weight: Any = argument(node, "weight")
    return len(shape_of(source_of(node))) < len(shape_of(weight))


def is_unusual(node: Node) -> bool:
    """Whether the image has no batch axis, or the weight is computed."""
    weight: Any = argument(node, "weight")
    return unbatched(node) or weight.op == "call_function"


def convolution(graph: GraphEditor, node: Node) -> Node | None:
    """One image without a batch: a batch of one. A weight that is computed from the image (filters
    of an expert mixture, of a kernel network, of a template that is searched for): products."""
    if unbatched(node):
        return _batch_of_one(graph, node)
    return _products_of_windows(graph, node) if _is_computed(graph, node) else None


def _batch_of_one(graph: GraphEditor, node: Node) -> Node:
    x = source_of(node)
    batch = graph.call(aten.reshape.default, x, [1, *shape_of(x)], like=node)
    kwargs = dict(node.kwargs)
    y = graph.call(node.target, batch, *node.args[1:], like=node, kwargs=kwargs)
    return graph.call(aten.reshape.default, y, list(shape_of(node)), like=node)


def _is_computed(graph: GraphEditor, node: Node) -> bool:
    """Whether the weight depends on what the program is given, and not on stored tensors alone."""
    waiting: list[Any] = [argument(node, "weight")]
    seen: set[Node] = set()
    while waiting:
        value = waiting.pop()
        if value.op == "placeholder" and not graph.is_constant(value):
            return True
        waiting += [source for source in value.all_input_nodes if source not in seen]
        seen.update(value.all_input_nodes)
    return False


def _with_bias(graph: GraphEditor, node: Node, y: Node) -> Node:
    """``y``, all that a convolution computes but its bias, with the bias if there is one."""
    bias: Any = argument(node, "bias")
    if bias is None:
        return y
    spatial = len(shape_of(node)) - 2
    shift = graph.call(aten.reshape.default, bias, [-1, *[1] * spatial], like=node)
    return graph.call(aten.add.Tensor, y, shift, like=node)


# aten::conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1,
#     SymInt[2] padding=0, SymInt[2] dilation=1, SymInt groups=1) -> Tensor
def _products_of_windows(graph: GraphEditor, node: Node) -> Node | None:
    """W · unfold(x), a product of matrices for each group: the definition of a convolution."""

    def call(target: Any, *args: Any) -> Node:
        return graph.call(target, *args, like=node)

    weight: Any = argument(node, "weight")
    channels, depth, *kernel = shape_of(weight)
    rank = len(kernel)
    if rank > 2:
        return None
    names = ("dilation", "padding", "stride")
    numbers = [as_list(argument(node, name), rank) for name in names]
    x, groups = source_of(node), argument(node, "groups")
    if rank == 1:  # an image of height 1
        batch, given, length = shape_of(x)
        x = call(aten.reshape.default, x, [batch, given, 1, length])
        kernel = [1, *kernel]
        numbers = [[a, *b] for a, b in zip((1, 0, 1), numbers, strict=True)]
    columns = call(aten.im2col.default, x, kernel, *numbers)
    batch, _, places = shape_of(columns)
    rows = depth * math.prod(kernel)
    windows = call(aten.reshape.default, columns, [batch, groups, rows, places])
    matrices = call(aten.reshape.default, weight, [1, groups, channels // groups, rows])
    if batch > 1:
        matrices = call(aten.expand.default, matrices, [batch, groups, channels // groups, rows])
    y = call(aten.matmul.default, matrices, windows)
    y = call(aten.reshape.default, y, list(shape_of(node)))
    return _with_bias(graph, node, y)


# aten::_convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding,
#     SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups, bool benchmark,
#     bool deterministic, bool cudnn_enabled, bool allow_tf32) -> Tensor
def written_out_convolution(graph: GraphEditor, node: Node) -> Node:
    """The convolution of as many axes, transposed or not; TorchScript traces have this one."""
    weight: Any = argument(node, "weight")
    rank = len(shape_of(weight)) - 2
    stride, padding, dilation, extra = (
        as_list(argument(node, name), rank)
        for name in ("stride", "padding", "dilation", "output_padding")
    )
    groups, bias = argument(node, "groups"), argument(node, "bias")
    if argument(node, "transposed"):
        kinds = {
            1: aten.conv_transpose1d.default,
            2: aten.conv_transpose2d.input,
            3: aten.conv_transpose3d.input,
        }
        rest = [stride, padding, extra, groups, dilation]
    else:
        kinds = {1: aten.conv1d.default, 2: aten.conv2d.default, 3: aten.conv3d.default}
        rest = [stride, padding, dilation, groups]
    return graph.call(kinds[rank], node.args[0], weight, bias, *rest, like=node)


def is_odd(node: Node) -> bool:
    """Whether a transposed convolution has no batch, or an output padding of a stride or more."""
    stride, extra = (as_list(argument(node, name), 3) for name in ("stride", "output_padding"))
    return unbatched(node) or any(e >= s for e, s in zip(extra, stride, strict=False))


# aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None,
#     SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0],
#     SymInt groups=1, SymInt[2] dilation=[1, 1]) -> Tensor
def padded_transposed_convolution(graph: GraphEditor, node: Node) -> Node | None:
    """``output_padding >= stride``, which onnxruntime refuses, or more of it than ``padding``, of
    which coremltools 9.0 makes another shape: all of the result, then a part.

    ``padding`` crops the whole result on both sides and ``output_padding`` crops less behind; what
    lies behind the whole result is the bias alone.
    """
    weight: Any = argument(node, "weight")
    rank = len(shape_of(weight)) - 2
    names = ("stride", "padding", "output_padding", "dilation")
    stride, padding, extra, dilation = (as_list(argument(node, name), rank) for name in names)
    given = shape_of(source_of(node))
    if len(given) != rank + 2:
        return _batch_of_one(graph, node)
    if rank == 1:
        return _as_image(graph, node, stride, padding, extra, dilation)
    if rank == 3:
        return _by_planes(graph, node, stride, padding, extra, dilation)
    if all(e < s and e <= p for e, s, p in zip(extra, stride, padding, strict=True)):
        return _products_into_windows(graph, node) if _is_computed(graph, node) else None
    zeros = [0] * rank
    numbers = (stride, zeros, zeros, argument(node, "groups"), dilation)
    y = graph.call(node.target, source_of(node), weight, None, *numbers, like=node)
    ends = [p + size for p, size in zip(padding, shape_of(node)[2:], strict=True)]
    beyond = [max(end - size, 0) for end, size in zip(ends, shape_of(y)[2:], strict=True)]
    if any(beyond):
        behind = [amount for more in reversed(beyond) for amount in (0, more)]
        y = graph.call(aten.constant_pad_nd.default, y, behind, 0.0, like=node)
    for axis, (start, end) in enumerate(zip(padding, ends, strict=True), 2):
        if start or end < shape_of(y)[axis]:
            y = graph.call(aten.slice.Tensor, y, axis, start, end, like=node)
    return _with_bias(graph, node, y)


def _products_into_windows(graph: GraphEditor, node: Node) -> Node:
    """A weight that is computed from the image: fold(Wᵀ · x), a product for each group."""

    def call(target: Any, *args: Any) -> Node:
        return graph.call(target, *args, like=node)

    weight: Any = argument(node, "weight")
    given, depth, *kernel = shape_of(weight)
    names = ("dilation", "padding", "stride")
    numbers = [as_list(argument(node, name), 2) for name in names]
    x, groups = source_of(node), argument(node, "groups")
    batch, _, *size = shape_of(x)
    places, rows = math.prod(size), depth * math.prod(kernel)
    matrices = call(aten.reshape.default, weight, [1, groups, given // groups, rows])
    matrices = call(aten.transpose.int, matrices, 2, 3)
    if batch > 1:
        matrices = call(aten.expand.default, matrices, [batch, groups, rows, given // groups])
    columns = call(aten.reshape.default, x, [batch, groups, given // groups, places])
    y = call(aten.matmul.default, matrices, columns)
    y = call(aten.reshape.default, y, [batch, groups * rows, places])
    y = call(aten.col2im.default, y, list(shape_of(node)[2:]), kernel, *numbers)
    return _with_bias(graph, node, y)


def _as_image(graph: GraphEditor, node: Node, *options: list[int]) -> Node:
    """A transposed convolution of one axis, which LiteRT lacks: of an image of height 1."""
    weight: Any = argument(node, "weight")
    n, c, length = shape_of(source_of(node))
    rows, channels, width = shape_of(weight)
    image = graph.call(aten.reshape.default, source_of(node), [n, c, 1, length], like=node)
    kernel = graph.call(aten.reshape.default, weight, [rows, channels, 1, width], like=node)
    stride, padding, extra, dilation = ([a, *b] for a, b in zip((1, 0, 0, 1), options, strict=True))
    numbers = (stride, padding, extra, argument(node, "groups"), dilation)
    y = graph.call(
        aten.conv_transpose2d.input, image, kernel, argument(node, "bias"), *numbers, like=node
    )
    return graph.call(aten.reshape.default, y, list(shape_of(node)), like=node)


def _by_planes(graph: GraphEditor, node: Node, *options: list[int]) -> Node:
    """A transposed convolution of three axes, which LiteRT and TNN lack, plane by plane.

    Every plane of the volume is an image; a transposed convolution of two axes has a channel for
    each plane of the kernel, and a product with a stored 0-1 matrix adds up what falls on a plane
    of the result.
    """
    weight: Any = argument(node, "weight")
    (s, *stride), (p, *padding), (_, *extra), (d, *dilation) = options
    n, c, depth, height, width = shape_of(source_of(node))
    rows, channels, taps, *kernel = shape_of(weight)
    _, out, planes, *sizes = shape_of(node)

    def call(target: Any, x: Node, *args: Any) -> Node:
        return graph.call(target, x, *args, like=node)

    x = call(aten.permute.default, source_of(node), [0, 2, 1, 3, 4])
    x = call(aten.reshape.default, x, [n * depth, c, height, width])
    flat = call(aten.reshape.default, weight, [rows, channels * taps, *kernel])
    groups = argument(node, "groups")
    y = call(aten.conv_transpose2d.input, x, flat, None, stride, padding, extra, groups, dilation)
    y = call(aten.reshape.default, y, [n, depth, out, taps, math.prod(sizes)])
    y = call(aten.permute.default, y, [0, 2, 3, 1, 4])
    y = call(aten.reshape.default, y, [n * out, taps * depth, math.prod(sizes)])
    choice = torch.zeros(planes, taps * depth)
    for tap in range(taps):
        for plane in range(depth):
            place = plane * s + tap * d - p
            if 0 <= place < planes:
                choice[place, tap * depth + plane] = 1
    matrix = graph.add_constant(choice, f"planes.{node.name}")
    y = call(aten.matmul.default, matrix, y)
    y = call(aten.reshape.default, y, [n, out, planes, *sizes])
    return _with_bias(graph, node, y)
