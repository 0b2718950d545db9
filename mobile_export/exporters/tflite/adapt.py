"""What litert-torch 0.10 refuses, or writes slowly, in other operations first.

Transposed convolution with padding and a stride ("failed to legalize mhlo.convolution"): padding
crops the result, so it becomes the same without padding, cropped. (What it gets wrong is a pass:
`passes.index_nearest`.)

Layer norm, which TFLite lacks: litert-torch writes eleven ops, four reshapes among them. With

    d = x - mean(x),   y = d · rsqrt(mean(d · d) + eps)

there are seven, none of which moves anything.

Products of stacks of matrices: litert-torch joins the axes of the stack, and undoes it behind each
product, though TFLite's BATCH_MATMUL takes several. `_product` is an op that is lowered to that.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.fx import GraphModule, Node

from ...graph.ops import argument

__all__ = ["avoid_gaps"]

_ATEN = torch.ops.aten


def avoid_gaps(module: torch.nn.Module) -> GraphModule:
    """Rewrite the graph of a program's module, in place, and return it."""
    assert isinstance(module, GraphModule)
    for node in list(module.graph.nodes):
        if node.target is _ATEN.conv_transpose2d.input:
            _crop_instead_of_padding(module, node)
        if node.target is _ATEN.layer_norm.default:
            _norm_in_parts(module, node)
        if node.target is _ATEN.matmul.default:
            _multiply_stacks(module, node)
    module.recompile()
    return module


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _call(module: GraphModule, target: Any, *args: Any) -> Node:
    """A new node at the point of insertion, with the tensor that it computes in ``meta["val"]``."""
    node = module.graph.call_function(target, args)
    values: Any = torch.fx.node.map_arg(args, lambda argument: argument.meta["val"])
    fake: Any = next(value for value in values if isinstance(value, torch.Tensor))
    with fake.fake_mode, torch.no_grad():
        node.meta["val"] = target(*values)
    return node


def _replace(module: GraphModule, node: Node, result: Node) -> None:
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _crop_instead_of_padding(module: GraphModule, node: Node) -> None:
    """conv_transpose2d(padding=p, output_padding <= p) -> the same without, rows p to p + H."""
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    x, weight, bias = (argument(node, name) for name in ("input", "weight", "bias"))
    stride, padding, extra, groups, dilation = (argument(node, name) for name in names)
    pads, extras = _pair(padding), _pair(extra)
    if pads == (0, 0) or any(e > p for e, p in zip(extras, pads, strict=True)):
        return
    numbers = (stride, [0, 0], [0, 0], groups, dilation)
    with module.graph.inserting_before(node):
        result = _call(module, _ATEN.conv_transpose2d.input, x, weight, bias, *numbers)
        for axis, pad in zip((2, 3), pads, strict=True):
            end = pad + _shape(node)[axis]
            result = _call(module, _ATEN.slice.Tensor, result, axis, pad, end)
    _replace(module, node, result)


def _norm_in_parts(module: GraphModule, node: Node) -> None:
    """layer_norm(x) -> means, differences and a reciprocal root; then its weight and bias."""
    names = ("input", "normalized_shape", "weight", "bias", "eps")
    x, shape, weight, bias, eps = (argument(node, name) for name in names)
    axes = list(range(-len(shape), 0))
    call = functools.partial(_call, module)
    with module.graph.inserting_before(node):
        centred = call(_ATEN.sub.Tensor, x, call(_ATEN.mean.dim, x, axes, True))
        variance = call(_ATEN.mean.dim, call(_ATEN.mul.Tensor, centred, centred), axes, True)
        scale = call(_ATEN.rsqrt.default, call(_ATEN.add.Tensor, variance, eps))
        result = call(_ATEN.mul.Tensor, centred, scale)
        if weight is not None:
            result = call(_ATEN.mul.Tensor, result, weight)
        if bias is not None:
            result = call(_ATEN.add.Tensor, result, bias)
    _replace(module, node, result)


def _multiply_stacks(module: GraphModule, node: Node) -> None:
    """matmul of two stacks of one shape with two axes -> `_product`."""
    first, second = (_shape(operand) for operand in node.args)
    if len(first) == len(second) == 4 and first[:2] == second[:2]:
        with module.graph.inserting_before(node):
            result = _call(module, _product(), *node.args)
        _replace(module, node, result)


@functools.cache
def _product() -> Any:
    """The product of stacks of matrices, (A, B, M, K) (A, B, K, N) -> (A, B, M, N), as one op."""
    from litert_converter.mlir import ir
    from litert_converter.mlir.dialects import stablehlo
    from litert_torch.backend import lowerings

    @torch.library.custom_op("mobile_export::product", mutates_args=())
    def product(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.matmul(first, second)

    product.register_fake(torch.matmul)

    @lowerings.lower(torch.ops.mobile_export.product)  # type: ignore[untyped-decorator]
    def lower(context: Any, first: Any, second: Any) -> Any:
        axes = stablehlo.DotDimensionNumbers.get(
            lhs_batching_dimensions=[0, 1],
            rhs_batching_dimensions=[0, 1],
            lhs_contracting_dimensions=[3],
            rhs_contracting_dimensions=[2],
        )
        shape = (*list(first.type.shape)[:3], second.type.shape[3])
        result = ir.RankedTensorType.get(shape, first.type.element_type)
        return stablehlo.dot_general(result, first, second, axes)

    return torch.ops.mobile_export.product.default


def _pair(value: Any) -> tuple[int, int]:
    """(rows, columns) of a list of one or two numbers."""
    first, *rest = value if isinstance(value, list | tuple) else (value,)
    return first, rest[0] if rest else first
