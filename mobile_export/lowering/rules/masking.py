"""Lowerings of what overwrites, masks, fills or accumulates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..table import Call, Operand, lowers
from ..view import View
from .comparing import negated
from .elementwise import binary, unary
from .linear import linear
from .moving import concat, expand, narrow, reshape

__all__: list[str] = []

aten = torch.ops.aten

_LOWEST = -3e4
"""Stands for -inf, which mobile softmaxes and float16 do not survive, and negated for +inf."""


@lowers(
    aten.zeros_like.default,
    aten.ones_like.default,
    aten.full_like.default,
    aten.new_zeros.default,
    aten.new_ones.default,
    aten.new_full.default,
)
def _filled(call: Call) -> np.ndarray:
    """They take no more than the shape of their argument."""
    if "fill_value" in call.names:
        return np.full(call.shape, float(call.get("fill_value")))
    ones = call.target in (aten.ones_like.default, aten.new_ones.default)
    return np.full(call.shape, float(ones))


@lowers(aten.copy.default)
def _copy(call: Call) -> View:
    source = call.view(call.get("src"))
    return expand(call.builder, source, call.shape)


@lowers(aten.select_scatter.default)
def _scatter(call: Call) -> View:
    """What lies before, the new part, what lies after."""
    builder, x, part = call.builder, call.x, call.view(call.get("src"))
    axis = call.get("dim") % len(x.shape)
    size = x.shape[axis]
    start = call.get("index") % size
    part = reshape(builder, part, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    pieces: list[Operand] = [part]
    if start > 0:
        pieces.insert(0, narrow(builder, x, axis, 0, start))
    if start + 1 < size:
        pieces.append(narrow(builder, x, axis, start + 1, size - start - 1))
    return part if len(pieces) == 1 else concat(builder, pieces, axis, x.shape)


@lowers(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def _where(call: Call) -> View:
    return _chosen(call, call.get("condition"), call.get("self"), call.get("other"))


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(call: Call) -> View:
    mask = call.get("mask")
    kept = negated(call.builder, mask) if isinstance(mask, View) else ~mask.astype(np.bool_)
    return _chosen(call, kept, call.first(), call.get("value"))


def _chosen(call: Call, mask: Operand, yes: Any, no: Any) -> View:
    """``yes`` mask + ``no`` (1 - mask), with infinities bounded; a stored NaN is √-mask there."""
    if isinstance(mask, View):
        weights: tuple[Operand, Operand] = mask, negated(call.builder, mask)
    else:
        held = mask.astype(np.float64)
        weights = held, np.asarray(1.0 - held)
    total: Any = None
    for value, weight in zip((yes, no), weights, strict=True):
        total = _sum(call, total, _weighted(call, value, weight))
    return call.view(total)


def _weighted(call: Call, value: Any, weight: Operand) -> Operand:
    if not isinstance(value, View):
        value = np.clip(value, _LOWEST, -_LOWEST) if np.isinf(value).any() else np.asarray(value)
        if isinstance(weight, np.ndarray):
            product: np.ndarray = np.where(weight == 0, 0.0, value * weight)  # though it is NaN
            return product
        undefined = np.isnan(value)
        if undefined.any():
            rest = np.where(undefined, 0.0, value)
            here = binary(call.builder, "mul", weight, -undefined.astype(np.float64), call.shape)
            root = unary(call.builder, "sqrt", here)
            if not rest.any():
                return root
            return binary(call.builder, "add", root, _weighted(call, rest, weight), call.shape)
    elif isinstance(weight, np.ndarray) and not weight.any():
        return np.zeros(call.shape)
    return binary(call.builder, "mul", value, weight, call.shape)


def _sum(call: Call, a: Operand | None, b: Operand) -> Operand:
    if a is None:
        return b
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        total: np.ndarray = a + b
        return total
    return binary(call.builder, "add", a, b, call.shape)


@lowers(aten.cumsum.default)
def _cumsum(call: Call) -> View:
    """A product with a triangle of ones."""
    x = call.x
    axis = call.get("dim") % len(x.shape)
    return linear(call.builder, x, axis, np.tri(x.shape[axis]), None)
