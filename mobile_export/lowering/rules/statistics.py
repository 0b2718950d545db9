"""Lowerings of reductions, softmax and norms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..operands import isolate
from ..table import Call, lowers
from ..view import View
from .elementwise import binary, unary

__all__ = ["reduce", "softmax"]

aten = torch.ops.aten

_REDUCE: dict[Any, ir.ReduceOp] = {
    aten.mean.default: "mean",
    aten.mean.dim: "mean",
    aten.sum.default: "sum",
    aten.sum.dim_IntList: "sum",
    aten.amax.default: "max",
    aten.amin.default: "min",
    aten.max.default: "max",
    aten.min.default: "min",
    aten.prod.default: "prod",
    aten.prod.dim_int: "prod",
}


def reduce(builder: Builder, op: ir.ReduceOp, view: View, axes: list[int], shape: ir.Shape) -> View:
    """``op`` over ``axes``; ``shape`` says whether they stay as 1."""
    if all(view.shape[axis] == 1 for axis in axes) and op in ("sum", "mean", "max", "min", "prod"):
        same = view.reshape(shape)
        assert same is not None  # only unit axes go
        return same
    held = isolate(builder, view, axes, single=False)
    keep = len(held.axes) == len(held.groups)  # a value has at least one axis
    sizes = [1 if i in held.axes else n for i, n in enumerate(held.value.shape)]
    if not keep:
        sizes = [n for i, n in enumerate(held.value.shape) if i not in held.axes]
    value = builder.add(ir.Reduce, [held.value], sizes, op=op, axes=held.axes, keepdims=keep)
    kept = held.resized(value, axes, [1] * len(axes)).reshape(shape)
    assert kept is not None  # only unit axes go
    return kept


def softmax(builder: Builder, view: View, axis: int) -> View:
    """Softmax along ``axis``."""
    held = isolate(builder, view, [axis])
    return held.view(builder.add(ir.Softmax, [held.value], held.value.shape, axis=held.axis))


def _axes(call: Call, name: str = "dim") -> list[int]:
    rank = len(call.x.shape)
    names = call.names
    given = call.get(name) if name in names else None
    if given is None or given == []:
        return list(range(rank))
    listed = given if isinstance(given, list) else [given]
    return sorted(axis % max(rank, 1) for axis in listed)


@lowers(*_REDUCE)
def _reduce(call: Call) -> View:
    return reduce(call.builder, _REDUCE[call.target], call.x, _axes(call), call.shape)


@lowers(aten.max.dim, aten.min.dim)
def _extreme(call: Call) -> tuple[View, ...]:
    if call.items - {0}:
        raise call.refuse("the positions of the extremes are used", "Use argmax beside amax.")
    op: ir.ReduceOp = "max" if call.target is aten.max.dim else "min"
    return (reduce(call.builder, op, call.x, _axes(call), call.shape),)


@lowers(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim)
def _vector_norm(call: Call) -> View:
    dotted = call.target is aten.norm.ScalarOpt_dim
    order = call.get("p" if dotted else "ord")
    if order is not None and order not in (1, 2):
        raise call.refuse(f"it is of order {order}; orders 1 and 2 can be")
    op: ir.ReduceOp = "l1" if order == 1 else "l2"
    return reduce(call.builder, op, call.x, _axes(call), call.shape)


@lowers(aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim)
def _variance(call: Call) -> View:
    """Sum of squares around the mean / (n - correction)."""
    builder, x, axes = call.builder, call.x, _axes(call)
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    if "correction" in call.names:
        given = call.get("correction")
        correction = 1 if given is None else given
    else:
        correction = int(call.get("unbiased"))
    mean = reduce(builder, "mean", x, axes, kept)
    centred = binary(builder, "sub", x, mean, x.shape)
    total = reduce(builder, "sum_square", centred, axes, call.shape)
    count = math.prod(x.shape[axis] for axis in axes) - correction
    variance = binary(builder, "div", total, float(count), call.shape)
    roots = (aten.std.correction, aten.std.dim)
    return unary(builder, "sqrt", variance) if call.target in roots else variance


@lowers(aten.argmax.default)
def _argmax(call: Call) -> View:
    axis, builder = call.get("dim"), call.builder
    x = call.x
    if axis is None:
        flat = builder.contiguous(x).reshape([x.size])
        assert flat is not None  # it is contiguous
        x, axis = flat, 0
    axis %= len(x.shape)
    held = isolate(builder, x, [axis])
    keep = len(held.groups) == 1
    sizes = held.sized(1) if keep else tuple(np.delete(held.value.shape, held.axis).tolist())
    value = builder.add(ir.ArgMax, [held.value], sizes, axis=held.axis, keepdims=keep)
    result = held.resized(value, [axis], [1]).reshape(call.shape)
    assert result is not None  # only unit axes go
    return result


@lowers(aten.softmax.int, aten._softmax.default)
def _softmax(call: Call) -> View:
    return softmax(call.builder, call.x, call.get("dim") % len(call.x.shape))


@lowers(aten.log_softmax.int, aten._log_softmax.default)
def _log_softmax(call: Call) -> View:
    """x - max - log(sum(exp(x - max)))."""
    builder, x, axis = call.builder, call.x, call.get("dim") % len(call.x.shape)
    kept = tuple(1 if i == axis else size for i, size in enumerate(x.shape))
    top = reduce(builder, "max", x, [axis], kept)
    centred = binary(builder, "sub", x, top, x.shape)
    total = reduce(builder, "sum", unary(builder, "exp", centred), [axis], kept)
    return binary(builder, "sub", centred, unary(builder, "log", total), x.shape)


# Norms --------------------------------------------------------------------------------------------


@lowers(aten.layer_norm.default)
def _layer_norm(call: Call) -> View:
    shape = call.get("normalized_shape")
    weight, bias = _affine(call, math.prod(shape))
    rank = len(call.x.shape)
    axes = list(range(rank - len(shape), rank))
    held = isolate(call.builder, call.x, axes, "last")
    value = call.builder.add(
        ir.LayerNorm,
        [held.value],
        held.value.shape,
        eps=call.get("eps"),
        weight=weight,
        bias=bias,
    )
    return held.view(value)


@lowers(aten.group_norm.default, aten.instance_norm.default)
def _group_norm(call: Call) -> View:
    """A batch becomes more groups."""
    x, builder = call.x, call.builder
    batch, channels = x.shape[:2]
    instance = call.target is aten.instance_norm.default
    if instance and not call.get("use_input_stats"):
        raise call.refuse("it uses running statistics")
    groups = channels if instance else call.get("num_groups")
    weight, bias = (
        None if array is None else np.tile(array, batch) for array in _affine(call, channels)
    )
    held = isolate(builder, x, [0, 1], "first")
    value = builder.add(
        ir.GroupNorm,
        [held.value],
        held.value.shape,
        groups=batch * groups,
        eps=call.get("eps"),
        weight=weight,
        bias=bias,
    )
    return held.view(value)


def _affine(call: Call, size: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Weight and bias, flat: both or none."""
    why = "a norm takes stored weights"
    weight, bias = call.array("weight", why), call.array("bias", why)
    if weight is None and bias is None:
        return None, None
    weight = np.ones(size) if weight is None else weight.reshape(-1)
    return weight, np.zeros(size) if bias is None else bias.reshape(-1)


@lowers(aten.batch_norm.default)
def _batch_norm(call: Call) -> View:
    """x scale + shift with the running statistics."""
    why = "batch norm has stored statistics in eval mode"
    mean, variance = call.array("running_mean", why), call.array("running_var", why)
    if mean is None or variance is None or call.get("training"):
        raise call.refuse("it normalises by the statistics of the batch", "Call model.eval().")
    x, builder = call.x, call.builder
    weight, bias = _affine(call, mean.size)
    root = np.sqrt(variance.astype(np.float64) + call.get("eps"))
    scale = (1.0 if weight is None else weight) / root
    shift = (0.0 if bias is None else bias) - mean * scale
    dims = x.groups()
    if dims is not None and dims[0] == x.of_axes([1]) and dims[0]:
        value = builder.add(ir.Scale, [x.value], x.value.shape, scale=scale, bias=shift)
        return x.on(value)
    sizes = [1, -1, *[1] * (len(x.shape) - 2)]
    scaled = binary(builder, "mul", x, scale.reshape(sizes), x.shape)
    return binary(builder, "add", scaled, shift.reshape(sizes), x.shape)


@lowers(aten.rms_norm.default)
def _rms_norm(call: Call) -> View:
    """x / sqrt(mean(x²) + eps) · weight."""
    x, builder = call.x, call.builder
    shape = call.get("normalized_shape")
    axes = list(range(len(x.shape) - len(shape), len(x.shape)))
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(x.shape))
    eps = call.get("eps")
    eps = torch.finfo(torch.float32).eps if eps is None else eps
    mean = reduce(builder, "mean", unary(builder, "square", x), axes, kept)
    factor = unary(builder, "rsqrt", binary(builder, "add", mean, eps, kept))
    result = binary(builder, "mul", x, factor, x.shape)
    weight = call.get("weight")
    return result if weight is None else binary(builder, "mul", result, weight, x.shape)
