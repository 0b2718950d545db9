"""MIL op reference: normalization. Statistics are taken in float32."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..table import Ints, Tensor, op

__all__: list[str] = []


@op("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta along the second axis."""
    return F.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


@op("instance_norm")
def instance_norm(
    x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """Each channel of each sample by its own mean and (biased) variance."""
    axes = tuple(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    result = (x - mean) / torch.sqrt(variance + epsilon)
    shape = (1, -1, *(1 for _ in axes))
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


@op("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta over ``axes``, all of them by default."""
    rank = x.dim()
    chosen = sorted(a % rank for a in axes) if axes is not None else list(range(rank))
    if chosen == list(range(rank - len(chosen), rank)):
        return F.layer_norm(x, x.shape[rank - len(chosen) :], gamma, beta, epsilon)
    shape = [x.shape[a] if a in chosen else 1 for a in range(rank)]
    variance, mean = torch.var_mean(x, chosen, correction=0, keepdim=True)
    result = (x - mean) / torch.sqrt(variance + epsilon)
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


@op("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / sqrt(sum of squares over the last three axes + epsilon)."""
    return x / torch.sqrt(torch.sum(x * x, (-3, -2, -1), keepdim=True) + epsilon)


def _window_is_open(size: int, **_: object) -> str | None:
    """Whether a window has no middle channel."""
    return None if size % 2 else "on which side a window of an even size has one channel more"


@op("local_response_norm", unsettled=_window_is_open)
def local_response_norm(
    x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha / size * sum of squares over ``size`` neighbouring channels)^beta."""
    squares = (x * x).movedim(1, -1)
    before = size // 2
    windows = F.pad(squares, (before, size - 1 - before)).unfold(-1, size, 1)
    total = windows.sum(-1).movedim(-1, 1)
    return x / torch.pow(k + alpha / size * total, beta)
