"""What litert-torch 0.10 refuses, or writes slowly, in other operations first.

Transposed convolution with padding and a stride ("failed to legalize mhlo.convolution"): padding
crops the result, so it becomes the same without padding, cropped. (What it gets wrong is a pass:
`passes.index_nearest`.) With dilation and a stride ("mhlo.convolution … marked illegal"): the same
of a larger kernel, with zeros between its elements.

Convolution of three axes in groups ends its converter's process (a segmentation fault): a sum over
the taps along time of convolutions of single frames, which are a batch.

Pointwise calls, softmaxes and reductions of more than five axes ("'tfl.maximum' … explicitly marked
illegal"): neighbouring axes are joined.

Lengths of vectors of five axes ("tfl.pow"): roots of sums of squares.

Layer norm, which TFLite lacks: litert-torch writes eleven ops, four reshapes among them. With

    d = x - mean(x),   y = d · rsqrt(mean(d · d) + eps)

there are seven, none of which moves anything.

Products of batches of matrices: litert-torch joins the batch dimensions, and undoes it behind each
product, though TFLite's BATCH_MATMUL takes several. `_product` is an op that is lowered to that.

Linear layers of one pixel: of (1, C, 1, 1) with its channels moved last litert-torch makes products
whose ranks do not fit ("found invalid output rank"). Over (1, C) there is none. So it does of
convolutions of a row (1, C, 1, N) of which a product of matrices is the input: they are ones of a
column (1, C, N, 1).

Sorting: litert-torch writes STABLEHLO_SORT, which LiteRT does not have, for all but the largest
elements along the last axis with their indices, which are TOPK_V2. So sorting is that, of negated
elements where the smallest come first, and the values are gathered by the indices.
"""

from __future__ import annotations

import functools
import math
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ...graph.editor import GraphEditor, shape_of
from ...graph.ops import argument, as_list, is_call, source_of
from ...passes.join_axes import join_axes
from ...system.litert_private import lower_as_product

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["avoid_gaps"]

_ATEN = torch.ops.aten
_MOST_AXES = 5


def avoid_gaps(program: Program) -> Program:
    """``program`` with the operations above in others."""
    graph = GraphEditor(program)
    join_axes(graph, _MOST_AXES)
    for node in graph.find(_ATEN.conv_transpose2d.input):
        _widen_dilated(graph, node)
    for node in graph.find(_ATEN.conv_transpose2d.input):
        _crop_instead_of_padding(graph, node)
    for node in graph.find(_ATEN.conv3d.default):
        _convolve_frames(graph, node)
    for node in graph.find(_ATEN.linalg_vector_norm.default):
        _sum_squares(graph, node)
    for node in graph.find(_ATEN.layer_norm.default):
        _norm_in_parts(graph, node)
    for node in graph.find(_ATEN.linear.default):
        _flatten_one_row(graph, node)
    for node in graph.find(_ATEN.conv1d.default, _ATEN.conv2d.default):
        _stand_up(graph, node)
    for node in graph.find(_ATEN.matmul.default):
        _multiply_stacks(graph, node)
    for node in [*graph.find(_ATEN.sort.default), *graph.find(_ATEN.sort.stable)]:
        _choose_largest(graph, node)
    for node in graph.find(_ATEN.topk.default):
        _choose_largest(graph, node)
    return graph.result().program


def _widen_dilated(graph: GraphEditor, node: Node) -> None:
    """conv_transpose2d(stride > 1, dilation=d) -> d = 1, stored weights with zeros between."""
    weight = argument(node, "weight")
    dilation, stride = (as_list(argument(node, name), 2) for name in ("dilation", "stride"))
    stored = graph.constant(weight)
    if set(dilation) == {1} or set(stride) == {1} or stored is None:
        return
    sizes = [d * (k - 1) + 1 for d, k in zip(dilation, stored.shape[2:], strict=True)]
    wide = stored.new_zeros(*stored.shape[:2], *sizes)
    wide[:, :, :: dilation[0], :: dilation[1]] = stored
    held = graph.derived(weight, wide, f"{node.name}.weight")
    names = ("input", "bias", "stride", "padding", "output_padding", "groups")
    x, bias, *numbers = (argument(node, name) for name in names)
    result = graph.call(node.target, x, held, bias, *numbers, [1, 1], like=node)
    graph.replace(node, result, "dilation as zeros in the kernel")


def _crop_instead_of_padding(graph: GraphEditor, node: Node) -> None:
    """conv_transpose2d(padding=p, output_padding <= p) -> the same without, rows p to p + H."""
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    x, weight, bias = (argument(node, name) for name in ("input", "weight", "bias"))
    stride, padding, extra, groups, dilation = (argument(node, name) for name in names)
    pads, extras = _pair(padding), _pair(extra)
    if pads == (0, 0) or any(e > p for e, p in zip(extras, pads, strict=True)):
        return
    numbers = (stride, [0, 0], [0, 0], groups, dilation)
    result = graph.call(_ATEN.conv_transpose2d.input, x, weight, bias, *numbers, like=node)
    for axis, pad in zip((2, 3), pads, strict=True):
        end = pad + shape_of(node)[axis]
        result = graph.call(_ATEN.slice.Tensor, result, axis, pad, end, like=node)
    graph.replace(node, result, "padding as a crop")


def _convolve_frames(graph: GraphEditor, node: Node) -> None:
    """conv3d in groups -> a sum of conv2d, one for each tap along the first axis."""
    x, weight, bias = (argument(node, name) for name in ("input", "weight", "bias"))
    groups = argument(node, "groups")
    if groups == 1:
        return
    stride, padding, dilation = (
        as_list(argument(node, name), 3) for name in ("stride", "padding", "dilation")
    )
    images, channels, _, *size = shape_of(x)
    frames, taps = shape_of(node)[2], shape_of(weight)[2]
    call = functools.partial(graph.call, like=node)
    if padding[0]:
        ends = [0, 0, 0, 0, padding[0], padding[0]]
        x = call(_ATEN.constant_pad_nd.default, x, ends, 0.0)
    x = call(_ATEN.permute.default, x, [0, 2, 1, 3, 4])
    stored, total = graph.constant(weight), None
    for tap in range(taps):
        first = tap * dilation[0]
        last = first + (frames - 1) * stride[0] + 1
        taken = call(_ATEN.slice.Tensor, x, 1, first, last, stride[0])
        flat = call(_ATEN.reshape.default, taken, [images * frames, channels, *size])
        if stored is None:
            kernel = call(_ATEN.select.int, weight, 2, tap)
        else:
            kernel = graph.derived(weight, stored[:, :, tap].contiguous(), f"{node.name}.weight")
        numbers = (stride[1:], padding[1:], dilation[1:], groups)
        part = call(_ATEN.conv2d.default, flat, kernel, None if tap else bias, *numbers)
        total = part if total is None else call(_ATEN.add.Tensor, total, part)
    assert total is not None
    _, features, _, *size = shape_of(node)
    result = call(_ATEN.reshape.default, total, [images, frames, features, *size])
    result = call(_ATEN.permute.default, result, [0, 2, 1, 3, 4])
    graph.replace(node, result, "frame by frame")


def _sum_squares(graph: GraphEditor, node: Node) -> None:
    """linalg_vector_norm of order 2 and five axes or more -> sqrt(sum(x · x))."""
    x: Any = argument(node, "self")
    axes = argument(node, "dim")
    if argument(node, "ord") != 2 or len(shape_of(x)) < _MOST_AXES or not axes:
        return
    call = functools.partial(graph.call, like=node)
    squares = call(_ATEN.mul.Tensor, x, x)
    total = call(_ATEN.sum.dim_IntList, squares, axes, bool(argument(node, "keepdim")))
    graph.replace(node, call(_ATEN.sqrt.default, total), "a root of a sum of squares")


def _norm_in_parts(graph: GraphEditor, node: Node) -> None:
    """layer_norm(x) -> means, differences and a reciprocal root; then its weight and bias."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    x, shape, weight, bias, eps = (argument(node, name) for name in names)
    axes = list(range(-len(shape), 0))
    call = functools.partial(graph.call, like=node)
    centred = call(_ATEN.sub.Tensor, x, call(_ATEN.mean.dim, x, axes, True))
    variance = call(_ATEN.mean.dim, call(_ATEN.mul.Tensor, centred, centred), axes, True)
    scale = call(_ATEN.rsqrt.default, call(_ATEN.add.Tensor, variance, eps))
    result = call(_ATEN.mul.Tensor, centred, scale)
    if weight is not None:
        result = call(_ATEN.mul.Tensor, result, weight)
    if bias is not None:
        result = call(_ATEN.add.Tensor, result, bias)
    graph.replace(node, result, "layer norm in parts")


def _flatten_one_row(graph: GraphEditor, node: Node) -> None:
    """linear of a tensor that is one row, with further axes of one -> linear of (1, C)."""
    x, weight, bias = (argument(node, name) for name in ("input", "weight", "bias"))
    shape = shape_of(x)
    if len(shape) > 2 and math.prod(shape[:-1]) == 1:
        call = functools.partial(graph.call, like=node)
        row = call(_ATEN.reshape.default, x, [1, shape[-1]])
        result = call(_ATEN.linear.default, row, weight, bias)
        result = call(_ATEN.reshape.default, result, list(shape_of(node)))
        graph.replace(node, result, "one row")


def _stand_up(graph: GraphEditor, node: Node) -> None:
    """conv1d, or conv2d of a row, of a product of matrices -> conv2d of a column."""
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, bias, *numbers, groups = (argument(node, name) for name in names)
    shape, kernel = list(shape_of(x)), list(shape_of(weight))
    if len(shape) == 4 and (shape[2] != 1 or kernel[2] != 1 or _pair(numbers[1])[0]):
        return
    if len(shape) < 3 or not _is_product(x):
        return
    call = functools.partial(graph.call, like=node)
    stored = graph.constant(weight)
    column = [*kernel[:2], kernel[-1], 1]
    if stored is None:
        turned = call(_ATEN.reshape.default, weight, column)
    else:
        turned = graph.derived(weight, stored.reshape(column), f"{node.name}.weight")
    stride, padding, dilation = (as_list(value, 1)[-1] for value in numbers)
    standing = call(_ATEN.reshape.default, x, [*shape[:2], shape[-1], 1])
    ends = ([stride, 1], [padding, 0], [dilation, 1], groups)
    result = call(_ATEN.conv2d.default, standing, turned, bias, *ends)
    result = call(_ATEN.reshape.default, result, list(shape_of(node)))
    graph.replace(node, result, "of a column")


def _is_product(node: Any) -> bool:
    """Whether a value is a product of matrices, perhaps reshaped."""
    while is_call(node, _ATEN.reshape.default):
        node = source_of(node)
    return is_call(node, _ATEN.matmul.default)


def _multiply_stacks(graph: GraphEditor, node: Node) -> None:
    """matmul of two operands with the same two batch dimensions -> `_product`."""
    first, second = (shape_of(operand) for operand in node.args)  # type: ignore[arg-type]
    if len(first) == len(second) == 4 and first[:2] == second[:2]:
        graph.replace(node, graph.call(_product(), *node.args, like=node), "batch kept")


def _choose_largest(graph: GraphEditor, node: Node) -> None:
    """sort or topk -> indices of the largest elements along the last axis, and a gather."""
    x: Any = argument(node, "self")
    shape = shape_of(x)
    if not shape or not x.meta["val"].is_floating_point():
        return
    axis, last = argument(node, "dim") % len(shape), len(shape) - 1
    some = node.target is _ATEN.topk.default
    count = argument(node, "k") if some else shape[axis]
    largest = argument(node, "largest" if some else "descending")
    call = functools.partial(graph.call, like=node)
    order = [i for i in range(len(shape)) if i != axis]
    rows = x if axis == last else call(_ATEN.permute.default, x, [*order, axis])
    key = rows if largest else call(_ATEN.neg.default, rows)
    chosen = call(_ATEN.topk.default, key, count, -1, True, True)
    indices = call(operator.getitem, chosen, 1)
    items = [call(_ATEN.gather.default, rows, -1, indices), indices]
    if axis != last:
        back = [*range(axis), last, *range(axis, last)]
        items = [call(_ATEN.permute.default, item, back) for item in items]
    for user in list(node.users):
        graph.replace(user, items[user.args[1]], "sorted by indices")  # type: ignore[index]


@functools.cache
def _product() -> Any:
    """The product of batches of matrices, (A, B, M, K) (A, B, K, N) -> (A, B, M, N), as one op."""

    @torch.library.custom_op("mobile_export::product", mutates_args=())
    def product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.matmul(first, second)

    product.register_fake(torch.matmul)
    lower_as_product(torch.ops.mobile_export.product)
    return torch.ops.mobile_export.product.default


def _pair(value: Any) -> tuple[int, int]:
    """(rows, columns) of a list of one or two numbers."""
    first, *rest = value if isinstance(value, list | tuple) else (value,)
    return first, rest[0] if rest else first
