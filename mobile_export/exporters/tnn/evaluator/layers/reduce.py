"""Reductions."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..table import Params, Tensor, layer

__all__: list[str] = []

_FUNCTIONS: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "ReduceProd": lambda x, axes, keep: _product(x, axes, keep),
}


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted((axis % x.ndim for axis in axes), reverse=True):
        x = x.prod(axis, keepdim=keep)
    return x


def _register(type_: str, function: Callable[[Tensor, list[int], bool], Tensor]) -> None:
    @layer(type_)
    def reduction(x: Tensor, *, params: Params) -> Tensor:
        """Over the axes that are listed, or all."""
        keep = bool(params.integer())
        return function(x, list(params.rest()) or list(range(x.ndim)), keep)


for _type, _function in _FUNCTIONS.items():
    _register(_type, _function)


@layer("ArgMaxOrMin")
def arg_max_or_min(x: Tensor, *, params: Params) -> Tensor:
    """Index of the first smallest (mode 0) or largest element."""
    mode, axis, keep = params.integer(), params.integer(), bool(params.integer(1))
    found = torch.argmax(x, axis, keep) if mode else torch.argmin(x, axis, keep)
    return found.to(torch.int32)
