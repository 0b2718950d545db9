"""Lowerings of what overwrites, masks, fills or accumulates."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..table import Call, Operand, lowers
from ..view import View
from .elementwise import binary
from .linear import linear
from .moving import concat, expand, narrow, reshape

__all__: list[str] = []

aten = torch.ops.aten

_LOWEST = -3e4
"""Stands for -inf, which mobile softmaxes and float16 do not survive."""


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


@lowers(aten.slice_scatter.default, aten.select_scatter.default)
def _scatter(call: Call) -> View:
    """What lies before, the new part, what lies after."""
    builder, x, part = call.builder, call.x, call.view(call.get("src"))
    axis = call.get("dim") % len(x.shape)
    size = x.shape[axis]
    if call.target is aten.select_scatter.default:
        start = call.get("index") % size
        stop, step = start + 1, 1
        part = reshape(builder, part, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    else:
        given = slice(call.get("start"), call.get("end"), call.get("step"))
        start, stop, step = given.indices(size)
    if step != 1:
        raise call.refuse("it writes every other element", "Write neighbouring elements.")
    pieces: list[Operand] = [part]
    if start > 0:
        pieces.insert(0, narrow(builder, x, axis, 0, start))
    if stop < size:
        pieces.append(narrow(builder, x, axis, stop, size - stop))
    return part if len(pieces) == 1 else concat(builder, pieces, axis, x.shape)


@lowers(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf, aten.where.Scalar)
def _where(call: Call) -> View:
    condition = call.array("condition", "only a stored mask can choose")
    assert condition is not None
    return _chosen(call, condition, call.get("self"), call.get("other"))


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(call: Call) -> View:
    mask = call.array("mask", "only a stored mask can choose")
    assert mask is not None
    return _chosen(call, ~mask.astype(np.bool_), call.first(), call.get("value"))


def _chosen(call: Call, mask: np.ndarray, yes: Any, no: Any) -> View:
    """``yes`` mask + ``no`` (1 - mask), with -inf bounded."""
    total: Any = None
    for value, weight in ((yes, mask.astype(np.float64)), (no, 1.0 - mask)):
        if isinstance(value, View):
            term: Any = binary(call.builder, "mul", value, weight, call.shape)
        else:
            bounded = np.maximum(value, _LOWEST) if np.min(value) == -np.inf else value
            term = bounded * weight
        total = term if total is None else _sum(call, total, term)
    return call.view(total)


def _sum(call: Call, a: Operand, b: Operand) -> Operand:
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
