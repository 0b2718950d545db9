"""MIL op reference: activation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from ..table import Tensor, op

__all__: list[str] = []


@op("relu")
def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return torch.relu(x)


@op("relu6")
def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6)."""
    return torch.clamp(x, 0.0, 6.0)


@op("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(beta, x) where x >= 0, else min(beta, alpha x)."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


@op("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """x where x >= alpha, else 0."""
    return torch.where(x >= alpha, x, 0.0)


@op("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """x where x >= 0, else alpha x."""
    return torch.where(x >= 0, x, alpha * x)


@op("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """x where x > 0, else alpha_c x; c is the second axis."""
    return torch.where(x > 0, x, _per_channel(alpha, x) * x)


@op("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """x where x > 0, else alpha (e^x - 1)."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@op("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """0.5 x (1 + erf(x / sqrt 2)), or its approximation by tanh or by x sigmoid(1.702 x)."""
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise ValueError(f"gelu has no mode {mode!r}")


@op("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha x + beta."""
    return alpha * x + beta


@op("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha tanh(beta x)."""
    return alpha * torch.tanh(beta * x)


@op("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return torch.sigmoid(x)


@op("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(max(alpha x + beta, 0), 1)."""
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


@op("silu")
def silu(x: Tensor) -> Tensor:
    """x sigmoid(x)."""
    return F.silu(x)


@op("softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    return torch.logaddexp(x, torch.zeros_like(x))


@op("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha_c log(1 + e^(beta_c x)); c is the second axis."""
    scaled = _per_channel(beta, x) * x
    return _per_channel(alpha, x) * torch.logaddexp(scaled, torch.zeros_like(scaled))


@op("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """exp(x) / sum(exp(x)) along one axis."""
    return torch.softmax(x, axis)


@op("softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + x.abs())


def _per_channel(vector: Tensor, x: Tensor) -> Tensor:
    return vector.reshape(1, -1, *(1 for _ in range(x.dim() - 2)))
