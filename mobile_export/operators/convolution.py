"""Convolutions whose padding no symmetric padding says."""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, source_of

__all__ = ["convolution", "padded_transposed_convolution", "same_convolution", "unbatched"]

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


def convolution(graph: GraphEditor, node: Node) -> Node | None:
    """One image without a batch: a batch of one."""
    x = source_of(node)
    if not unbatched(node):
        return None
    batch = graph.call(aten.reshape.default, x, [1, *shape_of(x)], like=node)
    kwargs = dict(node.kwargs)
    y = graph.call(node.target, batch, *node.args[1:], like=node, kwargs=kwargs)
    return graph.call(aten.reshape.default, y, list(shape_of(node)), like=node)


# aten::conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None,
#     SymInt[2] stride=[1, 1], SymInt[2] padding=[0, 0], SymInt[2] output_padding=[0, 0],
#     SymInt groups=1, SymInt[2] dilation=[1, 1]) -> Tensor
def padded_transposed_convolution(graph: GraphEditor, node: Node) -> Node | None:
    """``output_padding >= stride``, which onnxruntime refuses: all of the result, then a part.

    ``padding`` crops the whole result on both sides and ``output_padding`` crops less behind; what
    lies behind the whole result is the bias alone.
    """
    weight: Any = argument(node, "weight")
    rank = len(shape_of(weight)) - 2
    names = ("stride", "padding", "output_padding", "dilation")
    stride, padding, extra, dilation = (as_list(argument(node, name), rank) for name in names)
    given = shape_of(source_of(node))
    if len(given) != rank + 2:
        return convolution(graph, node)
    if all(e < s for e, s in zip(extra, stride, strict=True)):
        return None
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
    bias: Any = argument(node, "bias")
    if bias is None:
        return y
    shift = graph.call(aten.reshape.default, bias, [-1, *[1] * rank], like=node)
    return graph.call(aten.add.Tensor, y, shift, like=node)
