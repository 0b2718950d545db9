"""The built-in zoo as a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SourceError, UsageError
from ..graph.source import Source
from .build import build_with_weights
from .request import ModelRequest, near_matches, timm_names

if TYPE_CHECKING:
    from ..models.checkpoints import PublicCheckpoint
    from ..models.entry import ModelEntry

__all__ = ["entry_of", "load_zoo"]


def entry_of(spec: str) -> tuple[ModelEntry, dict[str, str]]:
    """The row of ``NAME?key=value``, and the options that stand behind the name.

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


def load_zoo(request: ModelRequest) -> Source:
    """Build a model of `models/table.py`; its options stand behind its name."""
    from .labels import known_labels, labels_for

    entry, options = entry_of(request.spec)
    spec = request.input_spec(
        size=entry.size,
        channels=entry.channels,
        channel_order=entry.channel_order,
        frames=entry.frames,
        mean=entry.mean,
        std=entry.std,
    )
    entry.check_size(spec.size)
    module, info = build_with_weights(
        lambda: entry.build(request.num_classes, size=spec.size, in_chans=spec.shape[1], **options),
        spec,
        _weighed(entry, request),
    )
    if request.pretrained:
        checkpoint = _public(entry)
        info = replace(info, kind="pretrained", path=checkpoint.url)
    classes = request.num_classes or entry.num_classes
    labels = labels_for(classes) if entry.task == "classification" else None
    if entry.classes is not None and classes == entry.num_classes:
        labels = known_labels(entry.classes)
    outputs = entry.outputs(options)
    return Source(
        request.spec,
        module,
        spec,
        outputs,
        labels,
        info,
        task=entry.task,
        meanings={meaning: meaning for meaning in outputs},
        recipe=entry.recipe,
    )


def _weighed(entry: ModelEntry, request: ModelRequest) -> ModelRequest:
    """The request with the downloaded file for ``pretrained``.

    Raises:
        UsageError: no official file of it can be downloaded by a program.
        SourceError: it cannot be had now.
    """
    if not request.pretrained:
        return request
    from .download import downloaded

    other = request.num_classes not in (None, entry.num_classes)
    return replace(
        request,
        weights=downloaded(_public(entry)),
        pretrained=False,
        allow_missing=other or request.channels not in (None, entry.channels),
    )


def _public(entry: ModelEntry) -> PublicCheckpoint:
    """The official file of a model, if a program can download it."""
    from ..models.checkpoints import public_checkpoint

    found = public_checkpoint(entry.name)
    if found is not None and found.direct:
        return found
    code = entry.published.code
    hint = "No weights of it are public; your own go in with `weights='FILE'`."
    if found is not None:
        hint = f"Download it in a browser from {found.url} and give it with `weights='FILE'`."
    elif code is not None:
        hint = f"Look for a file at {code} and give it with `weights='FILE'`."
    raise UsageError(
        f"No official file of {entry.name} is known that a program can download.", hint=hint
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
    known = registry.names()
    near = near_matches(name, [*known, *(f"timm/{n}" for n in timm_names())])
    if name in timm_names():
        near = [f"timm/{name}", *(n for n in near if n != f"timm/{name}")]
    guess = f"Did you mean {' or '.join(near[:3])}? " if near else ""
    return SourceError(
        f"There is no model called {name!r}.",
        hint=f"{guess}Run `mobile-export list` for the built-in names; timm/NAME takes any timm "
        "model, MODULE:FUNCTION your own, FILE.pt2 a saved program.",
    )
