"""The table of operations: MIL op type → the PyTorch function that computes it.

An operation is one function, decorated with its MIL name, whose parameters have the names and the
defaults of the MIL op reference and say by their annotation what they want::

    @op("softmax")
    def softmax(x: Tensor, axis: int = -1) -> Tensor: ...

``Tensor`` parameters arrive as float32, int32 (int64 for 64-bit and uint32) or bool tensors;
``int``, ``float``, ``bool``, ``str`` and the tuples ``Ints``, ``Bools`` and ``Tensors`` as what
they say; and a parameter called ``site`` as the place of the call. A float16 value arrives as
float32 that holds float16 values exactly; the result is rounded by the program, not by the
operation.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from .text import TensorType

__all__ = ["OPS", "Bools", "Ints", "Labels", "Op", "Site", "Tensor", "Tensors", "Value", "op"]

Tensor = torch.Tensor
Ints = tuple[int, ...]
Bools = tuple[bool, ...]
Tensors = tuple[torch.Tensor, ...]
Labels = list[str | int]
Value = torch.Tensor | str | list[Any]


@dataclass(frozen=True)
class Site:
    """Where an operation stands: for the few that depend on the opset or on the declared output."""

    opset: str
    name: str
    outputs: tuple[TensorType, ...]

    @property
    def ios(self) -> int:
        """The iOS release of the opset: "CoreML5" came with iOS 15."""
        digits = self.opset.removeprefix("CoreML")
        return int(digits) + 10 if digits.isdigit() else 15


@dataclass(frozen=True)
class Op:
    """One implementation: the function and how to turn bound values into its arguments.

    Attributes:
        unsettled: given the function's arguments, what sources differ on in such a call, or None.
    """

    type: str
    function: Callable[..., Any]
    converters: dict[str, Callable[[list[Value]], Any]]
    wants_site: bool
    unsettled: Callable[..., str | None] | None = None


OPS: dict[str, Op] = {}

_F = TypeVar("_F", bound=Callable[..., Any])


def op(*names: str, unsettled: Callable[..., str | None] | None = None) -> Callable[[_F], _F]:
    """Register a function as the implementation of one or more MIL op types.

    Args:
        unsettled: see `Op`; it takes the same arguments as the function.
    """

    def register(function: _F) -> _F:
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters
        converters = {key: _converter(hints[key]) for key in parameters if key != "site"}
        for name in names:
            if name in OPS:
                raise ValueError(f"op {name!r} is registered twice")
            OPS[name] = Op(name, function, converters, "site" in parameters, unsettled)
        return function

    return register


def _converter(hint: Any) -> Callable[[list[Value]], Any]:
    """The function that turns the values bound to a parameter into what its annotation asks for."""
    if isinstance(hint, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not types.NoneType]
        if len(members) == 1:
            return _converter(members[0])
    for annotation, convert in _CONVERTERS:
        if hint == annotation:
            return convert
    raise TypeError(f"an operation's parameter cannot be annotated {hint!r}")


def _tensor(values: list[Value]) -> Tensor:
    (value,) = values
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"a tensor was expected, got {value!r}")
    return value


def _tensors(values: list[Value]) -> Tensors:
    return tuple(_tensor([value]) for value in values)


def _flat(values: list[Value]) -> list[Any]:
    return [item for value in values for item in _tensor([value]).flatten().tolist()]


def _scalar(values: list[Value]) -> Any:
    return _tensor(values).item()


def _text(values: list[Value]) -> str:
    (value,) = values
    if not isinstance(value, str):
        raise TypeError(f"a string was expected, got {value!r}")
    return value


def _labels(values: list[Value]) -> Labels:
    (value,) = values
    if not isinstance(value, list):
        raise TypeError(f"a list was expected, got {value!r}")
    return [item if isinstance(item, str) else int(item) for item in value]


_CONVERTERS: list[tuple[Any, Callable[[list[Value]], Any]]] = [
    (Tensor, _tensor),
    (Tensors, _tensors),
    (Ints, lambda values: tuple(int(v) for v in _flat(values))),
    (Bools, lambda values: tuple(bool(v) for v in _flat(values))),
    (int, lambda values: int(_scalar(values))),
    (float, lambda values: float(_scalar(values))),
    (bool, lambda values: bool(_scalar(values))),
    (str, _text),
    (Labels, _labels),
]
