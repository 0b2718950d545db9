"""From the names of a specification to models: globs, files, and what of them is hashed."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..artifacts.content import sha256_of
from ..errors import MissingExtraError, MobileExportError
from ..sources.names import near_matches, timm_names, torchvision_names
from ..sources.request import is_folder
from ..sources.table import require_name
from ..system.files import GIB, regular_file
from ..system.folders import require_closed
from .job import FileRef
from .run import full_name
from .spec import SpecFile

__all__ = ["expand", "file_of", "files_of_model", "source_libraries"]

_MOST_BYTES = 64 * GIB
_LIBRARIES = {"timm/": "timm", "torchvision/": "torchvision", "hf/": "transformers"}


def expand(file: SpecFile, where: Sequence[str | int], names: Sequence[str]) -> list[str]:
    """The models that names and globs stand for, each once, in the order of the names.

    Args:
        where: of the list of names, for messages.

    Raises:
        UsageError: a name or a glob finds nothing.
    """
    found: dict[str, None] = {}
    for place, name in enumerate(names):
        for model in _one(file, (*where, place), name):
            found[model] = None
    return list(found)


def _one(file: SpecFile, where: Sequence[str | int], name: str) -> list[str]:
    if not name or name.startswith("-") or "\0" in name:
        raise file.error(where, f"{name!r} is no model.", "Name one, such as emo_1m.")
    plain, question, query = name.partition("?")
    if not re.search(r"[*\[]", plain) or ":" in plain:
        return [_named(file, where, name)]
    if plain.endswith(".pt2"):
        matches = sorted(str(path.relative_to(file.folder)) for path in _glob(file, where, plain))
    else:
        matches = fnmatch.filter(_known(plain), plain)
    if not matches:
        raise file.error(
            where, f"no model is called {name!r}.", "See the names: mobile-export list, or timm's."
        )
    return [f"{each}{question}{query}" for each in matches]


def _glob(file: SpecFile, where: Sequence[str | int], pattern: str) -> list[Path]:
    try:
        return list(file.folder.glob(pattern))
    except (ValueError, NotImplementedError) as problem:  # an absolute pattern, `a**`
        raise file.error(
            where, f"{pattern!r} is no pattern of files: {problem}.", "Write nets/*.pt2."
        ) from None


def _known(pattern: str) -> list[str]:
    """Names among which a pattern chooses."""
    from ..models import table as registry

    if pattern.startswith("timm/"):
        return [f"timm/{name}" for name in timm_names()]
    if pattern.startswith("torchvision/"):
        return [f"torchvision/{name}" for name in torchvision_names()]
    return list(registry.names())


def _named(file: SpecFile, where: Sequence[str | int], name: str) -> str:
    """A name without a pattern; what does not exist is told before anything runs."""
    if name.endswith(".pt2") or is_folder(str(file.folder / name)):
        file_of(file, where, name)
        return name
    model = full_name(name)
    try:
        require_name(model)
    except MobileExportError as problem:
        from ..models import table as registry

        near = near_matches(name, registry.names())
        hint = f"Did you mean {' or '.join(near)}?" if near else problem.hint
        said = problem.message
        if "/" not in name and not isinstance(problem, MissingExtraError):
            said = f"neither the zoo nor timm has a model {name!r}."
        raise file.error(where, said, hint or "mobile-export list has all.") from None
    return model


def file_of(file: SpecFile, where: Sequence[str | int], name: str) -> FileRef:
    """A file or folder that a specification names, relative to it, with its hash.

    Raises:
        UsageError: there is none, or it is something else.
    """
    path = file.folder / name
    try:
        if path.is_dir():
            require_closed(path)
        else:
            regular_file(path, limit=_MOST_BYTES)
        return FileRef(path.name, _hashed(path.resolve()), str(path.resolve()))
    except MobileExportError as problem:
        raise file.error(where, problem.message, problem.hint or "Check the path.") from None
    except OSError as problem:
        raise file.error(
            where, f"{path} cannot be read: {problem.strerror}.", "Check the path."
        ) from None


@cache
def _hashed(path: Path) -> str:
    return sha256_of(path)


def files_of_model(file: SpecFile, where: Sequence[str | int], model: str) -> dict[str, FileRef]:
    """The file of a saved program, the folder of transformers, or the module of the user's own
    code; the latter is looked up in the current folder, and not imported."""
    if model.endswith(".pt2") or is_folder(str(file.folder / model)):
        return {"model": file_of(file, where, model)}
    if ":" in model:
        relative = Path(*model.split(":")[0].split("."))
        for name in (f"{relative}.py", f"{relative}/__init__.py"):
            path = Path.cwd() / name
            if path.is_file():
                return {"code": FileRef(path.name, _hashed(path), str(path))}
    return {}


def source_libraries(model: str) -> tuple[str, ...]:
    """Distributions that build a model, beside PyTorch."""
    return tuple(name for prefix, name in _LIBRARIES.items() if model.startswith(prefix))
