"""The built-in zoo as a source."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..graph.source import Source
from .build import build_with_weights
from .names import entry_of
from .request import ModelRequest

if TYPE_CHECKING:
    from ..models.checkpoints import PublicCheckpoint
    from ..models.entry import ModelEntry

__all__ = ["load_zoo"]


def load_zoo(request: ModelRequest) -> Source:
    """Build a model of `models/table.py`; its options stand behind its name."""
    from .labels import known_labels, labels_for

    entry, options = entry_of(request.spec)
    if request.num_classes == 0:
        raise UsageError(
            f"`num_classes` 0, no classifier, is for timm models; {request.spec} has one.",
            hint="Leave it out, or give the number of classes.",
        )
    spec = request.input_spec(
        size=entry.size,
        channels=entry.channels,
        channel_order=entry.channel_order,
        frames=entry.frames,
        mean=entry.mean,
        std=entry.std,
    )
    for size in (spec.size, *request.other_sizes):
        entry.check_size(size)
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
