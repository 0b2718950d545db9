"""Layers that map every element by itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch.nn import functional as F

from ..table import Params, Tensor, Weights, layer

__all__: list[str] = []

_PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Asin": torch.asin,
    "Atan": torch.atan,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "GELU": lambda x: 0.5 * x * (torch.erf(x * math.sqrt(0.5)) + 1.0),
    "Log": torch.log,
    "LogSigmoid": F.logsigmoid,
    "Neg": torch.neg,
    "ReLU": torch.relu,
    "Relu": torch.relu,
    "ReLU6": F.relu6,
    "Relu6": F.relu6,
    "Reciprocal": torch.reciprocal,
    "Rsqrt": torch.rsqrt,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": lambda x: torch.logaddexp(x, torch.zeros_like(x)),
    "Sqrt": torch.sqrt,
    "Swish": F.silu,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}


def _register(type_: str, function: Callable[[Tensor], Tensor]) -> None:
    @layer(type_)
    def plain(x: Tensor) -> Tensor:
        return function(x)


for _type, _function in _PLAIN.items():
    _register(_type, _function)


@layer("Clip")
def clip(x: Tensor, *, params: Params) -> Tensor:
    low, high = params.number(0.0), params.number(0.0)
    return x.clamp(max=high).clamp(min=low)  # where they cross, the lower one wins


@layer("Elu")
def elu(x: Tensor, *, params: Params) -> Tensor:
    return F.elu(x, params.number(1.0))


@layer("Selu")
def selu(x: Tensor, *, params: Params) -> Tensor:
    """gamma (x, or alpha (exp(x) - 1) where x <= 0)."""
    alpha, gamma = params.number(), params.number()
    return gamma * torch.where(x <= 0, alpha * torch.expm1(x), x)


@layer("HardSigmoid")
def hard_sigmoid(x: Tensor, *, params: Params) -> Tensor:
    alpha, beta = params.number(1.0), params.number(0.0)
    return (alpha * x + beta).clamp(0, 1)


@layer("HardSwish")
def hard_swish(x: Tensor, gate: Tensor | None = None, *, params: Params) -> Tensor:
    """x times the hard sigmoid of the second input, which is x itself when there is none."""
    alpha, beta = params.number(1.0), params.number(0.0)
    return x * (alpha * (x if gate is None else gate) + beta).clamp(0, 1)


@layer("PReLU")
def prelu(x: Tensor, *, params: Params, weights: Weights) -> Tensor:
    slope = weights["slope"].flatten()
    if not params.integer(0):
        slope = slope.reshape(1, -1, *(1,) * (x.ndim - 2))
    return torch.where(x < 0, x * slope, x)


@layer("Power")
def power(x: Tensor, *, params: Params) -> Tensor:
    """(scale x + shift) ^ exponent."""
    exponent, scale, shift = params.number(1.0), params.number(1.0), params.number(0.0)
    return (x * scale + shift).pow(exponent)


@layer("GLU")
def glu(x: Tensor, *, params: Params) -> Tensor:
    return F.glu(x, params.integer(-1))


@layer("Softmax")
def softmax(x: Tensor, *, params: Params) -> Tensor:
    return x.softmax(params.integer(1))


@layer("LogSoftmax")
def log_softmax(x: Tensor, *, params: Params) -> Tensor:
    return x.log_softmax(params.integer(1))


@layer("Cast")
def cast(x: Tensor, *, params: Params) -> Tensor:
    """To float (0) or a signed integer of 32 (3) or 64 bits (5), towards zero."""
    targets = {0: torch.float32, 3: torch.int32, 5: torch.int64}
    return x.to(targets[params.integer(0)])
