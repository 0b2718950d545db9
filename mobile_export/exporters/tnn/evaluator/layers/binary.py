"""Layers of two operands, one of which may be among the layer's weights."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch

from ..table import Params, Tensor, Weights, layer

__all__: list[str] = []

_FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "Sub": torch.sub,
    "Mul": torch.mul,
    "Div": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "SquaredDifference": lambda a, b: (a - b).square(),
}


def _register(type_: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
    @layer(type_)
    def binary(*inputs: Tensor, params: Params, weights: Weights) -> Tensor:
        operands = list(inputs)
        if "element" in weights:
            operands.insert(params.integer(1), weights["element"])
        elif len(operands) == 1:
            operands *= 2
        return functools.reduce(function, operands)


for _type, _function in _FUNCTIONS.items():
    _register(_type, _function)
