"""Functions of single elements, as plain PyTorch of the operators' own schemas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "acosh",
    "addcmul",
    "angle",
    "asinh",
    "celu",
    "clamp",
    "copy",
    "copysign",
    "divide",
    "erfc",
    "exp2",
    "float_power",
    "floor_divide",
    "fmod",
    "frac",
    "frexp",
    "hardshrink",
    "heaviside",
    "hypot",
    "isclose",
    "isnan",
    "ldexp",
    "lerp",
    "log2",
    "log10",
    "log_sigmoid",
    "logaddexp",
    "logaddexp2",
    "logical_or",
    "logical_xor",
    "logit",
    "nan_to_num",
    "positive",
    "remainder",
    "round_to",
    "signbit",
    "sinc",
    "softshrink",
    "trunc",
    "xlog1py",
    "xlogy",
    "zero",
]


def positive(x: Tensor, *_: Any) -> Tensor:
    """x, which is real."""
    return x


def acosh(x: Tensor) -> Tensor:
    """log(x + √(x² - 1)), as √((x - 1) / (x + 1)) of x + 1: no square that overflows."""
    return torch.log(x + torch.sqrt((x - 1) / (x + 1)) * (x + 1))


def addcmul(x: Tensor, first: Tensor, second: Tensor, *, value: Any = 1) -> Any:
    """x + value · first · second."""
    product = first * second
    return x + (product if value == 1 else product * value)


def log2(x: Tensor) -> Tensor:
    """log(x) / log(2)."""
    return torch.log(x) * (1 / math.log(2))


def log10(x: Tensor) -> Tensor:
    """log(x) / log(10)."""
    return torch.log(x) * (1 / math.log(10))


def asinh(x: Tensor) -> Tensor:
    """sign(x) log(|x| + √(x² + 1))."""
    size = x.abs()
    return torch.sign(x) * torch.log(size + hypot(size, torch.ones_like(size)))


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """x above 0, alpha (exp(x / alpha) - 1) below: the exponential of what is below alone."""
    return x.clamp(min=0) + alpha * (torch.exp(x.clamp(max=0) / alpha) - 1)


def clamp(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """min(max(x, low), high): ``high`` where both are crossed, which Core ML's converter is not."""
    y = x if low is None else torch.maximum(x, low)
    return y if high is None else torch.minimum(y, high)


def softshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """x pulled to 0 by ``lambd``: x less its part within ±lambd."""
    return x - x.clamp(-lambd, lambd)


def hardshrink(x: Tensor, lambd: float = 0.5) -> Tensor:
    """0 within ±lambd."""
    return torch.where(x.abs() > lambd, x, torch.zeros_like(x))


def log_sigmoid(x: Tensor) -> Tensor:
    """min(x, 0) - log(1 + exp(-|x|)), which never overflows."""
    return x.clamp(max=0) - torch.log1p(torch.exp(-x.abs()))


def copysign(x: Tensor, other: Any) -> Tensor:
    """|x| with the sign of ``other``; a negative zero counts as zero."""
    if not isinstance(other, Tensor):
        return x.abs() * math.copysign(1.0, other)
    return torch.where(other < 0, -x.abs(), x.abs())


def trunc(x: Tensor) -> Tensor:
    """Towards zero."""
    return torch.where(x < 0, torch.ceil(x), torch.floor(x))


def frac(x: Tensor) -> Tensor:
    """x - trunc(x)."""
    return x - trunc(x)


def fmod(x: Tensor, other: Any) -> Any:
    """The remainder of a division whose quotient is cut towards zero; whole numbers are left."""
    if not x.is_floating_point():
        return NotImplemented
    return x - trunc(x / other) * other


def remainder(x: Any, other: Any) -> Any:
    """The remainder of a division whose quotient is rounded down; whole numbers are left."""
    if not any(isinstance(v, Tensor) and v.is_floating_point() for v in (x, other)):
        return NotImplemented
    return x - torch.floor(x / other) * other


def floor_divide(x: Tensor, other: Any) -> Any:
    """floor(x / other); whole numbers are left."""
    if not x.is_floating_point():
        return NotImplemented
    return torch.floor(x / other)


def divide(x: Tensor, other: Any, *, rounding_mode: str | None = None) -> Any:
    """The quotient of whole numbers, rounded down, is `floor_divide`; others are left."""
    numbers = (x, other)
    floats = any(
        v.is_floating_point() if isinstance(v, Tensor) else isinstance(v, float) for v in numbers
    )
    if floats or rounding_mode != "floor":
        return NotImplemented
    return torch.floor_divide(x, other)


def heaviside(x: Tensor, values: Tensor) -> Tensor:
    """1 above 0, 0 below, ``values`` at 0."""
    zero = torch.zeros_like(x)
    return torch.where(x > 0, torch.ones_like(x), torch.where(x == 0, values, zero))


def sinc(x: Tensor) -> Tensor:
    """sin(πx) / (πx), and 1 at 0."""
    y = torch.where(x == 0, torch.ones_like(x), x * math.pi)
    return torch.where(x == 0, torch.ones_like(x), torch.sin(y) / y)


def signbit(x: Tensor) -> Tensor:
    """Below zero; a negative zero counts as zero."""
    return x < 0


def angle(x: Tensor) -> Tensor:
    """π for negative numbers, else 0."""
    return torch.where(x < 0, torch.full_like(x, math.pi), torch.zeros_like(x))


def hypot(x: Tensor, other: Tensor) -> Tensor:
    """√(x² + other²), scaled by the larger of both so that no square overflows."""
    largest = torch.maximum(x.abs(), other.abs())
    scale = torch.where(largest == 0, torch.ones_like(largest), largest)
    return largest * torch.sqrt((x / scale) * (x / scale) + (other / scale) * (other / scale))


def isnan(x: Tensor) -> Tensor:
    """What does not equal itself."""
    return x != x


def isclose(
    x: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Tensor:
    """|x - other| ≤ atol + rtol · |other|, or both are equal (infinities); NaN if ``equal_nan``."""
    apart = (x - other).abs()
    near = torch.logical_and(apart <= (other * rtol).abs() + atol, apart < math.inf)
    close = logical_or(x == other, near)
    if not equal_nan:
        return close
    return logical_or(close, torch.logical_and(x != x, other != other))


def ldexp(x: Tensor, other: Tensor) -> Tensor:
    """x · 2^other."""
    return x * torch.exp2(other)


def logaddexp(x: Tensor, other: Tensor) -> Tensor:
    """log(exp(x) + exp(other)): the larger one and log(1 + exp(-distance))."""
    return torch.maximum(x, other) + torch.log1p(torch.exp(-(x - other).abs()))


def logaddexp2(x: Tensor, other: Tensor) -> Tensor:
    """log2(2^x + 2^other), in the same way."""
    apart = torch.exp((x - other).abs() * -math.log(2))
    return torch.maximum(x, other) + torch.log1p(apart) / math.log(2)


def xlogy(x: Any, other: Any) -> Tensor:
    """x · log(other), and 0 where x is 0."""
    return _or_zero(x, torch.log(other) if isinstance(other, Tensor) else math.log(other))


def xlog1py(x: Any, other: Any) -> Tensor:
    """x · log(1 + other), and 0 where x is 0."""
    return _or_zero(x, torch.log1p(other) if isinstance(other, Tensor) else math.log1p(other))


def _or_zero(x: Any, factor: Any) -> Tensor:
    product: Tensor = x * factor
    if isinstance(x, Tensor):
        return torch.where(x == 0, torch.zeros_like(product), product)
    return product if x else torch.zeros_like(product)


def frexp(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mantissa, whose size is at least ½ and below 1, and the exponent of 2; of finite numbers.

    A logarithm that is rounded to or from a whole number is one off, which the mantissa shows.
    """
    size = torch.where(x == 0, torch.full_like(x, 0.5), x.abs())
    exponent = torch.floor(torch.log2(size)) + 1
    large = (size / torch.exp2(exponent) >= 1).to(x.dtype)
    exponent = exponent + large
    small = (size / torch.exp2(exponent) < 0.5).to(x.dtype)
    exponent = exponent - small
    return x / torch.exp2(exponent), exponent.to(torch.int32)


def exp2(x: Tensor) -> Tensor:
    """exp(x log 2)."""
    return torch.exp(x * math.log(2))


def round_to(x: Tensor, *, decimals: int) -> Tensor:
    """To ``decimals`` digits behind the point, or before it where that is negative."""
    if decimals == 0:
        return torch.round(x)
    scale = 10.0 ** abs(decimals)
    return torch.round(x * scale) / scale if decimals > 0 else torch.round(x / scale) * scale


def erfc(x: Tensor) -> Tensor:
    """1 - erf(x)."""
    return 1 - torch.erf(x)


def logit(x: Tensor, eps: float | None = None) -> Tensor:
    """log(x / (1 - x)), of x kept ``eps`` away from 0 and 1."""
    if eps is not None:
        x = x.clamp(eps, 1 - eps)
    return torch.log(x) - torch.log1p(-x)


def lerp(x: Tensor, end: Tensor, weight: Any) -> Any:
    """x + weight · (end - x)."""
    return x + (end - x) * weight


def float_power(x: Any, exponent: Any) -> Any:
    """`pow`, of float32 where PyTorch returns float64: files have no float64."""
    return torch.pow(x, exponent)


def nan_to_num(
    x: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """Numbers for NaN, which equals nothing, and for infinities."""
    if not x.is_floating_point():
        return x
    largest = torch.finfo(x.dtype).max
    x = torch.where(x == x, x, torch.full_like(x, nan or 0.0))
    if posinf is not None:
        x = torch.where(x > largest, torch.full_like(x, posinf), x)
    if neginf is not None:
        x = torch.where(x < -largest, torch.full_like(x, neginf), x)
    if posinf is None:
        x = x.clamp(max=largest)
    return x.clamp(min=-largest) if neginf is None else x


def logical_or(x: Tensor, other: Tensor) -> Tensor:
    """Either is not zero."""
    return torch.logical_not(torch.logical_and(torch.logical_not(x), torch.logical_not(other)))


def logical_xor(x: Tensor, other: Tensor) -> Tensor:
    """One of them is not zero."""
    both = torch.logical_and(x, other)
    return torch.logical_and(logical_or(x, other), torch.logical_not(both))


def zero(x: Tensor) -> Tensor:
    """Zeros of the shape of x."""
    return torch.zeros_like(x)


def copy(x: Tensor, source: Tensor, *_: Any) -> Tensor:
    """The source in the type and the shape of x."""
    return source.to(x.dtype).expand(x.shape)
