"""Sorting by ranks, and scans: plain PyTorch of the operators' own schemas.

The rank of an element is the number of elements that come before it; with it, sorting is a choice
without a loop. It costs n² comparisons, so it is for axes of `LARGEST` elements at most.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .sums import along

__all__ = [
    "LARGEST",
    "argsort",
    "bucketize",
    "cummax",
    "cummin",
    "cumprod",
    "kthvalue",
    "logcumsumexp",
    "median",
    "median_of_all",
    "mode",
    "msort",
    "quantile",
    "searchsorted",
    "sort",
    "topk",
]

LARGEST = 1 << 18
"""Comparisons of one call."""


def _is_left(x: Tensor, dim: int) -> bool:
    """Whether `sort` itself has to order ``dim``: it is too long, or holds no floats."""
    return not x.ndim or not x.is_floating_point() or x.numel() * x.shape[dim] > LARGEST


def _chosen(x: Tensor, dim: int, wanted: list[int], descending: bool = False) -> Any:
    """The elements of ``wanted`` ranks along ``dim``, and their indices; equal ones in order.

    `sort` itself where the axis is too long.
    """
    dim = dim % x.ndim if x.ndim else 0
    size = x.shape[dim] if x.ndim else 1
    if _is_left(x, dim):
        values, indices = torch.sort(x, dim, descending)
        if not x.ndim or wanted == list(range(size)):
            return values, indices
        chosen = torch.tensor(wanted)
        return torch.index_select(values, dim, chosen), torch.index_select(indices, dim, chosen)
    line = x.movedim(dim, -1).reshape(-1, size)
    mine, theirs = line.unsqueeze(2), line.unsqueeze(1)
    before = theirs > mine if descending else theirs < mine
    index = torch.arange(size, dtype=x.dtype)
    earlier = index.unsqueeze(0) < index.unsqueeze(1)
    tied = torch.logical_and(theirs == mine, earlier)
    ones = torch.ones_like(mine)
    taken = torch.where(torch.logical_or(before, tied), ones, torch.zeros_like(mine))
    rank = taken.sum(-1)
    slots = torch.tensor([float(k) for k in wanted]).to(x.dtype)
    here = rank.unsqueeze(1) == slots.reshape(1, -1, 1)
    zeros = torch.zeros_like(line).unsqueeze(1)
    values = torch.where(here, line.unsqueeze(1), zeros).sum(-1)
    indices = torch.where(here, index.reshape(1, 1, -1), zeros).sum(-1)
    shape = [*(n for axis, n in enumerate(x.shape) if axis != dim), len(wanted)]
    values, indices = (t.reshape(shape).movedim(-1, dim) for t in (values, indices))
    return values, indices.to(torch.int64)


def sort(x: Tensor, dim: int = -1, descending: bool = False, *, stable: bool | None = None) -> Any:
    """All ranks in order."""
    if _is_left(x, dim):
        return NotImplemented
    return _chosen(x, dim, list(range(x.shape[dim])), descending)


def topk(x: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    """The first ``k`` ranks."""
    if _is_left(x, dim):
        return NotImplemented
    return _chosen(x, dim, list(range(k)), largest)


def argsort(x: Tensor, dim: int = -1, descending: bool = False, **_: Any) -> Any:
    """The indices of `sort`."""
    return _chosen(x, dim, list(range(x.shape[dim] if x.ndim else 1)), descending)[1]


def msort(x: Tensor) -> Any:
    """The values of `sort` along the first axis."""
    return _chosen(x, 0, list(range(x.shape[0] if x.ndim else 1)))[0]


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """The rank ``k``, counted from 1."""
    result = _chosen(x, dim, [k - 1])
    if keepdim or not x.ndim:
        return result
    return tuple(part.squeeze(dim) for part in result)


def median(x: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The lower one of the middle."""
    return kthvalue(x, ((x.shape[dim] if x.ndim else 1) + 1) // 2, dim, keepdim)


def median_of_all(x: Tensor) -> Any:
    """The lower one of the middle of all elements."""
    return median(x.reshape(-1))[0]


def quantile(
    x: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear",
) -> Any:  # fmt: skip
    """Between the two ranks around q · (n - 1)."""
    if isinstance(q, Tensor):
        return NotImplemented
    line = x.reshape(-1) if dim is None else x
    axis = -1 if dim is None else dim
    place = q * (line.shape[axis] - 1)
    low = int(place)
    share = {"lower": 0.0, "higher": float(place > low), "midpoint": 0.5 * (place > low)}
    weight = share.get(interpolation, float(round(place) - low))
    if interpolation == "linear":
        weight = place - low
    values, _ = _chosen(line, axis, [low, min(low + 1, line.shape[axis] - 1)])
    first, second = torch.split(values, 1, axis)
    between = first + (second - first) * weight
    if dim is None:
        return between.reshape([1] * x.ndim if keepdim else [])
    return between if keepdim else between.squeeze(axis)


def mode(x: Tensor, dim: int = -1, keepdim: bool = False) -> Any:
    """The smallest of the elements that occur most often, and where it stands last."""
    if not x.ndim or x.numel() * x.shape[dim] > LARGEST:
        return NotImplemented
    line = x.movedim(dim, -1)
    equal = line.unsqueeze(-1) == line.unsqueeze(-2)
    count = torch.where(
        equal, torch.ones_like(equal, dtype=x.dtype), torch.zeros((), dtype=x.dtype)
    )
    count = count.sum(-1)
    often = count == count.amax(-1, True)
    largest = line.amax(-1, True)
    value = torch.where(often, line, largest).amin(-1, True)
    index = torch.arange(line.shape[-1], dtype=x.dtype)
    last = torch.where(line == value, index, -torch.ones_like(index)).amax(-1, True)
    both = (value.movedim(-1, dim), last.movedim(-1, dim).to(torch.int64))
    return both if keepdim else tuple(part.squeeze(dim) for part in both)


# Scans ------------------------------------------------------------------------------------------


def _scan(x: Tensor, dim: int, join: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """All beginnings of ``dim`` joined, by doubling (Hillis and Steele 1986): log2(n) steps."""
    dim %= x.ndim
    size, step = x.shape[dim], 1
    while step < size:
        joined = join(x.narrow(dim, 0, size - step), x.narrow(dim, step, size - step))
        x = torch.cat([x.narrow(dim, 0, step), joined], dim)
        step *= 2
    return x


def cumprod(x: Tensor, dim: int, *, dtype: torch.dtype | None = None) -> Any:
    """The products of all beginnings."""
    if not x.ndim or dtype not in (None, x.dtype):
        return NotImplemented
    return _scan(x, dim, torch.mul)


def logcumsumexp(x: Tensor, dim: int) -> Any:
    """log of the sums of exponentials of all beginnings, less the largest of all."""
    if not x.ndim:
        return x
    largest = x.amax(dim, True)
    return torch.log(torch.cumsum(torch.exp(x - largest), dim)) + largest


def cummax(x: Tensor, dim: int) -> Any:
    """The largest of each beginning, and where it stands last."""
    if not x.ndim or not x.is_floating_point():
        return NotImplemented
    values = _scan(x, dim, torch.maximum)
    return values, _last_place(x, values, dim)


def cummin(x: Tensor, dim: int) -> Any:
    """The smallest of each beginning, and where it stands last."""
    if not x.ndim or not x.is_floating_point():
        return NotImplemented
    values = _scan(x, dim, torch.minimum)
    return values, _last_place(x, values, dim)


def _last_place(x: Tensor, values: Tensor, dim: int) -> Tensor:
    index = along(torch.arange(x.shape[dim], dtype=x.dtype), x, dim)
    here = torch.where(x == values, index, torch.zeros_like(x))
    return _scan(here, dim, torch.maximum).to(torch.int64)


def bucketize(x: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Any:
    """How many of the boundaries are below x, or not above it with ``right``."""
    if not isinstance(x, Tensor) or boundaries.numel() * x.numel() > LARGEST:
        return NotImplemented
    return _count_below(boundaries, x, right, out_int32)


def _count_below(boundaries: Tensor, x: Tensor, right: bool, out_int32: bool) -> Tensor:
    """How many of the last axis of ``boundaries`` are below each x; its other axes broadcast."""
    mine = x.unsqueeze(-1)
    below = boundaries <= mine if right else boundaries < mine
    count = torch.where(below, torch.ones_like(mine), torch.zeros_like(mine)).sum(-1)
    return count.to(torch.int32 if out_int32 else torch.int64)


def searchsorted(
    sequence: Tensor, x: Tensor, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Tensor | None = None,
) -> Any:  # fmt: skip
    """`bucketize` by rows of boundaries."""
    if sorter is not None or not x.ndim or sequence.shape[-1] * x.numel() > LARGEST:
        return NotImplemented
    return _count_below(sequence.unsqueeze(-2), x, right or side == "right", out_int32)
