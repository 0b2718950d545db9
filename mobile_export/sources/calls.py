"""How a module is called with several inputs, keywords, dictionaries or lists of tensors.

What is exported takes one tensor for each input, in a flat row. `Called` puts them where the
module's forward wants them: images first in the row, then the others, as they were named. What
forward asks for and never looks at (the text of a CRNN that reads without it) is no input.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ..errors import SourceError, UsageError
from ..graph.capture import flatten_outputs
from ..graph.specs import DTYPES, InputSpec
from ..graph.values import zeros_of
from ..system.torch_private import TorchDispatchMode, tree_map
from .inputs import NamedInput, file_names, spec_of
from .plain import ScriptCall

__all__ = [
    "POSITIONAL",
    "Bound",
    "Called",
    "bind_example",
    "bind_named",
    "signature_of",
    "without_ignored",
]

_KEYWORD = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_DEEPEST = 8


@dataclass(frozen=True)
class _Slot:
    """Stands in a call for the tensor at ``place`` of the row."""

    place: int


@dataclass(frozen=True)
class Bound:
    """A module that takes a row of tensors.

    Attributes:
        inputs: one for each tensor of the row.
        example: values of them, or None.
    """

    module: Called
    inputs: tuple[InputSpec, ...]
    example: tuple[torch.Tensor, ...] | None = None


class Called(nn.Module):
    """Calls a module with tensors of a row in the places of its slots."""

    def __init__(
        self, module: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self.module = module
        self._args, self._kwargs = list(args), dict(kwargs)

    def forward(self, *tensors: torch.Tensor) -> Any:
        """What the module returns."""

        def tensor(slot: _Slot) -> torch.Tensor:
            return tensors[slot.place]

        args, kwargs = _mapped(self._args, tensor), _mapped(self._kwargs, tensor)
        return self.module(*args, **kwargs)

    def with_slots(self, function: Callable[[_Slot], Any]) -> Called:
        """The same call with what ``function`` makes of each slot in it."""
        args, kwargs = _mapped(self._args, function), _mapped(self._kwargs, function)
        return Called(self.module, args, kwargs)


class _Seen(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that keeps which of some tensors operators are given."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._places = {id(tensor): place for place, tensor in enumerate(tensors)}
        self.places: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        self.look((args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def look(self, values: Any) -> None:
        """Keep those that are in ``values``."""
        tree_map(self._keep, values)

    def _keep(self, value: Any) -> None:
        if id(value) in self._places:
            self.places.add(self._places[id(value)])


def without_ignored(bound: Bound, notes: list[str]) -> Bound:
    """``bound`` without the inputs that no operator of forward is given, and no output is; noted.

    Zeros stand in their places. A module that fails is left as it is: capture says what of it.
    """
    given = bound.example or zeros_of(bound.inputs)
    try:
        with torch.no_grad(), _Seen(given) as seen:
            result = bound.module(*given)
        seen.look(flatten_outputs(result)[1])
    except Exception:  # noqa: BLE001 (whatever the user's code raises, capture calls it again)
        return bound
    kept = sorted(seen.places)
    ignored = [each.name for i, each in enumerate(bound.inputs) if i not in seen.places]
    if not kept or not ignored:
        return bound

    def moved(slot: _Slot) -> Any:
        place = slot.place
        return _Slot(kept.index(place)) if place in kept else torch.zeros_like(given[place])

    notes.append(f"Its forward never looks at {', '.join(ignored)}: no input of the file.")
    return Bound(
        bound.module.with_slots(moved),
        tuple(bound.inputs[place] for place in kept),
        None if bound.example is None else tuple(bound.example[place] for place in kept),
    )


def _mapped(value: Any, function: Callable[[_Slot], Any]) -> Any:
    """``value`` with what ``function`` makes of each slot in it."""
    if isinstance(value, _Slot):
        return function(value)
    if isinstance(value, dict):
        return {key: _mapped(item, function) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [_mapped(item, function) for item in value]
        return items if isinstance(value, list) else _tuple_like(value, items)
    return value


def _tuple_like(value: Any, items: list[Any]) -> Any:
    """A tuple, or the named tuple that ``value`` is."""
    return type(value)(*items) if hasattr(value, "_fields") else tuple(items)


def signature_of(module: nn.Module) -> inspect.Signature | None:
    """Of forward; None where Python does not know."""
    if isinstance(module, ScriptCall):
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Signature(
            [inspect.Parameter(name, kind) for name in module.parameters_of_forward]
        )
    try:
        return inspect.signature(module.forward)
    except (TypeError, ValueError):
        return None


def bind_named(
    module: nn.Module,
    spec: str,
    named: Sequence[NamedInput],
    mean: Sequence[float],
    std: Sequence[float],
) -> Bound:
    """``module`` for the inputs that the user named.

    Raises:
        UsageError: forward has no such parameter, or needs one more.
    """
    signature = signature_of(module)
    order = _images_first([spec_of(each.name, each.shape, each.dtype, mean, std) for each in named])
    places = {named[index].name: place for place, (index, _) in enumerate(order)}
    tree: dict[str, Any] = {}
    for each in named:
        _put(tree, each.name.split("."), _Slot(places[each.name]), each.name)
    values = {name: _with_lists(value) for name, value in tree.items()}
    args, kwargs = _arguments(module, spec, signature, values)
    return Bound(Called(module, args, kwargs), _with_file_names([each for _, each in order]))


def bind_example(
    module: nn.Module, spec: str, example: Any, mean: Sequence[float], std: Sequence[float]
) -> Bound:
    """``module`` for inputs of which the user gave an example: a tensor, a tuple of what forward
    takes by position, a mapping of what it takes by name, or both in a pair, as for torch.export.

    Raises:
        SourceError: there is no tensor in it, or one that cannot be an input.
    """
    signature = signature_of(module)
    parameters = [] if signature is None else list(signature.parameters.values())
    names = [each.name for each in parameters]
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    keywords = any(each.kind is each.VAR_KEYWORD for each in parameters)
    if isinstance(example, Mapping) and (keywords or set(example) <= set(names)):
        kwargs = dict(example)
    elif _is_call(example, names):
        args, kwargs = list(example[0]), dict(example[1])
    else:
        args = list(example) if isinstance(example, tuple) else [example]
    found: list[tuple[str, torch.Tensor]] = []
    by_place = [
        _slots(value, names[i] if i < len(names) else f"input_{i}", found)
        for i, value in enumerate(args)
    ]
    by_name = {name: _slots(value, str(name), found) for name, value in kwargs.items()}
    if not found:
        raise SourceError(
            f"The example inputs of {spec} hold no tensor.",
            hint="Give a tensor, a tuple of them in the order of forward, or a dict by name.",
        )
    specs = [
        spec_of(name, tuple(value.shape), _dtype(spec, name, value), mean, std)
        for name, value in found
    ]
    order = _images_first(specs)
    new = {old: place for place, (old, _) in enumerate(order)}

    def moved(slot: _Slot) -> _Slot:
        return _Slot(new[slot.place])

    example_row = tuple(found[index][1].detach().cpu() for index, _ in order)
    made = Called(module, _mapped(by_place, moved), _mapped(by_name, moved))
    return Bound(made, _with_file_names([each for _, each in order]), example_row)


def _is_call(example: Any, names: Sequence[str]) -> bool:
    """Whether an example is a pair of positional arguments and keywords, and not two arguments.

    The keywords are then names of parameters, of those behind the positional ones.
    """
    if not (isinstance(example, tuple) and len(example) == 2):
        return False
    args, kwargs = example
    return (
        isinstance(args, tuple)
        and isinstance(kwargs, Mapping)
        and set(kwargs) <= set(names[len(args) :])
    )


def _images_first(specs: Sequence[InputSpec]) -> list[tuple[int, InputSpec]]:
    """With their places so far."""
    return sorted(enumerate(specs), key=lambda each: each[1].role != "image")


def _with_file_names(specs: Sequence[InputSpec]) -> tuple[InputSpec, ...]:
    names = file_names([each.name for each in specs])
    return tuple(replace(each, name=name) for each, name in zip(specs, names, strict=True))


def _dtype(spec: str, name: str, value: torch.Tensor) -> str:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SourceError(
            f"The example input {name} of {spec} has the dtype {dtype}.",
            hint=f"Valid are {', '.join(DTYPES)}.",
        )
    if not value.numel():
        raise SourceError(f"The example input {name} of {spec} has no elements.")
    return dtype


def _slots(value: Any, name: str, found: list[tuple[str, torch.Tensor]], depth: int = 0) -> Any:
    """``value`` with slots for its tensors, which are put into ``found`` with their names."""
    if isinstance(value, torch.Tensor):
        found.append((name, value))
        return _Slot(len(found) - 1)
    if depth > _DEEPEST:
        raise SourceError("The example inputs hold containers too deep inside each other.")
    if isinstance(value, Mapping):
        return {k: _slots(v, f"{name}.{k}", found, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        items = [_slots(v, f"{name}.{i}", found, depth + 1) for i, v in enumerate(value)]
        return items if isinstance(value, list) else _tuple_like(value, items)
    return value


def _put(tree: dict[str, Any], path: Sequence[str], slot: _Slot, name: str) -> None:
    *before, last = path
    for key in before:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            break
    if not isinstance(tree, dict) or last in tree:
        raise UsageError(f"`input` {name} is inside another input, or holds one.")
    tree[last] = slot


def _with_lists(value: Any) -> Any:
    """Keys 0, 1, 2, … are the places of a list."""
    if not isinstance(value, dict):
        return value
    items = {key: _with_lists(item) for key, item in value.items()}
    places = [str(place) for place in range(len(items))]
    return [items[place] for place in places] if set(places) == set(items) else items


def _arguments(
    module: nn.Module, spec: str, signature: inspect.Signature | None, values: dict[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """What forward is called with, by place and by name."""
    if signature is None:
        return list(values.values()), {}
    parameters = signature.parameters
    args: list[Any] = []
    left = dict(values)
    for each in parameters.values():
        if each.kind is each.POSITIONAL_ONLY and each.name in left:
            args.append(left.pop(each.name))
        elif each.kind is each.VAR_POSITIONAL and isinstance(left.get(each.name), list):
            for other in parameters.values():
                if other.kind in POSITIONAL and other.name in left:
                    args.append(left.pop(other.name))
            args += left.pop(each.name)
    any_name = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    unknown = [n for n in left if n not in parameters or parameters[n].kind not in _KEYWORD]
    missing = [
        each.name
        for each in parameters.values()
        if each.default is each.empty
        and each.kind in (*POSITIONAL, each.KEYWORD_ONLY)
        and each.name not in values
    ]
    takes = f"forward of {type(module).__name__} ({spec}) is {_shown(signature)}"
    if unknown and not any_name:
        raise UsageError(
            f"`input` names {', '.join(unknown)}; {takes}.",
            hint="Name the parameters; NAME.KEY is an item of a dictionary, NAME.0 of a list.",
        )
    if missing:
        raise UsageError(
            f"`input` does not name {', '.join(missing)}; {takes}.",
            hint="Give `input` for each parameter without a default.",
        )
    return args, left


def _shown(signature: inspect.Signature) -> str:
    names = []
    for each in signature.parameters.values():
        stars = "*" if each.kind is each.VAR_POSITIONAL else ""
        stars = "**" if each.kind is each.VAR_KEYWORD else stars
        names.append(stars + each.name + ("" if each.default is each.empty else "=…"))
    return f"({', '.join(names)})"
