"""MIL op reference: reduction. ``axes`` left out means all of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..table import Ints, Tensor, op
from .elementwise import convert

__all__: list[str] = []

_Reduce = Callable[[Tensor, Ints, bool], Tensor]


def _sum(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    # Without axes torch would reduce all of them.
    return torch.sum(x, axes, keepdim=keep) if axes else x


def _prod(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _mean(x: Tensor, axes: Ints, keep: bool) -> Tensor:
    return torch.mean(x.to(torch.float32), axes, keepdim=keep) if axes else x


_REDUCTIONS: dict[str, _Reduce] = {
    "reduce_l1_norm": lambda x, axes, keep: _sum(x.abs(), axes, keep),
    "reduce_l2_norm": lambda x, axes, keep: torch.sqrt(_sum(x * x, axes, keep)),
    "reduce_log_sum": lambda x, axes, keep: torch.log(_sum(x, axes, keep)),
    "reduce_log_sum_exp": lambda x, axes, keep: torch.logsumexp(x.float(), axes, keepdim=keep),
    "reduce_max": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep) if axes else x,
    "reduce_mean": _mean,
    "reduce_min": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep) if axes else x,
    "reduce_prod": _prod,
    "reduce_sum": _sum,
    "reduce_sum_square": lambda x, axes, keep: _sum(x * x, axes, keep),
}


def _register(name: str, function: _Reduce) -> None:
    @op(name)
    def reduce(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        return function(x, tuple(range(x.dim())) if axes is None else axes, keep_dims)


for _name, _function in _REDUCTIONS.items():
    _register(_name, _function)


@op("reduce_argmax")
def reduce_argmax(
    x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> Tensor:
    """The index of the largest value; the first one of several."""
    return convert(_first(x == torch.amax(x, axis, keepdim=True), axis, keep_dims), output_dtype)


@op("reduce_argmin")
def reduce_argmin(
    x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32"
) -> Tensor:
    """The index of the smallest value; the first one of several."""
    return convert(_first(x == torch.amin(x, axis, keepdim=True), axis, keep_dims), output_dtype)


def _first(mask: Tensor, axis: int, keep_dims: bool) -> Tensor:
    # torch.argmax does not promise which of several equal values it finds.
    order = torch.arange(mask.shape[axis], 0, -1, dtype=torch.int32)
    shape = [1] * mask.dim()
    shape[axis] = -1
    return torch.argmax(mask.to(torch.int32) * order.reshape(shape), axis, keepdim=keep_dims)
