"""Values of arguments in a saved program: numbers, dtypes, and tensors by the name of a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from ...errors import SourceError
from . import schema
from .archive import STRIDED, damaged, dtype_of, static, unsafe

__all__ = ["CONSTANTS", "plain_value", "refused", "value_of"]

CONSTANTS = ("as_none", "as_int", "as_float", "as_bool", "as_string")

_SYMBOLIC = ("as_sym_int", "as_sym_ints", "as_sym_bool", "as_sym_bools", "as_sym_float")
_OBJECTS = ("as_custom_obj", "as_opaque_obj", "custom_obj", "token")
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}


def value_of(
    argument: schema.Argument, node: Callable[[schema.TensorArgument], Node], name: str
) -> Any:
    """What an argument stands for; tensors are nodes, and lists are lists.

    Args:
        node: finds the node that computes a value.
        name: of the file, for messages.

    Raises:
        SourceError: it is symbolic, an object, a graph, or on another device than the CPU.
        ValueError: it has no value, or several.
    """
    kind, value = schema.only(argument)
    if kind in CONSTANTS:
        return plain_value(argument, name)
    if kind == "as_tensor":
        return node(value)
    if kind == "as_tensors":
        return [node(item) for item in value]
    if kind == "as_optional_tensors":
        pairs = [schema.only(item) for item in value]
        return [None if label == "as_none" else node(item) for label, item in pairs]
    if kind in ("as_ints", "as_bools"):
        return list(value)
    if kind == "as_floats":
        return [float(item) for item in value]
    if kind == "as_complex":
        return complex(float(value.real), float(value.imag))
    if kind == "as_scalar_type":
        meta = schema.TensorMeta(
            value, [], False, schema.Device("cpu"), [], schema.SymInt(0), STRIDED
        )
        return dtype_of(meta, name)
    if kind == "as_memory_format" and value in _MEMORY_FORMATS:
        return _MEMORY_FORMATS[value]
    if kind in ("as_layout", "as_device"):
        return _place(kind, value, name)
    raise refused(kind, name)


def plain_value(value: schema.Argument | schema.Constant, name: str) -> Any:
    """A number, a text or None.

    Raises:
        SourceError, ValueError: as `value_of` does; it is of any other kind.
    """
    kind, content = schema.only(value)
    if kind not in CONSTANTS:
        raise refused(kind, name)
    return None if kind == "as_none" else float(content) if kind == "as_float" else content


def _place(kind: str, value: Any, name: str) -> torch.device | torch.layout:
    if kind == "as_device" and value.type == "cpu" and value.index in (None, 0):
        return torch.device("cpu")
    if kind == "as_layout" and value == STRIDED:
        return torch.strided
    where = f"the device {value.type[:20]!r}" if kind == "as_device" else "a sparse layout"
    raise SourceError(
        f"{name} names {where}.", hint="Export the model on the CPU, with dense tensors."
    )


def refused(kind: str, name: str) -> SourceError:
    """The error of an argument, input or output of a kind that no static program has."""
    if kind in _SYMBOLIC:
        return static(name, "symbolic sizes")
    if kind in _OBJECTS:
        return unsafe(name, "it holds a custom object")
    if kind == "as_graph":
        return SourceError(
            f"{name} was not loaded: it holds a graph inside its graph (torch.cond, or a block "
            "under autocast or grad mode).",
            hint="If program.run_decompositions() removes it, save that.",
        )
    return damaged(name, f"a value is of the kind {kind!r}")
