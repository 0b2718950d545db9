"""MIL op reference: elementwise_unary, elementwise_binary, control_flow.select."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..table import OPS, Tensor, op

__all__ = ["convert"]

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "abs": torch.abs,
    "acos": torch.acos,
    "asin": torch.asin,
    "atan": torch.atan,
    "atanh": torch.atanh,
    "ceil": torch.ceil,
    "cos": torch.cos,
    "cosh": torch.cosh,
    "erf": torch.erf,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "floor": torch.floor,
    "logical_not": torch.logical_not,
    "round": torch.round,  # half to even, as numpy's round that coremltools infers with
    "sign": torch.sign,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "sqrt": torch.sqrt,
    "square": torch.square,
    "tan": torch.tan,
    "tanh": torch.tanh,
}

_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "equal": torch.eq,
    "floor_div": lambda x, y: torch.div(x, y, rounding_mode="floor"),
    "greater": torch.gt,
    "greater_equal": torch.ge,
    "less": torch.lt,
    "less_equal": torch.le,
    "logical_and": torch.logical_and,
    "logical_or": torch.logical_or,
    "logical_xor": torch.logical_xor,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "mul": torch.mul,
    "not_equal": torch.ne,
    "pow": torch.pow,
    "sub": torch.sub,
}


def _register_unary(name: str, function: Callable[[Tensor], Tensor]) -> None:
    @op(name)
    def unary(x: Tensor) -> Tensor:
        return function(x)


def _register_binary(name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @op(name)
    def binary(x: Tensor, y: Tensor) -> Tensor:
        return function(x, y)


for _name, _unary in _UNARY.items():
    _register_unary(_name, _unary)
for _name, _binary in _BINARY.items():
    _register_binary(_name, _binary)
assert len(OPS) >= len(_UNARY) + len(_BINARY)


def _sign_is_open(x: Tensor, y: Tensor) -> str | None:
    """Whether the remainders of divisions rounded down and towards zero differ."""
    if bool(((x < 0) == (y < 0)).all()) or bool((torch.fmod(x, y) == torch.remainder(x, y)).all()):
        return None
    return (
        "a remainder has the divisor's sign in coremltools' inference, the dividend's in Core AI's"
        " modulo"
    )


@op("mod", unsettled=_sign_is_open)
def mod(x: Tensor, y: Tensor) -> Tensor:
    """x - y floor(x / y): the sign of the divisor, as numpy's ``mod``."""
    return torch.remainder(x, y)


def _quotient_is_open(x: Tensor, y: Tensor) -> str | None:
    """Whether whole numbers are divided that leave a remainder."""
    if x.is_floating_point() or y.is_floating_point() or not bool(torch.fmod(x, y).any()):
        return None
    return "how real_div rounds a quotient of integers is not said"


@op("real_div", unsettled=_quotient_is_open)
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """x / y; of integers towards zero, as Core AI's ``divide``."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.true_divide(x, y)
    return torch.div(x, y, rounding_mode="trunc")


@op("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@op("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """log(x + epsilon). The default epsilon is the smallest float32, and zero as a float16."""
    return torch.log(x + epsilon)


@op("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / sqrt(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@op("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(x, alpha), beta)."""
    return torch.clamp(x, alpha, beta)


@op("threshold")
def threshold(x: Tensor, alpha: Tensor) -> Tensor:
    """max(x, alpha)."""
    return torch.maximum(x, alpha)


_LARGEST = {"int32": 2.0**31, "int8": 2.0**7, "uint8": 2.0**8, "int16": 2.0**15, "uint16": 2.0**16}


def _cast_is_open(x: Tensor, dtype: str) -> str | None:
    """Whether a number has no place in the integer type that it becomes."""
    if dtype not in _LARGEST or not x.is_floating_point():
        return None
    low = 0.0 if dtype.startswith("u") else -_LARGEST[dtype]
    if bool(((x > low - 1) & (x < _LARGEST[dtype])).all()):
        return None
    return "what becomes of a float outside of the range of the integer type, or of NaN"


@op("cast", unsettled=_cast_is_open)
def cast(x: Tensor, dtype: str) -> Tensor:
    """To another type: floats lose their fraction on the way to integers, narrow integers wrap."""
    return convert(x, dtype)


@op("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where cond, else b, with broadcasting."""
    return torch.where(cond.to(torch.bool), a, b)


_NARROW = {"int8": (8, True), "uint8": (8, False), "int16": (16, True), "uint16": (16, False)}


def convert(x: Tensor, dtype: str) -> Tensor:
    """``x`` as the MIL type ``dtype``; rounding to fp16 is left to the program."""
    if dtype == "bool":
        return x != 0
    if dtype in ("fp16", "fp32", "fp64"):
        return x.to(torch.float64 if dtype == "fp64" else torch.float32)
    if dtype in ("int32", "int64", "uint32", "uint64"):
        return x.to(torch.int32 if dtype == "int32" else torch.int64)
    if dtype not in _NARROW:
        raise ValueError(f"cast to {dtype!r} is not defined")
    bits, signed = _NARROW[dtype]
    wrapped = x.to(torch.int64) & ((1 << bits) - 1)
    if signed:
        wrapped = torch.where(wrapped >= 1 << (bits - 1), wrapped - (1 << bits), wrapped)
    return wrapped.to(torch.int32)
