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

__all__ = ["argmax", "axes_of", "flattened", "only_place", "reduce", "softmax"]

aten = torch.ops.aten

_REDUCE: dict[Any, ir.ReduceOp] = {
    aten.mean.default: "mean",
    aten.mean.dim: "mean",
    aten.nanmean.default: "mean",
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


def axes_of(call: Call, name: str = "dim") -> list[int]:
    """The axes that ``call`` reduces; all where it names none."""
    rank = len(call.x.shape)
    names = call.names
    given = call.get(name) if name in names else None
    if given is None or given == []:
        return list(range(rank))
    listed = given if isinstance(given, list) else [given]
    return sorted(axis % rank for axis in listed) if rank else []


@lowers(*_REDUCE)
def _reduce(call: Call) -> View:
    return reduce(call.builder, _REDUCE[call.target], call.x, axes_of(call), call.shape)


@lowers(aten.linalg_vector_norm.default, aten.norm.ScalarOpt_dim, aten.norm.Scalar)
def _vector_norm(call: Call) -> View:
    """(sum |x|^p)^(1 / p); the extremes for an infinite p, how many are not 0 for 0."""
    builder, x, axes, shape = call.builder, call.x, axes_of(call), call.shape
    order = call.get("ord" if "ord" in call.names else "p")
    order = 2.0 if order is None else float(order)
    if order in (1.0, 2.0):
        return reduce(builder, "l1" if order == 1 else "l2", x, axes, shape)
    size = unary(builder, "abs", x)
    if math.isinf(order):
        return reduce(builder, "max" if order > 0 else "min", size, axes, shape)
    if order == 0:
        return reduce(builder, "sum", unary(builder, "step", size), axes, shape)
    powers = binary(builder, "pow", size, order, size.shape)
    return binary(builder, "pow", reduce(builder, "sum", powers, axes, shape), 1 / order, shape)


@lowers(aten.var_mean.correction)
def _variance_and_mean(call: Call) -> tuple[View, ...]:
    mean = reduce(call.builder, "mean", call.x, axes_of(call), call.shape)
    return _variance(call), mean


@lowers(aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim)
def _spread(call: Call) -> View:
    variance = _variance(call)
    roots = (aten.std.correction, aten.std.dim)
    return unary(call.builder, "sqrt", variance) if call.target in roots else variance


def _variance(call: Call) -> View:
    """Sum of squares around the mean / (n - correction)."""
    builder, x, axes = call.builder, call.x, axes_of(call)
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
    return binary(builder, "div", total, float(count), call.shape)


@lowers(aten.argmax.default)
def _argmax(call: Call) -> View:
    return argmax(call, call.x)


def flattened(builder: Builder, x: View) -> View:
    """All elements of ``x`` along one axis."""
    flat = builder.contiguous(x).reshape([x.size])
    assert flat is not None  # it is contiguous
    return flat


def only_place(builder: Builder, x: View) -> View:
    """The place of the single element of ``x``, which has no axes: 0."""
    return binary(builder, "mul", x, 0.0, x.shape)


def argmax(call: Call, x: View) -> View:
    """The first place of the largest element of ``x`` along the axis that ``call`` names."""
    axis, builder = call.get("dim"), call.builder
    if not x.shape:
        return only_place(builder, x)
    if axis is None:
        x, axis = flattened(builder, x), 0
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
    computed = any(isinstance(call.get(name), View) for name in ("weight", "bias"))
    weight, bias = (None, None) if computed else _affine(call, math.prod(shape))
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
    result = held.view(value)
    return _scaled(call, result, (1,) * (rank - len(shape))) if computed else result


def _with_units(view: View, shape: ir.Shape) -> View:
    """``view`` with axes of size 1 more."""
    there = view.reshape(shape)
    assert there is not None  # only unit axes are new
    return there


def _scaled(call: Call, x: View, lead: ir.Shape, tail: ir.Shape = ()) -> View:
    """``x`` weight + bias, of which one depends on the image; axes of size 1 around them."""
    for name, op in (("weight", "mul"), ("bias", "add")):
        given = call.get(name)
        if given is not None:
            view = call.view(given)
            there = _with_units(view, (*lead, *view.shape, *tail))
            x = binary(call.builder, op, x, there, x.shape)  # type: ignore[arg-type]
    return x


@lowers(aten.group_norm.default, aten.instance_norm.default)
def _group_norm(call: Call) -> View:
    """A batch becomes more groups."""
    x, builder = call.x, call.builder
    batch, channels = x.shape[:2]
    instance = call.target is aten.instance_norm.default
    if instance and not call.get("use_input_stats"):
        raise call.refuse("it uses running statistics")
    groups = channels if instance else call.get("num_groups")
    computed = any(isinstance(call.get(name), View) for name in ("weight", "bias"))
    weight, bias = (
        None if array is None else np.tile(array, batch)
        for array in ((None, None) if computed else _affine(call, channels))
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
    result = held.view(value)
    return _scaled(call, result, (1,), (1,) * (len(x.shape) - 2)) if computed else result


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
    """x scale + shift with the running statistics; with those of the batch if there are none."""
    mean, variance = call.get("running_mean"), call.get("running_var")
    tensors = [mean, variance, call.get("weight"), call.get("bias")]
    if mean is None or call.get("training") or any(isinstance(t, View) for t in tensors):
        return _normalised(call, mean, variance)
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


def _normalised(call: Call, mean: Any, variance: Any) -> View:
    """(x - mean) / sqrt(variance + eps) weight + bias, of which any may depend on the image."""
    builder, x = call.builder, call.x
    kept = (1, x.shape[1], *[1] * (len(x.shape) - 2))
    if mean is None or call.get("training"):
        axes = [axis for axis in range(len(x.shape)) if axis != 1]
        mean = reduce(builder, "mean", x, axes, kept)
        centred = binary(builder, "sub", x, mean, x.shape)
        total = reduce(builder, "sum_square", centred, axes, kept)
        spread = binary(builder, "div", total, float(x.size // x.shape[1]), kept)
    else:
        mean, spread = (_with_units(call.view(t), kept) for t in (mean, variance))
        centred = binary(builder, "sub", x, mean, x.shape)
    root = unary(builder, "sqrt", binary(builder, "add", spread, float(call.get("eps")), kept))
    result = binary(builder, "div", centred, root, x.shape)
    return _scaled(call, result, (1,), (1,) * (len(x.shape) - 2))


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
