"""Lowerings of comparisons and of logic: truth values are 0 and 1.

`ir.Unary` ``step`` is 1 where its operand is above 0. With it a > b is step(a - b), which is exact:
the difference of two floats is 0 only where they are equal, and that of two equal infinities is
NaN, whose step is 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..table import Call, Operand, lowers
from ..view import View
from .elementwise import LARGEST, binary, unary

__all__ = ["above", "as_truth", "equal", "negated", "step"]

aten = torch.ops.aten


def step(builder: Builder, view: View) -> View:
    """1 where ``view`` is above 0, else 0."""
    return unary(builder, "step", view)


def negated(builder: Builder, truth: View) -> View:
    """1 - ``truth``."""
    return binary(builder, "sub", 1.0, truth, truth.shape)


def above(builder: Builder, a: Operand | float, b: Operand | float, shape: ir.Shape) -> View:
    """1 where a > b, else 0."""
    return step(builder, binary(builder, "sub", a, b, shape))


def equal(builder: Builder, a: Operand | float, b: Operand | float, shape: ir.Shape) -> View:
    """1 where a == b, else 0."""
    return negated(builder, _unequal(builder, a, b, shape))


def _unequal(builder: Builder, a: Any, b: Any, shape: ir.Shape) -> View:
    return step(builder, unary(builder, "abs", binary(builder, "sub", a, b, shape)))


def as_truth(call: Call, name: str) -> Operand:
    """An operand as 0 and 1; numbers are true where they are not 0."""
    operand: Operand = call.get(name)
    if isinstance(operand, np.ndarray):
        truth: np.ndarray = (operand != 0).astype(np.float64)
        return truth
    if call.dtype(name) == torch.bool:
        return operand
    return step(call.builder, unary(call.builder, "abs", operand))


# ATen ---------------------------------------------------------------------------------------------


@lowers(
    aten.gt.Tensor, aten.gt.Scalar, aten.lt.Tensor, aten.lt.Scalar,
    aten.ge.Tensor, aten.ge.Scalar, aten.le.Tensor, aten.le.Scalar,
)  # fmt: skip
def _order(call: Call) -> View:
    a, b = call.first(), call.get("other")
    less = (aten.lt.Tensor, aten.lt.Scalar, aten.ge.Tensor, aten.ge.Scalar)
    if call.target in less:
        a, b = b, a
    strictly = above(call.builder, a, b, call.shape)
    strict = (aten.gt.Tensor, aten.gt.Scalar, aten.lt.Tensor, aten.lt.Scalar)
    return strictly if call.target in strict else negated(call.builder, strictly)


@lowers(aten.eq.Tensor, aten.eq.Scalar, aten.ne.Tensor, aten.ne.Scalar)
def _equality(call: Call) -> View:
    unequal = _unequal(call.builder, call.first(), call.get("other"), call.shape)
    different = (aten.ne.Tensor, aten.ne.Scalar)
    return unequal if call.target in different else negated(call.builder, unequal)


@lowers(
    aten.logical_and.default, aten.logical_or.default, aten.logical_xor.default,
    aten.bitwise_and.Tensor, aten.bitwise_or.Tensor, aten.bitwise_xor.Tensor,
)  # fmt: skip
def _logic(call: Call) -> View:
    names, builder = call.names, call.builder
    if "bitwise" in call.target._schema.name and call.dtype(names[0]) != torch.bool:
        raise call.refuse("it works on the bits of integers", "Only truth values can be.")
    a, b = as_truth(call, names[0]), as_truth(call, names[1])
    if call.target in (aten.logical_and.default, aten.bitwise_and.Tensor):
        return binary(builder, "mul", a, b, call.shape)
    if call.target in (aten.logical_or.default, aten.bitwise_or.Tensor):
        return binary(builder, "max", a, b, call.shape)
    return unary(builder, "abs", binary(builder, "sub", a, b, call.shape))


@lowers(aten.logical_not.default, aten.bitwise_not.default)
def _not(call: Call) -> View:
    if call.target is aten.bitwise_not.default and call.dtype("self") != torch.bool:
        raise call.refuse("it works on the bits of integers", "Only truth values can be.")
    return negated(call.builder, call.view(as_truth(call, "self")))


@lowers(aten.isnan.default)
def _isnan(call: Call) -> View:
    """1 where neither |x| > 0 nor 1 > |x|, which is so for every number and not for NaN."""
    builder = call.builder
    size = unary(builder, "abs", call.x)
    either = binary(
        builder, "max", step(builder, size), above(builder, 1.0, size, size.shape), size.shape
    )
    return negated(builder, either)


@lowers(aten.isinf.default, aten.isposinf.default, aten.isneginf.default)
def _isinf(call: Call) -> View:
    """1 where a number is beyond the largest float32."""
    builder, x = call.builder, call.x
    if call.target is aten.isneginf.default:
        x = unary(builder, "neg", x)
    elif call.target is aten.isinf.default:
        x = unary(builder, "abs", x)
    return above(builder, x, LARGEST, x.shape)


@lowers(aten.isfinite.default)
def _isfinite(call: Call) -> View:
    """1 where the size of a number is below the largest float32: neither of infinity nor of NaN."""
    size = unary(call.builder, "abs", call.x)
    return above(call.builder, LARGEST, size, size.shape)


@lowers(aten.signbit.default)
def _signbit(call: Call) -> View:
    return above(call.builder, 0.0, call.x, call.shape)
