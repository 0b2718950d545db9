"""The model that a manifest names, asked for again: without running code that nobody named.

A manifest travels with its file and may come from anybody. What is built because it stands there
is a built-in or timm model, by its name, or a saved program whose SHA-256 the manifest has; weights
are read from the path that it has, if their SHA-256 is the manifest's. A factory of somebody's own
code is only shown.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts.expected import compare_expected
from ..errors import ArtifactError, UsageError
from ..graph.specs import WeightsInfo
from ..models.composition import parse
from ..system.files import GIB, regular_file
from .request import ModelRequest
from .table import kind_of

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts.manifest import Manifest
    from ..artifacts.manifest import Weights as Named
    from ..graph.source import Source

__all__ = ["request_again", "unlike_expected", "unlike_manifest"]

_LARGEST = 16 * GIB
_TYPEABLE = re.compile(r"[\w./][\w./:=,@+-]*(\?[\w.=-]+)?", re.ASCII)
"""What a manifest says that may stand in a command to type: no option, nothing that a shell acts
on; one question mark is a pattern of file names that hardly any file has."""


def request_again(
    manifest: Manifest, file: Path, given: Mapping[str, Any], command: str = "verify {file} {model}"
) -> ModelRequest:
    """What builds the model of an artifact again.

    Args:
        file: the artifact, in whose folder checkpoint and program are looked for, too.
        given: by the user, attributes of `ModelRequest` as `ModelRequest.of` takes them; they
            replace the manifest's.
        command: how the user names the model himself, for the message that it must be.

    Raises:
        UsageError: the manifest names code, or a module that was made in Python.
        ArtifactError: the checkpoint or program that it names is not there, or is another one.
    """
    spec, build, weights = manifest.source, manifest.build, manifest.weights
    kind = kind_of(spec)
    if kind == "composition" and kind_of(parse(spec).backbone) == "factory":
        kind = "factory"
    if kind == "factory":
        raise UsageError(
            f"{file} was made from {spec}: the name of code, and none runs because a manifest "
            "names it.",
            hint="If you trust that code, type its name: "
            + _command(manifest, file, given, command),
        )
    if kind == "transformers":
        raise UsageError(
            f"{file} was made from {spec}, a repository or folder of transformers, which is not "
            "read because a manifest names it.",
            hint="Name it yourself: " + _command(manifest, file, given, command),
        )
    if (build is not None and build.kind == "module") or (weights and weights.kind == "own"):
        raise UsageError(
            f"{file} was made in Python from a module of the class {spec}, which no name builds.",
            hint="Name the model, or give the module: mobile_export.verify(FILE, MODULE).",
        )
    options: dict[str, Any] = {}
    if build is not None:
        names = ("size", "num_classes", "channels", "batch", "mean", "std", "seed", "outputs")
        options = {name: getattr(build, name) for name in names}
    elif weights is not None and weights.seed is not None:
        options["seed"] = weights.seed
    if kind == "saved program":
        return _requested(_program(spec, weights, file), options, given, file)
    if weights is not None and not {"weights", "pretrained"} & set(given):
        options["pretrained"] = weights.kind == "pretrained"
        if weights.kind == "checkpoint":
            options["weights"] = _found(weights.path, weights.sha256, file, "checkpoint")
            options["allow_missing"] = build is not None and build.allow_missing
    return _requested(spec, options, given, file)


def _requested(
    model: str, named: Mapping[str, Any], given: Mapping[str, Any], file: Path
) -> ModelRequest:
    """The request for a model with what the manifest names and, over it, what the user gave.

    Raises:
        UsageError: what the user gave is not valid.
        ArtifactError: what the manifest names is not.
    """
    try:
        return ModelRequest.of(model, **{**named, **given})
    except UsageError as error:
        try:
            ModelRequest.of(model, **{k: v for k, v in named.items() if k not in given})
        except UsageError:
            said = " ".join(str(error).splitlines())
            raise ArtifactError(
                f"The manifest of {file} names a model that cannot be built: {said}",
                hint="Export the model again, or name the model yourself.",
            ) from None
        raise


def unlike_manifest(manifest: Manifest, request: ModelRequest, source: Source) -> Iterator[str]:
    """What of a model that was built is not what the manifest names, a sentence each."""
    if request.spec != manifest.source and source.weights.kind != "program":
        yield f"the model {request.spec} is not what the manifest names, {manifest.source}"
    if None not in (manifest.task, source.task) and manifest.task != source.task:
        yield f"the model is for {source.task}; the manifest says {manifest.task}"
    named, used = manifest.weights, source.weights
    if named is not None:
        same = (named.kind, named.sha256, named.seed) == (used.kind, used.sha256, used.seed)
        if named.sha256 is not None and used.sha256 is not None:
            same = named.sha256 == used.sha256
        if not same:
            yield (
                f"the weights ({used.describe()}) are not what the manifest names "
                f"({_described(named)})"
            )
    if len(manifest.inputs) != len(source.inputs):
        yield (
            f"the model takes {len(source.inputs)} inputs; the manifest names "
            f"{len(manifest.inputs)}"
        )
        return
    for index, (named_input, own) in enumerate(zip(manifest.inputs, source.inputs, strict=True)):
        said = own.name if index else "input"
        if (named_input.shape, named_input.dtype) != (own.shape, own.dtype):
            dtypes = [""] * 2
            if named_input.dtype != own.dtype:
                dtypes = [f" of {own.dtype}", f" of {named_input.dtype}"]
            yield (
                f"the model's {said} {own.shape}{dtypes[0]} is not what the manifest names, "
                f"{named_input.shape}{dtypes[1]}"
            )
        named_pixels, own_pixels = _pixels(named_input), _pixels(own)
        if named_input.mean and own.role == "image" and named_pixels != own_pixels:
            yield (
                f"the model's {said} takes pixels with {_of_pixels(*own_pixels)}, and not, as the "
                f"manifest says, with {_of_pixels(*named_pixels)}"
            )


_SAME_OUTPUTS = 1e-5
"""Of an output's size: beyond it, outputs in float64 are of another model. A manifest keeps them in
float32."""


def unlike_expected(
    manifest: Manifest, sample: str, outputs: Sequence[np.ndarray]
) -> Iterator[str]:
    """A sentence, where the model that a manifest names does not compute what it expects.

    Names alone do not show that somebody wrote another one, or that the model's code has changed
    since.

    Args:
        sample: name of the input.
        outputs: of the model for it, in float64.
    """
    expected = manifest.expected
    if sample != expected.sample:
        return
    error = compare_expected(expected, outputs).max_rel
    if error > _SAME_OUTPUTS:
        yield (
            f"{manifest.source}, as it was built here, does not compute what the manifest expects "
            f"of it ({error:.1e} of the output range off): the manifest was edited (source, "
            "build, weights or expected), or the code of the model is another version"
        )


def _described(named: Named) -> str:
    """The weights that a manifest names, in a few words."""
    if named.kind == "random":  # what is built again is the seed, and not the description
        return WeightsInfo("random", seed=named.seed).describe()
    return named.description or named.kind


def _pixels(image: Any) -> tuple[tuple[float, ...], tuple[float, ...], str]:
    """What an app does with pixels: mean, std, order of the channels."""
    return tuple(image.mean), tuple(image.std), image.channel_order


def _of_pixels(mean: Sequence[float], std: Sequence[float], order: str) -> str:
    means, stds = (", ".join(f"{each:g}" for each in values) for values in (mean, std))
    return f"mean {means} and std {stds}, {order}"


def _program(spec: str, weights: Named | None, file: Path) -> str:
    """The path of a saved program."""
    return str(_found(spec, None if weights is None else weights.sha256, file, "program"))


def _found(path: str | None, sha256: str | None, file: Path, what: str) -> Path:
    """The file that the manifest names, where it says or beside the artifact, if it is that one.

    A checkpoint may be a folder with a file for each part of the model.
    """
    from .weights import checkpoint_sha256

    hint = "Name the model and its weights yourself: mobile-export verify FILE MODEL"
    if what == "checkpoint":
        hint = "Give the checkpoint with `weights='FILE'`."
    if path is None or sha256 is None:
        raise ArtifactError(
            f"The manifest of {file} does not say which {what} it was made from.", hint=hint
        )
    wrong: list[Path] = []
    for place in dict.fromkeys((Path(path), file.parent / Path(path).name)):
        if not os.path.exists(place):  # noqa: PTH110 (no error where it is no path)
            continue
        _require_bounded(place, what)
        if checkpoint_sha256(place) == sha256:
            return place
        wrong.append(place)
    if wrong:
        raise ArtifactError(
            f"{wrong[0]} is not the {what} that {file} was made from: its SHA-256 is not the one "
            "that the manifest has.",
            hint=hint,
        )
    raise ArtifactError(f"The {what} {path}, from which {file} was made, is not there.", hint=hint)


def _require_bounded(place: Path, what: str) -> None:
    """Raise ArtifactError for what would take too long to hash: the manifest chose it."""
    from .checkpoint import files_of

    if not (what == "checkpoint" and place.is_dir()):
        regular_file(place, limit=_LARGEST)
        return
    sizes = [regular_file(file, limit=_LARGEST) for file in files_of(place) if file.is_file()]
    if sum(sizes) > _LARGEST:
        raise ArtifactError(
            f"The {what} {place} has {sum(sizes):,} bytes; at most {_LARGEST:,} are read because "
            "a manifest names them.",
            hint="Give the checkpoint with `weights='FILE'`.",
        )


def _command(manifest: Manifest, file: Path, given: Mapping[str, Any], command: str) -> str:
    """What a user may type, with the weights and options that the manifest has."""
    weights, build = manifest.weights, manifest.build
    named = command.format(file=shlex.quote(str(file)), model=_typeable(manifest.source, "MODEL"))
    words = [f"mobile-export {named}"]
    if weights is not None and weights.kind == "checkpoint":
        path = str(given.get("weights") or weights.path)
        words.append(f"`weights='{_typeable(path, 'CHECKPOINT')}'`")
    for name in ("num_classes", "channels", "batch", "mean", "std", "seed"):
        value = None if build is None else getattr(build, name)
        if value not in (None, 0):
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words.append(f"`{name}={text}`")
    for text in () if build is None else build.input:
        words.append(f"`input={_typeable(text, 'NAME=SHAPE')}`")
    return " ".join(words)


def _typeable(text: str, otherwise: str) -> str:
    return text if _TYPEABLE.fullmatch(text) else otherwise
