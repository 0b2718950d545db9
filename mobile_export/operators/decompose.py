"""The table of decompositions, and the one run over a captured program."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.changes import PassResult
from ..graph.editor import GraphEditor, shape_of, where
from ..graph.ops import CONVS, is_call, operator_name
from ..graph.raised import FAILED_RULE
from ..system.torch_private import OpOverload, decomposition_of
from . import (
    choosing,
    complex_numbers,
    convolution,
    elements,
    indexing,
    integers,
    linear_systems,
    norms,
    ordering,
    padding,
    pointwise,
    pooling,
    products,
    recurrent,
    resizing,
    sampling,
    sums,
)
from .core import SPELLINGS, is_core
from .inline import inlined

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = ["OPERATORS", "decompose", "needs_decomposing", "rule_of"]

aten = torch.ops.aten
Rule = Callable[[GraphEditor, Node], Any]

_GRAPH: dict[Any, Rule] = {
    aten.max_pool1d_with_indices.default: pooling.max_pool_with_indices,
    aten.max_pool2d_with_indices.default: pooling.max_pool_with_indices,
    aten.max_pool3d_with_indices.default: pooling.max_pool_with_indices,
    aten.max_unpool2d.default: pooling.max_unpool,
    aten.adaptive_max_pool1d.default: pooling.adaptive_max_pool,
    aten.adaptive_max_pool2d.default: pooling.adaptive_max_pool,
    aten.adaptive_max_pool3d.default: pooling.adaptive_max_pool,
    aten.amax.default: pointwise.extreme,
    aten.amin.default: pointwise.extreme,
    aten.avg_pool1d.default: pooling.without_dropped,
    aten.avg_pool2d.default: pooling.avg_pool,
    aten.avg_pool3d.default: pooling.without_dropped,
    aten.max_pool1d.default: pooling.without_dropped,
    aten.max_pool2d.default: pooling.without_dropped,
    aten.max_pool3d.default: pooling.without_dropped,
    aten.instance_norm.default: norms.instance_norm,
    aten.batch_norm.default: norms.batch_norm,
    aten.constant_pad_nd.default: padding.constant_pad,
    aten._convolution.default: convolution.written_out_convolution,
    aten._convolution.deprecated: convolution.written_out_convolution,
    aten.convolution.default: convolution.written_out_convolution,
    aten.conv1d.default: convolution.convolution,
    aten.conv2d.default: convolution.convolution,
    aten.conv3d.default: convolution.convolution,
    aten.conv1d.padding: convolution.same_convolution,
    aten.conv2d.padding: convolution.same_convolution,
    aten.conv_transpose1d.default: convolution.padded_transposed_convolution,
    aten.conv_transpose2d.input: convolution.padded_transposed_convolution,
    aten.conv_transpose3d.input: convolution.padded_transposed_convolution,
    aten.layer_norm.default: norms.layer_norm,
    aten.log_softmax.int: pointwise.log_softmax,
    aten.pad.default: padding.pad,
    aten.prelu.default: pointwise.prelu,
    aten.scaled_dot_product_attention.default: products.attention,
    aten.softmax.int: pointwise.softmax,
    aten.softplus.default: pointwise.softplus,
    aten._to_copy.default: pointwise.in_float32,
    aten.to.device: pointwise.in_float32,
    aten.to.dtype: pointwise.in_float32,
    aten.masked_fill.Scalar: choosing.choose,
    aten.masked_fill.Tensor: choosing.choose,
    aten.where.ScalarOther: choosing.choose,
    aten.where.ScalarSelf: choosing.choose,
    aten.where.self: choosing.choose,
    aten.logsumexp.default: pointwise.logsumexp,
    aten.pow.Tensor_Scalar: pointwise.power,
    aten.cdist.default: products.distances,
    aten.einsum.default: products.einsum,
    aten.matmul.default: products.inner,
    aten._upsample_bicubic2d_aa.default: resizing.resized,
    aten._upsample_bicubic2d_aa.vec: resizing.resized,
    aten._upsample_bilinear2d_aa.default: resizing.resized,
    aten._upsample_bilinear2d_aa.vec: resizing.resized,
    aten.upsample_linear1d.default: resizing.resized,
    aten.upsample_linear1d.vec: resizing.resized,
    aten.upsample_nearest1d.default: resizing.resized,
    aten.upsample_nearest1d.vec: resizing.resized,
    aten.upsample_nearest3d.default: resizing.resized,
    aten.upsample_nearest3d.vec: resizing.resized,
    aten.upsample_trilinear3d.default: resizing.resized,
    aten.upsample_trilinear3d.vec: resizing.resized,
    aten._upsample_nearest_exact1d.default: resizing.resized,
    aten._upsample_nearest_exact1d.vec: resizing.resized,
    aten._upsample_nearest_exact2d.default: resizing.resized,
    aten._upsample_nearest_exact2d.vec: resizing.resized,
    aten._upsample_nearest_exact3d.default: resizing.resized,
    aten._upsample_nearest_exact3d.vec: resizing.resized,
    aten.upsample_bilinear2d.default: resizing.fractional,
    aten.upsample_bilinear2d.vec: resizing.fractional,
    aten.upsample_nearest2d.default: resizing.fractional,
    aten.upsample_nearest2d.vec: resizing.fractional,
    aten.upsample_bicubic2d.default: resizing.fractional,
    aten.upsample_bicubic2d.vec: resizing.fractional,
}

_PLAIN: dict[Any, Callable[..., Any]] = {
    aten.acosh.default: elements.acosh,
    aten.addcmul.default: elements.addcmul,
    aten.adaptive_avg_pool1d.default: sums.adaptive_avg_pool,
    aten.adaptive_avg_pool3d.default: sums.adaptive_avg_pool,
    aten._adaptive_avg_pool3d.default: sums.adaptive_avg_pool,
    aten.aminmax.default: sums.aminmax,
    aten.angle.default: elements.angle,
    aten.argsort.default: ordering.argsort,
    aten.argsort.stable: ordering.argsort,
    aten.asinh.default: elements.asinh,
    aten.baddbmm.default: sums.baddbmm,
    aten.bilinear.default: sums.bilinear,
    aten.__lshift__.Scalar: integers.shifted_left,
    aten.__rshift__.Scalar: integers.shifted_right,
    aten.bitwise_and.Scalar: integers.bitwise_and,
    aten.bitwise_and.Tensor: integers.bitwise_and,
    aten.bitwise_left_shift.Tensor_Scalar: integers.shifted_left,
    aten.bitwise_not.default: integers.bitwise_not,
    aten.bitwise_or.Scalar: integers.bitwise_or,
    aten.bitwise_or.Tensor: integers.bitwise_or,
    aten.bitwise_right_shift.Tensor_Scalar: integers.shifted_right,
    aten.bitwise_xor.Scalar: integers.bitwise_xor,
    aten.bitwise_xor.Tensor: integers.bitwise_xor,
    aten.celu.default: elements.celu,
    aten.clamp.Tensor: elements.clamp,
    aten.conj_physical.default: elements.positive,
    aten.copy.default: elements.copy,
    aten.copysign.Scalar: elements.copysign,
    aten.copysign.Tensor: elements.copysign,
    aten.count_nonzero.default: sums.count_nonzero,
    aten.count_nonzero.dim_IntList: sums.count_nonzero,
    aten.cummax.default: ordering.cummax,
    aten.cummin.default: ordering.cummin,
    aten.cumprod.default: ordering.cumprod,
    aten.diag.default: indexing.diag,
    aten.diag_embed.default: indexing.diag_embed,
    aten.diagflat.default: indexing.diagflat,
    aten.diagonal.default: indexing.diagonal,
    aten.diagonal_copy.default: indexing.diagonal,
    aten.diagonal_scatter.default: indexing.diagonal_scatter,
    aten.dist.default: sums.dist,
    aten.div.Scalar_mode: elements.divide,
    aten.div.Tensor_mode: elements.divide,
    aten.erfc.default: elements.erfc,
    aten.exp2.default: elements.exp2,
    aten.float_power.Tensor_Scalar: elements.float_power,
    aten.float_power.Tensor_Tensor: elements.float_power,
    aten.floor_divide.Scalar: elements.floor_divide,
    aten.floor_divide.default: elements.floor_divide,
    aten.fmax.default: torch.maximum,
    aten.fmin.default: torch.minimum,
    aten.fmod.Scalar: elements.fmod,
    aten.fmod.Tensor: elements.fmod,
    aten.frac.default: elements.frac,
    aten.frexp.Tensor: elements.frexp,
    aten.hardshrink.default: elements.hardshrink,
    aten.heaviside.default: elements.heaviside,
    aten.hypot.default: elements.hypot,
    aten.index_add.default: indexing.index_add,
    aten.index_copy.default: indexing.index_copy,
    aten.index_fill.int_Scalar: indexing.index_fill,
    aten.index_fill.int_Tensor: indexing.index_fill,
    aten.isclose.default: elements.isclose,
    aten.isnan.default: elements.isnan,
    aten.kthvalue.default: ordering.kthvalue,
    aten.ldexp.Tensor: elements.ldexp,
    aten.lerp.Scalar: elements.lerp,
    aten.lerp.Tensor: elements.lerp,
    aten.linalg_diagonal.default: indexing.diagonal,
    aten.linalg_matrix_power.default: sums.matrix_power,
    aten.log10.default: elements.log10,
    aten.log2.default: elements.log2,
    aten.log_sigmoid.default: elements.log_sigmoid,
    aten.logaddexp.default: elements.logaddexp,
    aten.logaddexp2.default: elements.logaddexp2,
    aten.logcumsumexp.default: ordering.logcumsumexp,
    aten.logical_or.default: elements.logical_or,
    aten.logical_xor.default: elements.logical_xor,
    aten.logit.default: elements.logit,
    aten.lstm.input: recurrent.lstm,
    aten.masked_scatter.default: indexing.masked_scatter,
    aten.max_unpool3d.default: indexing.unpool,
    aten.median.default: ordering.median_of_all,
    aten.median.dim: ordering.median,
    aten.mode.default: ordering.mode,
    aten.msort.default: ordering.msort,
    aten.nanmean.default: sums.nanmean,
    aten.nanmedian.default: ordering.median_of_all,
    aten.nanmedian.dim: ordering.median,
    aten.nanquantile.default: ordering.quantile,
    aten.nanquantile.scalar: ordering.quantile,
    aten.nonzero_static.default: indexing.nonzero_static,
    aten.nansum.default: sums.nansum,
    aten.positive.default: elements.positive,
    aten.prod.default: sums.prod,
    aten.prod.dim_int: sums.prod_along,
    aten.quantile.default: ordering.quantile,
    aten.quantile.scalar: ordering.quantile,
    aten.real.default: elements.positive,
    aten.remainder.Scalar: elements.remainder,
    aten.remainder.Scalar_Tensor: elements.remainder,
    aten.remainder.Tensor: elements.remainder,
    aten.resolve_conj.default: elements.positive,
    aten.resolve_neg.default: elements.positive,
    aten.rot90.default: indexing.rot90,
    aten.searchsorted.Tensor: ordering.searchsorted,
    aten.sgn.default: torch.sign,
    aten.signbit.default: elements.signbit,
    aten.sinc.default: elements.sinc,
    aten.softshrink.default: elements.softshrink,
    aten.sum_to_size.default: sums.sum_to_size,
    aten.take.default: indexing.take,
    aten.take_along_dim.default: indexing.take_along_dim,
    aten.trunc.default: elements.trunc,
    aten.unfold.default: indexing.unfold,
    aten.unfold_copy.default: indexing.unfold,
    aten.vdot.default: sums.vdot,
    aten.special_xlog1py.default: elements.xlog1py,
    aten.special_xlog1py.other_scalar: elements.xlog1py,
    aten.special_xlog1py.self_scalar: elements.xlog1py,
    aten.xlogy.Scalar_Other: elements.xlogy,
    aten.xlogy.Scalar_Self: elements.xlogy,
    aten.xlogy.Tensor: elements.xlogy,
    aten._native_batch_norm_legit.default: sums.batch_statistics,
    aten._native_batch_norm_legit_functional.default: sums.batch_statistics,
    aten._pdist_forward.default: sums.pdist,
    aten.addbmm.default: sums.addbmm,
    aten.bucketize.Tensor: ordering.bucketize,
    aten.grid_sampler.default: sampling.grid_sample,
    aten.grid_sampler_3d.default: sampling.grid_sample,
    aten._embedding_bag_forward_only.default: indexing.embedding_bag,
    aten._unsafe_index_put.default: indexing.index_put,
    aten.index_put.default: indexing.index_put,
    aten.index_reduce.default: indexing.index_reduce,
    aten.nan_to_num.default: elements.nan_to_num,
    aten.native_batch_norm.default: sums.batch_statistics,
    aten.native_group_norm.default: sums.native_group_norm,
    aten.native_layer_norm.default: sums.native_layer_norm,
    aten.outer.default: sums.outer,
    aten.put.default: indexing.put,
    aten.round.decimals: elements.round_to,
    aten.scatter.src: indexing.scatter,
    aten.scatter.value: indexing.scatter,
    aten.scatter_add.default: indexing.scatter_add,
    aten.scatter_reduce.two: indexing.scatter_reduce,
    aten.slice_scatter.default: indexing.slice_scatter,
    aten.sort.default: ordering.sort,
    aten.std.correction: sums.standard_deviation,
    aten.std.default: sums.standard_deviation,
    aten.std.dim: sums.standard_deviation,
    aten.std_mean.correction: sums.deviation,
    aten.std_mean.default: sums.deviation,
    aten.std_mean.dim: sums.deviation,
    aten.topk.default: ordering.topk,
    aten.true_divide.Scalar: torch.div,
    aten.true_divide.Tensor: torch.div,
    aten.var.correction: sums.variance,
    aten.var.default: sums.variance,
    aten.var.dim: sums.variance,
    aten.var_mean.correction: sums.moments,
    aten.var_mean.default: sums.moments,
    aten.var_mean.dim: sums.moments,
    aten.zero.default: elements.zero,
    aten._linalg_det.default: linear_systems.det,
    aten._linalg_slogdet.default: linear_systems.slogdet,
    aten._linalg_solve_ex.default: linear_systems.solve_ex,
    aten.cholesky_inverse.default: linear_systems.cholesky_inverse,
    aten.cholesky_solve.default: linear_systems.cholesky_solve,
    aten.linalg_cholesky_ex.default: linear_systems.cholesky_ex,
    aten.linalg_inv_ex.default: linear_systems.inv_ex,
    aten.linalg_lu.default: linear_systems.lu,
    aten.linalg_lu_factor_ex.default: linear_systems.lu_factor_ex,
    aten.linalg_lu_solve.default: linear_systems.lu_solve,
    aten.linalg_qr.default: linear_systems.qr,
    aten.linalg_solve_triangular.default: linear_systems.solve_triangular,
    aten.lu_unpack.default: linear_systems.lu_unpack,
    aten.triangular_solve.default: linear_systems.triangular_solve,
}

_OTHERS: dict[str, Callable[..., Any]] = {
    "torchvision::deform_conv2d": sampling.deformable_convolution,
    "torchvision::roi_align": sampling.roi_align,
}
"""Of other libraries, by their names: their operators are there where they are imported."""

OPERATORS: dict[Any, Rule] = {
    **_GRAPH,
    **{target: inlined(function) for target, function in _PLAIN.items()},
}
"""Ours, by overload. What is neither here nor core is written as PyTorch itself would."""


def rule_of(target: Any, native: Collection[str] = ()) -> Rule | None:
    """How a call of ``target`` is written in core operators: ours, PyTorch's, or None.

    Args:
        native: operators that are left as they are; names of ATen without their overloads.
    """
    if not isinstance(target, OpOverload) or operator_name(target) in native:
        return None
    if target.namespace != "aten":
        other = _OTHERS.get(target._schema.name)
        return None if other is None else inlined(other)
    name = operator_name(target)
    if target in OPERATORS:
        return OPERATORS[target]
    if is_core(target) or name in SPELLINGS or target._schema.is_mutable:
        return None
    function = decomposition_of(target)
    return None if function is None else inlined(function, whole=False)


def needs_decomposing(program: Program) -> bool:
    """Whether ``program`` calls an operator that has a rule."""
    nodes = [node for node in program.exported.graph.nodes if node.op == "call_function"]
    targets = {node.target for node in nodes}
    found = {target for target in targets if rule_of(_not_in_place(target)) is not None}
    return any(
        integers.computes_narrow(node)
        or complex_numbers.computes_complex(node)
        or (node.target in found and _is_for(node))
        for node in nodes
    )


def _not_in_place(target: Any) -> Any:
    """What `normalize_ops` makes of a call that writes in place; of a copy into a view, at most."""
    if not isinstance(target, OpOverload) or not target._schema.is_mutable:
        return target
    if target is aten.copy_.default:
        return aten.slice_scatter.default
    packet = getattr(aten, operator_name(target).removesuffix("_"), None)
    return getattr(packet, target._overloadname, target)


def _is_for(node: Node) -> bool:
    """Whether the rule of a call's operator, if it has one, is for this call."""
    seldom = _SELDOM.get(node.target)
    if isinstance(node.target, OpOverload) and node.target.namespace != "aten":
        seldom = _SELDOM_OF_OTHERS.get(node.target._schema.name)
    return seldom is None or seldom(node)


_SELDOM_OF_OTHERS = {"torchvision::roi_align": sampling.samples_each_bin_alike}

_SELDOM: dict[Any, Callable[[Node], bool]] = {
    **dict.fromkeys(CONVS, convolution.is_unusual),
    **dict.fromkeys(
        (target for target, rule in _GRAPH.items() if rule is choosing.choose),
        choosing.chooses_undefined,
    ),
    aten.amax.default: pointwise.names_no_axis,
    aten.amin.default: pointwise.names_no_axis,
    **dict.fromkeys(
        (target for target, rule in _GRAPH.items() if rule is pooling.without_dropped),
        pooling.drops_windows,
    ),
    aten.batch_norm.default: norms.trains,
    aten.instance_norm.default: norms.keeps_statistics,
    aten.layer_norm.default: norms.scales_by_results,
    aten.matmul.default: products.has_vector,
    aten.grid_sampler.default: sampling.is_unusual,
    aten.prelu.default: pointwise.has_one_slope,
    aten.scaled_dot_product_attention.default: products.is_unusual,
    aten.softmax.int: pointwise.in_float64,
    aten.softplus.default: pointwise.bends_early,
    **dict.fromkeys(
        (aten._to_copy.default, aten.to.device, aten.to.dtype), pointwise.changes_width
    ),
}
"""Of operators whose calls are mostly left as they are, which ones the rule is for."""


def _projects(node: Node) -> bool:
    """Whether an LSTM multiplies its state by stored matrices (``proj_size``)."""
    gates, size = shape_of(node.args[2][1])  # type: ignore[index, arg-type]
    return gates != 4 * size


_TAKEN_BY_NONE: dict[Any, Callable[[Node], bool]] = {
    **dict.fromkeys(CONVS, convolution.unbatched),
    aten.conv1d.padding: lambda _: True,
    aten.conv2d.padding: lambda _: True,
    aten.conv_transpose1d.default: convolution.is_odd,
    aten.conv_transpose3d.input: convolution.is_odd,
    aten.log_softmax.int: pointwise.in_float64,
    aten.lstm.input: _projects,
    aten.max_unpool2d.default: pooling.fills_windows,
}
"""Of operators that a format takes itself (``native``), which calls it gets wrong or lacks."""


def decompose(program: Program, native: Collection[str] = ()) -> PassResult:
    """Every call that has a rule is written in core operators, or in others that have one.

    So are the calls that rules write, until none has a rule. Nothing may be written in place
    (`normalize_ops` sees to that): a function may return its operand, where PyTorch makes a copy.

    Args:
        native: operators that a format takes, beside the core ones (`rule_of`).
    """
    graph = GraphEditor(program)
    complex_numbers.split(graph)
    integers.widen(graph)
    seen: set[Node] = set()
    for _ in range(_DEPTH):
        before = graph.edits
        _one_round(graph, native, seen)
        if graph.edits == before:
            break
    return graph.result()


_DEPTH = 8
"""Rules that write calls with rules; operators need three."""


def _one_round(graph: GraphEditor, native: Collection[str], seen: set[Node]) -> None:
    """The rules of all calls but ``seen``, which is added to."""
    stored: set[Node] = set()
    for node in graph.nodes:
        if graph.is_constant(node):
            stored.add(node)
        if node.op != "call_function" or node not in graph:
            continue
        if stored.issuperset(node.all_input_nodes):  # `fold_constants` computes it
            stored.add(node)
            continue
        if node in seen or complex_numbers.computes_complex(node):
            continue
        rule = _rule_for(node, native)
        if rule is None:
            continue
        seen.add(node)
        new = _written(graph, node, rule)
        if isinstance(new, Node):
            narrower = _dtype(new) != _dtype(node)
            graph.replace(node, new, f"{node.target} in core operators")
            if narrower:  # float32 where PyTorch has another type
                _refresh_behind(graph, new)
        elif new is not None:
            _replace_items(graph, node, new)


def _rule_for(node: Node, native: Collection[str]) -> Rule | None:
    """How a call is written, or None."""
    if not _is_for(node):
        return None
    odd = _TAKEN_BY_NONE.get(node.target)
    return rule_of(node.target, () if odd is not None and odd(node) else native)


def _written(graph: GraphEditor, node: Node, rule: Rule) -> Any:
    """What ``rule`` makes of a call; None where it fails: the call is left, for who takes it."""
    if FAILED_RULE in node.meta:  # in an earlier run
        return None
    try:
        return rule(graph, node)
    except Exception as error:  # noqa: BLE001  # a call that the rule did not expect; any type
        node.meta[FAILED_RULE] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        graph.changed(node, f"left as it is: its rule failed: {node.meta[FAILED_RULE]}")
        return None


def _dtype(node: Node) -> torch.dtype | None:
    return getattr(node.meta["val"], "dtype", None)


def _refresh_behind(graph: GraphEditor, node: Node) -> None:
    """The types and shapes of what is computed from ``node``."""
    behind = {node}
    for each in graph.nodes:
        if each.op == "call_function" and behind.intersection(each.all_input_nodes):
            if each.target is aten._assert_tensor_metadata.default:
                graph.erase(each)
                continue
            graph.refresh(each)
            behind.add(each)


def _replace_items(graph: GraphEditor, node: Node, items: Any) -> None:
    """The results of a call that returns several tensors, or a list of them among others."""
    graph.changed(node, f"{node.target} in core operators")
    _replace_each(graph, node, items)


def _replace_each(graph: GraphEditor, node: Node, items: Any) -> None:
    for user in list(node.users):
        if not is_call(user, operator.getitem):
            raise AssertionError(f"{where(user)} uses all results of {where(node)} at once")
        if not user.users:
            continue
        item = items[user.args[1]]
        if isinstance(item, list | tuple):
            _replace_each(graph, user, item)
        else:
            graph.replace(user, item)
