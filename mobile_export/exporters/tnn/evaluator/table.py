"""The table of layers: TNN layer type → the PyTorch function that computes it.

A layer is one function, decorated with its type. It takes the layer's blobs, and by name what else
it asks for::

    @layer("Softmax")
    def softmax(x: Tensor, *, params: Params) -> Tensor: ...

``params`` are the numbers behind the names in the text, to be read in the order of TNN's
interpreter; ``weights`` the layer's arrays by field; ``outputs`` how many blobs it has to make;
``scale`` what an integer of its result counts. A function returns one tensor, or a tuple where a
layer makes several blobs. Blobs are float32, or integers where TNN has integers: a layer whose type
begins with ``Quantized`` takes and gives integers of 8 bits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from .proto import FormatError

__all__ = ["LAYERS", "LayerFunction", "Params", "Tensor", "Weights", "layer"]

Tensor = torch.Tensor
Weights = Mapping[str, torch.Tensor]


class Params:
    """The parameters of one layer, read front to back; missing ones have TNN's defaults."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = list(words)

    def integer(self, default: int | None = None) -> int:
        """The next number as TNN's ``atoi`` reads it."""
        return int(self._next(default))

    def number(self, default: float | None = None) -> float:
        """The next number, as float32."""
        return self._next(default)

    def integers(self, count: int, default: int | None = None) -> tuple[int, ...]:
        """The next ``count`` numbers."""
        return tuple(self.integer(default) for _ in range(count))

    def pair(self, default: int | None = None) -> tuple[int, int]:
        """The next two numbers: rows, then columns."""
        return self.integer(default), self.integer(default)

    def counted(self) -> tuple[int, ...]:
        """A count, and so many numbers."""
        return self.integers(self.integer())

    def rest(self) -> tuple[int, ...]:
        """All numbers that are left."""
        return self.integers(len(self._words))

    def _next(self, default: float | None) -> float:
        if not self._words:
            if default is None:
                raise FormatError("parameters are missing")
            return default
        word = self._words.pop(0)
        try:
            return float(np.float32(word))
        except ValueError:
            raise FormatError(f"{word!r} stands where a number has to") from None


@dataclass(frozen=True)
class LayerFunction:
    """One implementation, and which keyword arguments it asks for."""

    function: Callable[..., Any]
    wants: frozenset[str]

    def __call__(self, inputs: list[Tensor], **offered: Any) -> tuple[Tensor, ...]:
        """The layer's outputs."""
        chosen = {key: value for key, value in offered.items() if key in self.wants}
        result = self.function(*inputs, **chosen)
        return result if isinstance(result, tuple) else (result,)


LAYERS: dict[str, LayerFunction] = {}

_F = TypeVar("_F", bound=Callable[..., Any])


def layer(*types: str) -> Callable[[_F], _F]:
    """Register a function as the implementation of one or more layer types."""

    def register(function: _F) -> _F:
        parameters = inspect.signature(function).parameters.values()
        wants = frozenset(item.name for item in parameters if item.kind is item.KEYWORD_ONLY)
        for type_ in types:
            if type_ in LAYERS:
                raise ValueError(f"layer {type_!r} is registered twice")
            LAYERS[type_] = LayerFunction(function, wants)
        return function

    return register
