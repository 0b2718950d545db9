"""How the inputs and outputs of a saved program are nested, and inputs that fit.

A file says it in JSON that names types. Only tuples, lists and dictionaries are taken; an object
that is nested so is made and given to PyTorch, which never sees the text.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export.exported_program import ModuleCallEntry, ModuleCallSignature
from torch.utils import _pytree as pytree

from . import schema
from .archive import unsafe
from .names import python_name

__all__ = ["example_inputs", "module_calls"]

MAX_INPUT = 2**28
"""Elements of one input: 1 GiB in float32"""

MAX_DEPTH = 64

_CONTAINERS: dict[str, type] = {
    "builtins.tuple": tuple,
    "builtins.list": list,
    "builtins.dict": dict,
    "collections.OrderedDict": OrderedDict,
}


def module_calls(
    entries: Sequence[schema.ModuleCallEntry], inputs: int, outputs: int, name: str
) -> list[ModuleCallEntry]:
    """The calls of modules in a program; the first has the nesting of its inputs and outputs.

    Args:
        inputs, outputs: how many values the user gives and gets.
        name: of the file, for messages.

    Raises:
        SourceError: a container is of a type that is not taken.
        ValueError: the nesting is not that of so many values, or is missing.
    """
    calls = []
    for entry in entries:
        signature = None
        if entry.fqn == "" and entry.signature is not None:
            signature = _signature(entry.signature, inputs, outputs, name)
        calls.append(ModuleCallEntry(entry.fqn, signature))
    if not any(call.fqn == "" and call.signature for call in calls):
        raise ValueError("it does not say how its inputs and outputs are nested")
    return calls


def _signature(
    source: schema.ModuleCallSignature, inputs: int, outputs: int, name: str
) -> ModuleCallSignature:
    taken, given = _tree(source.in_spec, name), _tree(source.out_spec, name)
    if taken.num_leaves != inputs or given.num_leaves != outputs:
        raise ValueError("its inputs or outputs are more or fewer than their nesting says")
    names = source.forward_arg_names
    if names is not None and any(python_name(item) != item for item in names):
        names = None
    return ModuleCallSignature([], [], taken, given, list(names) if names else None)


def _tree(text: str, name: str) -> pytree.TreeSpec:
    version, tree = schema.decode(text, tuple[int, schema.Tree])
    if version != 1:
        raise ValueError(f"its nesting is of version {version}")
    return pytree.tree_structure(_nested(tree, name, 0))


def _nested(tree: schema.Tree, name: str, depth: int) -> Any:
    """An object that is nested as a tree says, with 0 for every leaf."""
    if depth > MAX_DEPTH:
        raise ValueError("its inputs or outputs are nested too deeply")
    if tree.type is None:
        return 0
    container = _CONTAINERS.get(tree.type)
    if container is None:
        raise unsafe(name, f"its inputs or outputs hold a {tree.type[:80]!r}")
    items = [_nested(child, name, depth + 1) for child in tree.children_spec]
    if container in (tuple, list):
        return tuple(items) if container is tuple else items
    keys = schema.decode(tree.context or "[]", list[str | int])
    if len(keys) != len(set(keys)) or len(keys) != len(items):
        raise ValueError("a dictionary of its inputs or outputs has other keys than items")
    return container(zip(keys, items, strict=True))


def example_inputs(
    calls: Sequence[ModuleCallEntry], values: Sequence[Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword inputs of zeros, nested as the program takes them.

    Args:
        values: of the inputs as they are declared: fake tensors and constants.

    Raises:
        ValueError: an input is larger than `MAX_INPUT`, or they are not nested as arguments are.
    """
    spec = next(call.signature.in_spec for call in calls if call.fqn == "" and call.signature)
    leaves = []
    for value in values:
        if isinstance(value, Tensor):
            if value.numel() > MAX_INPUT:
                raise ValueError(f"its input has the shape {list(value.shape)}")
            value = torch.zeros(tuple(value.shape), dtype=value.dtype)
        leaves.append(value)
    nested = pytree.tree_unflatten(leaves, spec)
    if not isinstance(nested, tuple) or len(nested) != 2:
        raise ValueError("its inputs are not nested as arguments are")
    args, kwargs = nested
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise ValueError("its inputs are not nested as arguments are")
    if not all(isinstance(key, str) and python_name(key) == key for key in kwargs):
        raise ValueError("the names of its inputs are no names")
    return args, kwargs
