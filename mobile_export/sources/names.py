"""Which models there are by name, and which names a misspelt one resembles.

Importing timm or torchvision takes seconds, so their names are read from their sources: in both
a decorator, ``register_model``, stands above every function that makes a model. Tests compare
what is read with what the installed libraries list.
"""

from __future__ import annotations

import difflib
import importlib.util
import re
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceError, UsageError
from ..system.install import missing_extra
from ..system.options import shortened
from .request import is_folder

if TYPE_CHECKING:
    from ..models.entry import ModelEntry

__all__ = [
    "composition_name",
    "entry_of",
    "hf_name",
    "near_matches",
    "prefix_of",
    "timm_name",
    "timm_names",
    "torchvision_name",
    "torchvision_names",
]

_REGISTERED = re.compile(
    r'^@register_model(?:\((?:name="(\w+)")?\))?\n(?:(?!def ).*\n)*?def (\w+)\(', re.MULTILINE
)
_WORD = re.compile(r"\w+")
_HF = "hf/"
_HF_NAME = re.compile(
    r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?(@[\w.-]{1,100})?", re.ASCII
)


def entry_of(spec: str) -> tuple[ModelEntry, dict[str, str]]:
    """The row of a built-in model ``NAME?key=value``, and the options that stand behind the name.

    Raises:
        SourceError: there is no such model; it names those that are spelt alike.
        UsageError: the model has no such option.
    """
    from ..models import table as registry

    name, _, query = spec.partition("?")
    if name not in registry.names():
        raise _unknown_name(name)
    entry = registry.get(name)
    return entry, entry.parse_options(query)


def timm_name(spec: str) -> str:
    """What timm calls ``timm/NAME?key=value``, if its sources have such a name.

    Raises:
        MissingExtraError: timm is not installed.
        SourceError: it has no such model; the error names those that are spelt alike.
    """
    name = spec.removeprefix("timm/").partition("?")[0]
    if importlib.util.find_spec("timm") is None:
        raise missing_extra(f"The source {spec!r}", "timm", "timm")
    # Old names, which timm translates, stand in its sources as words.
    if name.partition(".")[0] in _timm_words():
        return name
    raise no_timm_model(name)


def no_timm_model(name: str) -> SourceError:
    """The error that timm has no such model."""
    return _no_such_model("timm", name, timm_names(), "import timm; print(timm.list_models())")


def torchvision_name(spec: str) -> str:
    """What torchvision calls ``torchvision/NAME``.

    Raises:
        MissingExtraError: torchvision is not installed.
        SourceError: it has no such model; the error names those that are spelt alike.
    """
    if importlib.util.find_spec("torchvision") is None:
        raise missing_extra(f"The source {spec!r}", "torchvision", "torchvision")
    name, known = spec.removeprefix("torchvision/"), torchvision_names()
    if name in known:
        return name
    listing = "import torchvision; print(torchvision.models.list_models())"
    raise _no_such_model("torchvision", name, known, listing)


def timm_names() -> tuple[str, ...]:
    """Names of timm's models, sorted; none where it is not installed."""
    return _registered("timm")


def torchvision_names() -> tuple[str, ...]:
    """Names of torchvision's models, sorted; none where it is not installed."""
    return _registered("torchvision")


@cache
def _texts(library: str) -> tuple[str, ...]:
    """The sources of the library's models."""
    found = importlib.util.find_spec(library)
    folders = [] if found is None else found.submodule_search_locations or []
    files = (file for folder in folders for file in Path(folder, "models").rglob("*.py"))
    return tuple(file.read_text("utf-8", errors="replace") for file in sorted(files))


@cache
def _registered(library: str) -> tuple[str, ...]:
    found = (
        named or function
        for text in _texts(library)
        for named, function in _REGISTERED.findall(text)
    )
    return tuple(sorted(set(found)))


@cache
def _timm_words() -> frozenset[str]:
    return frozenset(word for text in _texts("timm") for word in _WORD.findall(text))


def hf_name(spec: str) -> str:
    """The repository of ``hf/ORG/NAME[@REVISION]``, or the folder.

    Raises:
        MissingExtraError: transformers is not installed.
        UsageError: it is no name of a repository.
    """
    if importlib.util.find_spec("transformers") is None:
        raise missing_extra(f"The source {shortened(spec)!r}", "hf", "transformers")
    if is_folder(spec) and not spec.startswith(_HF):
        return spec
    name = spec.removeprefix(_HF)
    if not _HF_NAME.fullmatch(name) or ".." in name or "--" in name:
        raise UsageError(
            f"{shortened(spec)!r} is not hf/ORG/NAME.",
            hint="For example hf/nvidia/segformer-b0-finetuned-ade-512-512, with @REVISION behind "
            "it for another than the newest; or the path of a folder with config.json.",
        )
    return name


def prefix_of(backbone: str) -> str:
    """The kind of a backbone: "timm", "torchvision", "factory" or "built-in".

    Raises:
        UsageError: it is of a kind that gives no feature maps.
    """
    from .table import kind_of

    kind = kind_of(backbone)
    if kind not in ("timm", "torchvision", "factory", "built-in"):
        raise UsageError(
            f"{backbone} gives no feature maps for a head to stand on.",
            hint="Built-in classifiers do, timm/NAME, and your own MODULE:FUNCTION that returns "
            "a list of feature maps.",
        )
    return kind


def composition_name(spec: str) -> None:
    """Raise what is wrong with a name; nothing is built.

    Raises:
        SourceError: there is no such head or backbone.
        UsageError: the backbone gives no feature maps, or an option is none.
        MissingExtraError: the library of the backbone is not installed.
    """
    from ..models.backbones import require_maps, require_stages
    from ..models.composition import parse

    parts = parse(spec)
    kind = prefix_of(parts.backbone)
    if kind == "timm":
        timm_name(parts.backbone)
    elif kind == "torchvision":
        torchvision_name(parts.backbone)
        require_stages(parts.backbone, parts.output_stride)
    elif kind == "built-in":
        require_maps(entry_of(parts.backbone)[0], parts.output_stride)


def near_matches(name: str, known: Sequence[str]) -> list[str]:
    """Up to three known names that resemble a misspelt one, best first, ignoring case and -/_."""
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
        folded.setdefault(_fold(candidate.rsplit("/", 1)[-1]), candidate)
    found = difflib.get_close_matches(_fold(name), list(folded), n=6, cutoff=0.6)
    return list(dict.fromkeys(folded[match] for match in found))[:3]


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _no_such_model(library: str, name: str, known: Sequence[str], listing: str) -> SourceError:
    """The error that ``library`` has no model ``name``.

    Args:
        listing: Python that prints all names.
    """
    near = near_matches(name, known)
    guess = f"Did you mean {' or '.join(f'{library}/{each}' for each in near)}? " if near else ""
    return SourceError(
        f"{library} {metadata.version(library)} has no model called {name!r}.",
        hint=f"{guess}All names: python -c '{listing}'",
    )


def _unknown_name(name: str) -> SourceError:
    from ..models import table as registry

    path = Path(name)
    if path.suffix in {".pth", ".pt", ".bin", ".ckpt", ".safetensors"}:
        return SourceError(
            f"{name!r} is a checkpoint: it holds weights, not the model that they belong to.",
            hint=f"Name the model too, for example emo_2m, and give this with `weights={name!r}`.",
        )
    if path.suffix == ".py" or Path(f"{name.replace('.', '/')}.py").is_file():
        module = ".".join(path.with_suffix("").parts) if path.suffix == ".py" else name
        return SourceError(
            f"{name!r} is a Python module; which function makes the model?",
            hint=f"Give it as {module}:FUNCTION",
        )
    others = [f"timm/{n}" for n in timm_names()]
    others += [f"torchvision/{n}" for n in torchvision_names()]
    near = near_matches(name, [*registry.names(), *others])
    if name in timm_names():
        near = [f"timm/{name}", *(n for n in near if n != f"timm/{name}")]
    guess = f"Did you mean {' or '.join(near[:3])}? " if near else ""
    return SourceError(
        f"There is no model called {name!r}.",
        hint=f"{guess}Run `mobile-export list` for the built-in names; timm/NAME takes any timm "
        "model, torchvision/NAME and hf/ORG/NAME theirs, MODULE:FUNCTION your own, FILE.pt2 a "
        "saved program.",
    )
