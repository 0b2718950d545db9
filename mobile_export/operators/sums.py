"""Reductions and products, as plain PyTorch of the operators' own schemas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "adaptive_avg_pool",
    "addbmm",
    "along",
    "aminmax",
    "baddbmm",
    "batch_statistics",
    "bilinear",
    "count_nonzero",
    "deviation",
    "dist",
    "matrix_power",
    "moments",
    "nanmean",
    "nansum",
    "native_group_norm",
    "native_layer_norm",
    "outer",
    "pdist",
    "prod",
    "prod_along",
    "standard_deviation",
    "sum_to_size",
    "variance",
    "vdot",
]


def along(values: Tensor, x: Tensor, dim: int) -> Tensor:
    """``values``, one for each place of ``dim``, in a shape that broadcasts with ``x``."""
    return values.reshape([-1 if axis == dim % x.ndim else 1 for axis in range(x.ndim)])


def prod(x: Tensor, *, dtype: torch.dtype | None = None) -> Any:
    """The product of all elements."""
    return prod_along(x.reshape(-1), 0, dtype=dtype)


def prod_along(
    x: Tensor, dim: int, keepdim: bool = False, *, dtype: torch.dtype | None = None
) -> Any:
    """Of both halves, until one element is left."""
    if dtype not in (None, x.dtype) or not x.is_floating_point():
        return NotImplemented
    if not x.ndim:
        return x
    while x.shape[dim] > 1:
        half, odd = divmod(x.shape[dim], 2)
        rest = [x.narrow(dim, 2 * half, 1)] if odd else []
        x = torch.cat([x.narrow(dim, 0, half) * x.narrow(dim, half, half), *rest], dim)
    return x if keepdim else x.squeeze(dim)


def count_nonzero(x: Tensor, dim: Any = None) -> Tensor:
    """The number of elements that are not 0."""
    ones = torch.where(x == 0, torch.zeros_like(x), torch.ones_like(x))
    axes = list(range(x.ndim)) if dim is None else [dim] if isinstance(dim, int) else list(dim)
    return ones.sum(axes).to(torch.int64)


def nansum(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """The sum without NaN, which equals nothing."""
    return torch.where(x == x, x, torch.zeros_like(x)).sum(dim or list(range(x.ndim)), keepdim)


def nanmean(x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> Tensor:
    """The mean without NaN."""
    axes = dim or list(range(x.ndim))
    count = torch.where(x == x, torch.ones_like(x), torch.zeros_like(x)).sum(axes, keepdim)
    return nansum(x, axes, keepdim) / count


def aminmax(x: Tensor, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """The smallest and the largest."""
    axes = list(range(x.ndim)) if dim is None else [dim]
    return x.amin(axes, keepdim), x.amax(axes, keepdim)


def dist(x: Tensor, other: Tensor, p: Any = 2) -> Any:
    """The norm of the difference, all axes as one."""
    return torch.linalg.vector_norm((x - other).reshape(-1), p)


def pdist(x: Tensor, p: float = 2.0) -> Any:
    """The distances of all pairs of rows, (0, 1), (0, 2) to (n - 2, n - 1)."""
    first, second = torch.triu_indices(x.shape[0], x.shape[0], 1)
    return torch.linalg.vector_norm(x[first] - x[second], p, -1)


def vdot(x: Tensor, other: Tensor) -> Tensor:
    """The sum of products."""
    return (x * other).sum()


def sum_to_size(x: Tensor, size: Any) -> Tensor:
    """Summed along what broadcasting ``size`` would repeat."""
    lead = x.ndim - len(size)
    axes = [i for i in range(x.ndim) if i < lead or (size[i - lead] == 1 and x.shape[i] != 1)]
    return x.sum(axes, True).reshape(size) if axes else x


def bilinear(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """y_k = Σ_ij x_i W_kij z_j: a linear layer of all products."""
    products = first.unsqueeze(-1) * second.unsqueeze(-2)
    flat = products.reshape([*first.shape[:-1], -1])
    return torch.nn.functional.linear(flat, weight.reshape(weight.shape[0], -1), bias)


def matrix_power(x: Tensor, n: int) -> Any:
    """``n`` - 1 products by squaring."""
    if n < 0 or n > 64:
        return NotImplemented
    if n == 0:
        return torch.eye(x.shape[-1], dtype=x.dtype).expand(x.shape)
    result = None
    while n:
        if n % 2:
            result = x if result is None else torch.matmul(result, x)
        x = torch.matmul(x, x) if n > 1 else x
        n //= 2
    return result


def adaptive_avg_pool(x: Tensor, output_size: Any) -> Tensor:
    """The mean of each window, axis by axis: a product with a stored matrix."""
    for axis, count in zip(range(x.ndim - len(output_size), x.ndim), output_size, strict=True):
        size = x.shape[axis]
        if count == size:
            continue
        rows = []
        for i in range(count):
            start, end = i * size // count, -(-(i + 1) * size // count)
            rows.append([1 / (end - start) if start <= j < end else 0.0 for j in range(size)])
        matrix = torch.tensor(rows, dtype=torch.float64).to(x.dtype)
        x = torch.matmul(x.movedim(axis, -1), matrix.transpose(0, 1)).movedim(-1, axis)
    return x


def native_group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, pixels: int, group: int,
    eps: float,
) -> Any:  # fmt: skip
    """`group_norm`, and the mean and 1 / √(var + eps) of each group."""
    groups = x.reshape(n, group, -1)
    mean = groups.mean(-1)
    apart = groups - mean.unsqueeze(-1)
    root = torch.rsqrt((apart * apart).mean(-1) + eps)
    return torch.nn.functional.group_norm(x, group, weight, bias, eps), mean, root


def native_layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Any:
    """`layer_norm`, and the mean and 1 / √(var + eps)."""
    axes = list(range(x.ndim - len(shape), x.ndim))
    mean = x.mean(axes, True)
    apart = x - mean
    root = torch.rsqrt((apart * apart).mean(axes, True) + eps)
    return torch.nn.functional.layer_norm(x, shape, weight, bias, eps), mean, root


def batch_statistics(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, running_mean: Any, running_var: Any,
    training: bool, momentum: float, eps: float,
) -> Any:  # fmt: skip
    """`native_batch_norm` by the mean and variance of the batch itself; the running ones follow."""
    if not training:
        return NotImplemented
    axes = [axis for axis in range(x.ndim) if axis != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    mean = x.mean(axes, True)
    apart = x - mean
    var = (apart * apart).mean(axes, True)
    root = torch.rsqrt(var + eps)
    y = apart * root
    y = y if weight is None else y * weight.reshape(shape)
    y = y if bias is None else y + bias.reshape(shape)
    mean, var, root = mean.reshape(-1), var.reshape(-1), root.reshape(-1)
    if running_mean is None or running_var is None:
        return y, mean, root
    count = x.numel() // x.shape[1]
    new_mean = running_mean * (1 - momentum) + mean * momentum
    new_var = running_var * (1 - momentum) + var * (momentum * count / max(count - 1, 1))
    return y, mean, root, new_mean, new_var


def addbmm(x: Tensor, first: Tensor, second: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · x + alpha · the sum of the products of a batch of matrices."""
    return beta * x + alpha * torch.matmul(first, second).sum(0)


def baddbmm(x: Tensor, first: Tensor, second: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Any:
    """beta · x + alpha · the products of two batches of matrices; without x where beta is 0."""
    product = torch.matmul(first, second)
    product = product if alpha == 1 else alpha * product
    if beta == 0:
        return product
    return (x if beta == 1 else beta * x) + product


def outer(x: Tensor, other: Tensor) -> Tensor:
    """All products of two."""
    return x.unsqueeze(1) * other.unsqueeze(0)


def moments(
    x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **more: Any
) -> Any:
    """`var_mean`."""
    return _moments(x, dim, unbiased, keepdim, **more)


def deviation(
    x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **more: Any
) -> Any:
    """`std_mean`."""
    var, mean = _moments(x, dim, unbiased, keepdim, **more)
    return torch.sqrt(var), mean


def variance(
    x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **more: Any
) -> Any:
    """`var`: Σ(x - mean)² / (n - correction)."""
    axes, correction = _statistic(x, dim, unbiased, **more)
    count = math.prod(x.shape[axis] for axis in axes)
    if count <= correction:
        return NotImplemented  # infinite, or no number
    apart = x - x.mean(axes, True)
    squares = (apart * apart).mean(axes, keepdim)
    return squares if not correction else squares * (count / (count - correction))


def standard_deviation(
    x: Tensor, dim: Any = None, unbiased: Any = None, keepdim: bool = False, **more: Any
) -> Any:
    """`std`, the root of `var`."""
    squares = variance(x, dim, unbiased, keepdim, **more)
    return squares if squares is NotImplemented else torch.sqrt(squares)


def _moments(x: Tensor, dim: Any, unbiased: Any, keepdim: bool, correction: Any = None) -> Any:
    axes, number = _statistic(x, dim, unbiased, correction)
    return torch.var(x, axes, correction=number, keepdim=keepdim), x.mean(axes, keepdim)


def _statistic(
    x: Tensor, dim: Any, unbiased: Any, correction: Any = None
) -> tuple[list[int], float]:
    """The axes of a variance or deviation, and what is subtracted from the number of elements."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    axes = [dim] if isinstance(dim, int) else list(dim or range(x.ndim))
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return axes, correction
