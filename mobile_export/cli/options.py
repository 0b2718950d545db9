"""The options of ``mobile-export``, made from the metadata of the fields that they fill.

`ModelRequest`, `ExportConfig`, `NmsOptions` and the options of each format say of their fields how
they are typed (`system.options`); `parameters_of` makes the parameters of a command from that, and
`read_options` the object from what was typed. What belongs to no such object stands here.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import typer

from ..system.options import Option, options_of
from .completion import among
from .completion import names as model_names

__all__ = [
    "EXPLAIN",
    "FORCE",
    "JSON",
    "NAME",
    "OUT_DIR",
    "VERBOSE",
    "AsJson",
    "Force",
    "Verbose",
    "parameter",
    "parameters_of",
    "read_options",
    "refused",
    "typed",
    "with_parameters",
]

Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", help="Let the vendors' own output through; stages are lines on stderr."
    ),
]


def parameter(
    name: str, annotation: Any, default: Any = inspect.Parameter.empty
) -> inspect.Parameter:
    """One parameter of a command: its annotation is what typer reads."""
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )


OUT_DIR = parameter(
    "out_dir", Annotated[Path, typer.Option("-o", "--out", help="Folder of the files.")], Path()
)
NAME = parameter(
    "name",
    Annotated[
        str | None,
        typer.Option("--name", help="File name without suffix.", show_default=False),
    ],
    None,
)
EXPLAIN = parameter(
    "explain",
    Annotated[
        bool,
        typer.Option("--explain", help="Show what every graph pass rewrote and refused, and why."),
    ],
    False,
)
JSON = parameter("as_json", AsJson, False)
FORCE = parameter("force", Force, False)
VERBOSE = parameter("verbose", Verbose, False)


def refused(flag: str, help: str) -> inspect.Parameter:
    """A flag that help does not list: the command refuses it with a reason of its own."""
    name = flag.lstrip("-").replace("-", "_")
    return parameter(name, Annotated[bool, typer.Option(flag, help=help, hidden=True)], False)


def parameters_of(
    owner: type[Any],
    *names: str,
    without: Iterable[str] = (),
    optional: bool = False,
) -> list[inspect.Parameter]:
    """The parameters of a command for the options of a dataclass, in the order of its fields.

    Args:
        names: of the fields; all that are options by default.
        without: fields that are left out.
        optional: None stands for what was not typed, instead of the field's default.
    """
    said = options_of(owner)
    defaults = {each.name: each.default for each in fields(owner)}
    return [
        _parameter(said[name], _typed_as(owner, name), defaults[name], optional)
        for name in names or said
        if name not in without
    ]


def _parameter(said: Option, kind: Any, default: Any, optional: bool) -> inspect.Parameter:
    if not said.flag:
        plain = typer.Argument(help=said.help, show_default=False, autocompletion=model_names)
        return parameter("model", Annotated[kind, plain])
    if optional or default is None or default == ():
        default, kind = None, kind | None
    complete = among(said.valid) if said.valid else None
    info = typer.Option(
        said.flag, help=said.help, show_default=default is not None, autocompletion=complete
    )
    return parameter(_key(said), Annotated[kind, info], default)


def _key(said: Option) -> str:
    """The name of an option among the values of a command: two formats may share an option."""
    return said.flag.lstrip("-").replace("-", "_")


def _typed_as(owner: type[Any], name: str) -> Any:
    """The type of what is typed for a field: its own without None, a list for a tuple."""
    said = options_of(owner)[name]
    kind = said.typed or (get_type_hints(owner)[name] if said.flag else str)
    if get_origin(kind) in (Union, types.UnionType):
        (kind,) = (part for part in get_args(kind) if part is not types.NoneType)
    if get_origin(kind) is tuple:
        return list[get_args(kind)[0]]  # type: ignore[misc]
    return kind


def typed(owner: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Of what `read_options` gave, the fields that are not at their default."""
    defaults = {each.name: each.default for each in fields(owner)}
    return {name: value for name, value in given.items() if value != defaults[name]}


def read_options(owner: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass that were typed, as it takes them.

    Args:
        values: of the whole command, as typed.

    Raises:
        UsageError: a text cannot be read.
    """
    found: dict[str, Any] = {}
    for name, said in options_of(owner).items():
        value = values.get(_key(said) if said.flag else name)
        if value is None:
            continue
        if said.read is not None:
            value = said.read(value)
        found[name] = tuple(value) if isinstance(value, list) else value
    return found


def with_parameters(
    parameters: Iterable[inspect.Parameter],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator: the function, which takes any keywords, becomes a command with these.

    Raises:
        ValueError: two options are typed alike and differ.
    """
    found: dict[str, inspect.Parameter] = {}
    for each in parameters:
        before = found.setdefault(each.name, each)
        if before.default != each.default or _kind(before) != _kind(each):
            raise ValueError(f"two options called {each.name} differ")

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            list(found.values()), return_annotation=None
        )
        command.__annotations__ = {each.name: each.annotation for each in found.values()}
        return command

    return decorate


def _kind(each: inspect.Parameter) -> Any:
    return get_args(each.annotation)[0]
