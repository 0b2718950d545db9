"""Lowerings of functions of numbers that runtimes lack, by those that they have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..table import Call, Operand, lowers
from ..view import View
from .comparing import above, equal, negated, step
from .elementwise import LARGEST, activate, binary, unary

__all__: list[str] = []

aten = torch.ops.aten


class _Numbers:
    """Arithmetic on views of one shape, which reads as formulas do."""

    def __init__(self, builder: Builder, shape: ir.Shape) -> None:
        self.builder, self.shape = builder, shape

    def __call__(self, op: ir.BinaryOp, a: Operand | float, b: Operand | float) -> View:
        views = [operand for operand in (a, b) if not isinstance(operand, int | float)]
        shape = self.shape if len(views) == 2 else views[0].shape
        return binary(self.builder, op, a, b, shape)

    def of(self, op: ir.UnaryOp, x: View) -> View:
        return unary(self.builder, op, x)

    def sign(self, x: View) -> View:
        """-1 for negative numbers, else 1."""
        negative = above(self.builder, 0.0, x, x.shape)
        return self("sub", 1.0, self("mul", negative, 2.0))

    def chosen(self, truth: View, yes: Operand | float, no: Operand | float) -> View:
        """``yes`` where ``truth`` is 1, ``no`` where it is 0; both finite."""
        return self("add", self("mul", truth, yes), self("mul", negated(self.builder, truth), no))

    def or_one(self, x: View) -> View:
        """``x``, and 1 where it is 0."""
        return binary(self.builder, "add", x, equal(self.builder, x, 0.0, x.shape), x.shape)


def _numbers(call: Call) -> _Numbers:
    return _Numbers(call.builder, call.shape)


def _pair(call: Call) -> tuple[View, View]:
    """Two operands, of which one may be stored or a number."""
    a, b = (call.get(name) for name in call.names[:2])
    shape = call.shape

    def whole(operand: Any) -> View:
        array = np.asarray(operand) if not isinstance(operand, View) else None
        return operand if array is None else call.view(np.broadcast_to(array, shape))

    return whole(a), whole(b)


# Trigonometry and hyperbolic functions ------------------------------------------------------------


@lowers(aten.asinh.default)
def _asinh(call: Call) -> View:
    """sign(x) log(|x| + sqrt(x² + 1))."""
    n, x = _numbers(call), call.x
    size = n.of("abs", x)
    root = n.of("sqrt", n("add", n.of("square", x), 1.0))
    return n("mul", n.of("sign", x), n.of("log", n("add", size, root)))


@lowers(aten.acosh.default)
def _acosh(call: Call) -> View:
    """log(x + sqrt(x - 1) sqrt(x + 1))."""
    n, x = _numbers(call), call.x
    roots = [n.of("sqrt", n("add", x, number)) for number in (-1.0, 1.0)]
    return n.of("log", n("add", x, n("mul", *roots)))


@lowers(aten.atanh.default)
def _atanh(call: Call) -> View:
    """log((1 + x) / (1 - x)) / 2."""
    n, x = _numbers(call), call.x
    quotient = n("div", n("add", x, 1.0), n("sub", 1.0, x))
    return n("mul", n.of("log", quotient), 0.5)


@lowers(aten.sinh.default, aten.cosh.default)
def _sinh(call: Call) -> View:
    """(exp(x) -+ exp(-x)) / 2."""
    n, x = _numbers(call), call.x
    up, down = n.of("exp", x), n.of("exp", n.of("neg", x))
    op: ir.BinaryOp = "sub" if call.target is aten.sinh.default else "add"
    return n("mul", n(op, up, down), 0.5)


@lowers(aten.atan2.default)
def _atan2(call: Call) -> View:
    """The arctangent of the smaller by the larger size, turned to where the signs say."""
    n = _numbers(call)
    y, x = _pair(call)
    high, wide = n.of("abs", y), n.of("abs", x)
    slope = n("div", n("min", high, wide), n.or_one(n("max", high, wide)))
    angle = n.of("atan", slope)
    steep = above(call.builder, high, wide, call.shape)
    angle = n.chosen(steep, n("sub", math.pi / 2, angle), angle)
    behind = above(call.builder, 0.0, x, x.shape)
    angle = n.chosen(behind, n("sub", math.pi, angle), angle)
    return n("mul", angle, n.sign(y))


@lowers(aten.angle.default)
def _angle(call: Call) -> View:
    """0, or pi for negative numbers."""
    return _numbers(call)("mul", above(call.builder, 0.0, call.x, call.shape), math.pi)


@lowers(aten.sinc.default)
def _sinc(call: Call) -> View:
    """sin(pi x) / (pi x), and 1 at 0."""
    n = _numbers(call)
    turned = n("mul", call.x, math.pi)
    zero = equal(call.builder, turned, 0.0, call.shape)
    return n("add", n("div", n.of("sin", turned), n("add", turned, zero)), zero)


@lowers(aten.hypot.default)
def _hypot(call: Call) -> View:
    """m sqrt(1 + (s / m)²), with m the larger and s the smaller size: no square overflows."""
    n = _numbers(call)
    a, b = (unary(call.builder, "abs", x) for x in _pair(call))
    large, small = n("max", a, b), n("min", a, b)
    share = n("div", small, n.or_one(large))
    return n("mul", large, n.of("sqrt", n("add", n.of("square", share), 1.0)))


# Exponentials and logarithms ----------------------------------------------------------------------


@lowers(aten.exp2.default)
def _exp2(call: Call) -> View:
    n = _numbers(call)
    return n.of("exp", n("mul", call.x, math.log(2.0)))


@lowers(aten.ldexp.Tensor)
def _ldexp(call: Call) -> View:
    """x 2^y."""
    n = _numbers(call)
    x, y = _pair(call)
    power = unary(call.builder, "exp", binary(call.builder, "mul", y, math.log(2.0), y.shape))
    return n("mul", x, power)


@lowers(aten.logaddexp.default, aten.logaddexp2.default)
def _logaddexp(call: Call) -> View:
    """max(a, b) + log(1 + exp(-|a - b|)), to base 2 with both scaled."""
    n = _numbers(call)
    a, b = _pair(call)
    base = 1.0 if call.target is aten.logaddexp.default else math.log(2.0)
    apart = n("mul", n.of("abs", n("sub", a, b)), -base)
    soft = activate(call.builder, apart, ir.Nonlinearity("softplus"))
    return n("add", n("max", a, b), n("div", soft, base))


@lowers(aten.xlogy.Tensor, aten.xlogy.Scalar_Self, aten.xlogy.Scalar_Other)
def _xlogy(call: Call) -> View:
    """x log(y), with y taken for 1 where x is 0."""
    n = _numbers(call)
    x, y = _pair(call)
    zero = equal(call.builder, x, 0.0, x.shape)
    return n("mul", x, n.of("log", n.chosen(zero, 1.0, y)))


@lowers(aten.erfc.default)
def _erfc(call: Call) -> View:
    return _numbers(call)("sub", 1.0, unary(call.builder, "erf", call.x))


# Rounding and signs -------------------------------------------------------------------------------


@lowers(aten.fmod.Tensor, aten.fmod.Scalar, aten.remainder.Tensor, aten.remainder.Scalar)
def _remainder(call: Call) -> View:
    """a - round(a / b) b, rounded to zero (fmod) or down."""
    n = _numbers(call)
    a, b = call.first(), call.get("other")
    down = call.target in (aten.remainder.Tensor, aten.remainder.Scalar)
    whole = n.of("floor" if down else "trunc", n("div", a, b))
    return n("sub", a, n("mul", whole, b))


@lowers(aten.remainder.Scalar_Tensor)
def _remainder_of(call: Call) -> View:
    n = _numbers(call)
    a, b = float(call.get("self")), call.view(call.get("other"))
    return n("sub", a, n("mul", n.of("floor", n("div", a, b)), b))


@lowers(aten.round.decimals)
def _round_decimals(call: Call) -> View:
    n, factor = _numbers(call), 10.0 ** call.get("decimals")
    return n("div", n.of("round", n("mul", call.x, factor)), factor)


@lowers(aten.copysign.Tensor, aten.copysign.Scalar)
def _copysign(call: Call) -> View:
    """|a|, negative where b is; a zero of b has no sign here."""
    n = _numbers(call)
    a, b = _pair(call)
    return n("mul", unary(call.builder, "abs", a), n.sign(b))


@lowers(aten.fmax.default, aten.fmin.default)
def _fmax(call: Call) -> View:
    """As maximum and minimum: NaN is nothing that a file is compared on."""
    op: ir.BinaryOp = "max" if call.target is aten.fmax.default else "min"
    return _numbers(call)(op, call.first(), call.get("other"))


@lowers(aten.nan_to_num.default)
def _nan_to_num(call: Call) -> View:
    """Infinities become the largest numbers; NaN is nothing that a file is compared on."""
    high, low = call.get("posinf"), call.get("neginf")
    n, x = _numbers(call), call.x
    bounded = n("max", n("min", x, LARGEST), -LARGEST)
    for number, bound in ((high, LARGEST), (low, -LARGEST)):
        if number is not None:
            beyond = n("sub", x, bound) if bound > 0 else n("sub", bound, x)
            bounded = n.chosen(step(call.builder, beyond), number, bounded)
    return bounded


@lowers(aten.softplus.default)
def _softplus(call: Call) -> View:
    """log(1 + exp(beta x)) / beta, and x itself where beta x is above ``threshold``."""
    beta, threshold = float(call.get("beta")), call.get("threshold")
    n = _numbers(call)
    scaled = n("mul", call.x, beta)
    soft = activate(call.builder, scaled, ir.Nonlinearity("softplus"))
    result = n("div", soft, beta)
    if threshold >= 20:
        return result
    return n.chosen(above(call.builder, scaled, float(threshold), call.shape), call.x, result)
