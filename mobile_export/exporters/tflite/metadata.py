"""TFLite metadata: what MediaPipe Tasks and the TFLite Task Library read of a file.

The schema is ``metadata_schema.fbs`` of TFLite (in MediaPipe: mediapipe/tasks/metadata), whose
numbers of fields and enumerations stand here. The metadata is one more buffer of the model; names
of classes are a text file in a zip archive behind the flatbuffer, where TFLite itself does not
look.

MediaPipe Tasks takes one mean and standard deviation for all channels. A file whose normalisation
differs between them says so, which the Task Library takes and MediaPipe refuses; one that takes
pixels (``image_input``) says 0 and 1, and every reader is right.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...artifacts.damage import reading
from ...detection.contract import class_names
from ...system.files import MIB
from .flatbuffer import with_entries
from .inputs import is_plain

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import InputSpec, OutputSpec

__all__ = ["LABELS", "has_metadata", "labels_in", "stands_beside", "with_metadata"]

LABELS = "labels.txt"
_ENTRY = "TFLITE_METADATA"
_IDENTIFIER, _SEGMENTER_IDENTIFIER = b"M001", b"V001"
_PARSER = "1.0.0"
"""The least version of a reader: of the fields that are used here."""
_BRIGHTEST = 255.0
_COLOURS = {"RGB": 1, "L": 2}
"""``ColorSpaceType``; 0 is unknown."""
_FEATURE, _IMAGE, _BOXES = 1, 2, 3
"""``ContentProperties``."""
_NORMALIZATION = 1
"""``ProcessUnitOptions``."""
_AXIS_LABELS, _VALUE_LABELS = 2, 3
"""``AssociatedFileType``: a name for each element of the last axis, or for each value."""
_SIGMOID, _SOFTMAX = 1, 2
"""``Activation`` of ``ImageSegmenterOptions``: what a reader is to do."""


@dataclass(frozen=True)
class _Number:
    """A scalar; ``kind`` in the words of `flatbuffers.Builder`: ``Int8``, ``Uint8``, ``Int32``."""

    value: int
    kind: str = "Int8"


_Table = Mapping[int, Any]
"""A table of the schema: values by the number of their field."""


def with_metadata(content: bytes, program: Program, *, suppressed: bool) -> bytes:
    """The file ``content`` with metadata.

    Args:
        program: that it was written from, its image and outputs with channels last.
        suppressed: it ends with TFLite's detection post-processing.
    """
    tensors: tuple[_Table, ...]
    names: Sequence[str] | None = None
    if suppressed:
        names = class_names(program)
        tensors = _detections()
    else:
        tensors = tuple(_output(output, program.labels) for output in program.outputs)
        if any(_LABELLED in tensor for tensor in tensors):
            names = program.labels
    graph: dict[int, Any] = {2: [_input(program.input)], 3: list(tensors)}
    activation = _activation(program)
    if activation is not None:
        graph[9] = [{0: "SEGMENTER_METADATA", 1: activation}]
    about = f"{program.spec} ({program.weights.describe()})"
    model: _Table = {0: program.spec, 1: about, 3: [graph], 7: _PARSER}
    content = with_entries(content, {_ENTRY: _pack(model, _IDENTIFIER)})
    return content if names is None else _with_file(content, LABELS, "\n".join(map(_line, names)))


def has_metadata(program: Program, *, nhwc: bool) -> bool:
    """Whether files of ``program`` have metadata: of one image, with channels last."""
    return nhwc and is_plain(program) and len(program.input.shape) == 4


def stands_beside(outputs: Sequence[OutputSpec], names: Sequence[str]) -> bool:
    """Whether `with_metadata` writes the names of the classes beside one of ``outputs``.

    Their meaning may not be known here: it is told by the names, which whoever verifies a file need
    not give again.
    """
    return any(
        output.meaning in (None, *_OF_CLASSES)
        and len(output.shape) in (2, 4)
        and output.shape[1] == len(names)
        for output in outputs
    )


def labels_in(path: Path) -> tuple[str, ...] | None:
    """Names of classes in the archive behind the file, or None where it has none.

    Raises:
        ArtifactError: the archive is damaged.
    """
    with reading(path, "TFLite"):
        if not zipfile.is_zipfile(path):
            return None
        try:
            with zipfile.ZipFile(path) as archive, archive.open(LABELS) as text:
                return tuple(text.read(_LARGEST).decode().split("\n"))
        except KeyError:
            return None
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(str(error)) from error


_LARGEST = 16 * MIB
"""Bytes of names that are read."""

_LABELLED = 6
"""The field of a tensor's associated files."""


_OF_CLASSES = ("logits", "probabilities")


def _line(name: str) -> str:
    return " ".join(name.split())


def _labels(kind: int) -> list[_Table]:
    return [{0: LABELS, 1: "Names of the classes.", 2: _Number(kind)}]


def _input(spec: InputSpec) -> _Table:
    """The image: its colours, and what an app computes of its pixels."""
    if spec.pixels:
        mean, std = np.zeros(1), np.ones(1)
    else:
        mean, std = (np.array(v) * _BRIGHTEST for v in (spec.mean, spec.std))
        if np.ptp(mean) == 0 and np.ptp(std) == 0:
            mean, std = mean[:1], std[:1]
    image: _Table = {0: _Number(_COLOURS.get(spec.channel_order, 0))}
    table = {
        0: spec.name,
        1: "The image.",
        3: {0: _Number(_IMAGE, "Uint8"), 1: image},
        5: {0: (_BRIGHTEST - mean) / std, 1: -mean / std},
    }
    if spec.dtype == "float32":
        table[4] = [{0: _Number(_NORMALIZATION, "Uint8"), 1: {0: mean, 1: std}}]
    return table


def _output(output: OutputSpec, labels: Sequence[str] | None) -> _Table:
    """A row of classes, a map, or anything."""
    kind = _IMAGE if len(output.shape) == 4 else _FEATURE
    table = {
        0: output.name,
        1: f"{(output.meaning or output.name).capitalize()}.",
        3: {0: _Number(kind, "Uint8"), 1: {}},
    }
    classes = output.meaning in _OF_CLASSES and len(output.shape) in (2, 4)
    if classes and labels is not None and len(labels) == output.shape[1]:
        table[_LABELLED] = _labels(_AXIS_LABELS)
    return table


def _detections() -> tuple[_Table, ...]:
    """The four outputs of the post-processing, by the names that MediaPipe looks for.

    Of the boxes (top, left, bottom, right), ``index`` says where left, top, right and bottom are.
    """
    one: _Table = {
        0: _Number(_FEATURE, "Uint8"),
        1: {},
        2: {0: _Number(2, "Int32"), 1: _Number(2, "Int32")},
    }
    corners: _Table = {0: np.array([1, 0, 3, 2], dtype=np.uint32), 1: _Number(1), 2: _Number(0)}
    return (
        {0: "location", 1: "The boxes.", 3: {**one, 0: _Number(_BOXES, "Uint8"), 1: corners}},
        {0: "category", 1: "Their classes.", 3: one, _LABELLED: _labels(_VALUE_LABELS)},
        {0: "score", 1: "Their scores.", 3: one},
        {
            0: "number of detections",
            1: "How many there are.",
            3: {0: _Number(_FEATURE, "Uint8"), 1: {}},
        },
    )


def _activation(program: Program) -> bytes | None:
    """``ImageSegmenterOptions`` of a segmenter: what makes probabilities of its map."""
    output = program.outputs[0]
    if program.task not in ("segmentation", "saliency") or len(output.shape) != 4:
        return None
    activation = 0
    if output.meaning == "logits":
        activation = _SOFTMAX if output.shape[1] > 1 else _SIGMOID
    return _pack({0: _Number(activation), 1: _PARSER}, _SEGMENTER_IDENTIFIER)


def _with_file(content: bytes, name: str, text: str) -> bytes:
    """``content`` with a text file in a zip archive behind it, the same in every run."""
    whole = io.BytesIO()
    whole.write(content)
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name), text)
    return whole.getvalue()


def _pack(table: _Table, identifier: bytes) -> bytes:
    """A flatbuffer whose root is ``table``."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_write(builder, table), identifier)
    return bytes(builder.Output())


def _write(builder: Any, value: Any) -> int:
    """Write what a field refers to: text, bytes, an array, a list of such, or a table."""
    if isinstance(value, str):
        return int(builder.CreateString(value))
    if isinstance(value, bytes):
        builder.StartVector(1, len(value), 16)  # as the schema demands of custom metadata
        for byte in reversed(value):
            builder.PrependUint8(byte)
        return int(builder.EndVector())
    if isinstance(value, np.ndarray):
        kind = np.uint32 if value.dtype == np.uint32 else np.float32
        return int(builder.CreateNumpyVector(value.astype(kind)))
    if isinstance(value, list):
        places = [_write(builder, each) for each in value]
        builder.StartVector(4, len(places), 4)
        for place in reversed(places):
            builder.PrependUOffsetTRelative(place)
        return int(builder.EndVector())
    written = {
        field: each if isinstance(each, _Number) else _write(builder, each)
        for field, each in value.items()
    }
    builder.StartObject(max(written, default=-1) + 1)
    for field, each in written.items():
        if isinstance(each, _Number):
            getattr(builder, f"Prepend{each.kind}Slot")(field, each.value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(field, each, 0)
    return int(builder.EndObject())
