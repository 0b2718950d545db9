"""The one table of sources: from what the user names to an ``nn.Module`` in eval mode and the facts
about its input.

    NAME?output=labels            the built-in models; some have options
    timm/NAME                     PyTorch Image Models
    package.module:factory?k=v    the user's own code, imported from the current folder
    file.pt2                      a saved torch.export program
    a torch.nn.Module             made by the caller of the Python interface

Importable without torch; what each kind needs is imported when one is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

from ..errors import UsageError
from ..graph.source import Source
from .request import ModelRequest

__all__ = ["SOURCES", "Kind", "ModelRequest", "Source", "load_source", "require_name"]


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Attributes:
        name: for people.
        matches: whether a model is named so; the first row whose test holds loads it.
        module, function: of this folder: takes the request, gives the `Source`.
        name_check: of the module: raises when it has no model of a name; "" if only loading tells.
        own_code: the user's own, whose inputs the user may name.
    """

    name: str
    matches: Callable[[Any], bool]
    module: str
    function: str
    name_check: str = ""
    own_code: bool = False

    def load(self, request: ModelRequest) -> Source:
        """The source that is asked for; its module is imported now.

        Raises:
            UsageError: inputs are named of what has its own.
        """
        if not self.own_code and (request.input is not None or request.example_inputs is not None):
            raise UsageError(
                f"`input` is for your own models; {request.spec} says itself what it takes.",
                hint="Leave it out; give `size` for another size of the image.",
            )
        module = importlib.import_module(f"{__package__}.{self.module}")
        return cast(Source, getattr(module, self.function)(request))


SOURCES: tuple[Kind, ...] = (
    Kind(
        "module",
        lambda model: not isinstance(model, str),
        "factory",
        "source_of_module",
        own_code=True,
    ),
    Kind("saved program", lambda model: model.endswith(".pt2"), "pt2.load", "load_program"),
    Kind("timm", lambda model: model.startswith("timm/"), "timm", "load_timm", "known_name"),
    Kind("factory", lambda model: ":" in model, "factory", "load_factory", own_code=True),
    Kind("built-in", lambda model: True, "zoo", "load_zoo", "entry_of"),
)


def require_name(model: str) -> None:
    """Raise what loading a model would, where its name alone is enough to tell; nothing is built.

    Raises:
        SourceError: no source has a model of this name.
        MissingExtraError: the library of its source is not installed.
    """
    kind = next(row for row in SOURCES if row.matches(model))
    if kind.name_check:
        module = importlib.import_module(f"{__package__}.{kind.module}")
        getattr(module, kind.name_check)(model)


def load_source(request: ModelRequest) -> Source:
    """Find, build and fill the model that is asked for; its labels are the user's if given.

    Raises:
        UsageError: an option that this kind of source does not take.
        SourceError: the model cannot be found or built; `WeightsError` for its checkpoint.
    """
    kind = next(row for row in SOURCES if row.matches(request.model))
    source = replace(kind.load(request), asked={"kind": kind.name, **request.asked()})
    if request.outputs is not None:
        from ..graph.chosen import with_outputs

        source = with_outputs(source, request.outputs)
    if request.labels is None:
        return source
    return replace(source, labels=request.labels, labels_given=True)
