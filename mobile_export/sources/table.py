"""The one table of sources: from what the user names to an ``nn.Module`` in eval mode and the facts
about its input.

    NAME?output=labels            the built-in models; some have options
    timm/NAME?features_only=True  PyTorch Image Models; some have options
    torchvision/NAME              torchvision
    hf/ORG/NAME                   transformers, or a folder with its config.json
    package.module:factory?k=v    the user's own code, imported from the current folder
    BACKBONE+HEAD                 a head on feature maps: ours, timm's, torchvision's, the user's
    file.pt2                      a saved torch.export program
    a torch.nn.Module             made by the caller of the Python interface

Importable without torch; what each kind needs is imported when one is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, cast

from ..errors import UsageError
from ..graph.source import Source
from ..models.composition import is_composition
from ..system.options import shortened
from . import names
from .request import ModelRequest, is_folder

__all__ = ["SOURCES", "Kind", "ModelRequest", "Source", "kind_of", "load_source", "require_name"]


@dataclass(frozen=True)
class Kind:
    """One kind of source.

    Attributes:
        name: for people.
        matches: whether a model is named so; the first row whose test holds loads it.
        module, function: of this folder: takes the request, gives the `Source`.
        name_check: of `names`: raises when there is no model of a name; "" if only loading tells.
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
            UsageError: inputs are named of what has its own, or what was asked stands behind the
                name.
        """
        if not self.own_code and isinstance(request.model, str):
            _refuse_behind_the_name(request.model)
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
    Kind(
        "transformers",
        lambda model: model.startswith("hf/") or is_folder(model),
        "hf",
        "load_hf",
        "hf_name",
        own_code=True,
    ),
    Kind("saved program", lambda model: model.endswith(".pt2"), "pt2.load", "load_program"),
    Kind("composition", is_composition, "composition", "load_composition", "composition_name"),
    Kind("timm", lambda model: model.startswith("timm/"), "timm", "load_timm", "timm_name"),
    Kind(
        "torchvision",
        lambda model: model.startswith("torchvision/"),
        "torchvision",
        "load_torchvision",
        "torchvision_name",
    ),
    Kind("factory", lambda model: ":" in model, "factory", "load_factory", own_code=True),
    Kind("built-in", lambda model: True, "zoo", "load_zoo", "entry_of"),
)


def _refuse_behind_the_name(model: str) -> None:
    """Raise UsageError where ``NAME?key=value`` asks for what a field of the request asks for."""
    name, _, query = model.partition("?")
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key in {field.name for field in fields(ModelRequest)}:
            raise UsageError(
                f"{shortened(part)} stands behind the name {shortened(name)}, but is asked for by "
                f"itself, with `{key}`.",
                hint=f"Ask for {shortened(name)}, with `{key}={value[:40]}`.",
            )


def kind_of(model: str) -> str:
    """The name of the kind of source that loads a model of this name."""
    return next(row.name for row in SOURCES if row.matches(model))


def require_name(model: Any) -> None:
    """Raise what loading a model would, where its name alone is enough to tell; nothing is built,
    and no library is imported. A module, or none, has no name.

    Raises:
        SourceError: no source has a model of this name.
        MissingExtraError: the library of its source is not installed.
    """
    if model is None:
        return
    kind = next(row for row in SOURCES if row.matches(model))
    if kind.name_check:
        getattr(names, kind.name_check)(model)


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
