"""What a file takes and gives, how images are made ready for it, and how its model is built again.

Records of a manifest (`manifest`), which is input: every field has a type and a limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from .fields import Dim, Name, Number, Positive, Seed, Text
from .words import Meaning, Task

__all__ = [
    "Box",
    "Build",
    "FileInput",
    "FileOutput",
    "Interface",
    "Meaning",
    "Normalization",
    "Preprocessing",
    "Task",
    "contradictions",
    "contradictions_of",
]

FreeShape = Annotated[tuple[Dim | None, ...], Meta(max_length=16)]
"""Null stands for an extent that depends on the image."""
Axes = Annotated[str, Meta(pattern=r"^[NCTHW]{1,6}$(?!\n)")]
"""One letter an axis: batch, channels or classes, time, height, width."""
PerChannel = Annotated[tuple[Number, ...], Meta(max_length=4096)]


class Normalization(msgspec.Struct, frozen=True):
    """From a pixel to what the network computes with: (pixel * scale - mean) / std, per channel.

    Attributes:
        inside: the file does it, and takes pixels from 0 to 255; otherwise the app does it.
    """

    inside: bool
    scale: Positive
    mean: PerChannel
    std: Annotated[tuple[Positive, ...], Meta(max_length=4096)]


class FileInput(msgspec.Struct, frozen=True, kw_only=True):
    """An input of the file, as the format's runtime has it.

    Attributes:
        name: by which an app gives it.
        tensor: name of the tensor inside the file, where that is another one.
        shape: in the file's own order of axes.
        dtype: in NumPy's words.
        layout: what each axis is; null of what is no image.
        source: the model's input that it is, a name in ``input`` and ``other_inputs``; null of
            older manifests, and of what the file adds.
        image: the runtime takes an image here (Core ML's image type), and no array.
        channel_order: of an image or an array of pixels.
        range: least and greatest number of the values that an app gives.
        optional: it has a value of its own where the app gives none.
    """

    name: Name
    tensor: Name | None = None
    shape: FreeShape
    dtype: Name
    layout: Axes | None = None
    image: bool = False
    channel_order: Literal["RGB", "BGR", "L"] | None = None
    range: tuple[Number, Number] | None = None
    normalization: Normalization | None = None
    optional: bool = False
    source: Name | None = None


class Box(msgspec.Struct, frozen=True):
    """What the four numbers of a box are, in order, from the upper left corner of the image.

    Attributes:
        order: ``left``, ``top``, ``right``, ``bottom``, ``centre x``, ``centre y``, ``width``,
            ``height``.
        unit: ``pixels`` of the input, or ``image``: its width and height are 1.
    """

    order: tuple[Name, Name, Name, Name]
    unit: Literal["pixels", "image"]


class FileOutput(msgspec.Struct, frozen=True, kw_only=True):
    """An output of the file, as the format's runtime has it; see `FileInput`.

    Attributes:
        meaning: what the numbers are; null where nobody said.
        box: of boxes.
        source: the model's output that it is, a name in ``outputs``; null of what the file adds.
    """

    name: Name
    tensor: Name | None = None
    shape: FreeShape
    dtype: Name
    layout: Axes | None = None
    meaning: Meaning | None = None
    box: Box | None = None
    source: Name | None = None


class Interface(msgspec.Struct, frozen=True):
    """What the file itself takes and gives, in its order."""

    inputs: Annotated[tuple[FileInput, ...], Meta(min_length=1, max_length=80)]
    outputs: Annotated[tuple[FileOutput, ...], Meta(min_length=1, max_length=256)]


class Preprocessing(msgspec.Struct, frozen=True, kw_only=True):
    """How the model's authors bring a picture to its size when they measure its accuracy.

    The words are those of timm's data configurations.

    Attributes:
        resize: (height, width) before the crop, for the size of this file.
        crop_mode: ``center``: the picture keeps its proportions, both sides at least those of
            ``resize``, and the middle is cut out; ``squash``: both sides are made those of
            ``resize``, then cut; ``border``: its proportions are kept, none of its sides longer
            than ``resize``, and the rest is filled up.
        crop_pct: the size of the input as a share of ``resize``.
        interpolation: of the resizing.
        source: who says so.
    """

    resize: tuple[Dim, Dim]
    crop_mode: Literal["center", "squash", "border"]
    crop_pct: Annotated[float, Meta(gt=0, le=10)]
    interpolation: Name
    source: Text


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked of the source: with ``source`` and ``weights``, how to build the model again.

    Null stands for the model's own value. It is data: only names of built-in and timm models, and
    a saved program whose hash is that of ``weights``, are ever built because they stand here.

    Attributes:
        kind: of the source.
        allow_missing: a changed classifier kept its random weights.
        dynamic: what the file leaves open: how many images, or their size.
        input: what the user named, as typed: ``NAME=SHAPE:DTYPE``.
        outputs: that were chosen among the model's; null: all.
    """

    kind: Literal[
        "built-in",
        "composition",
        "timm",
        "torchvision",
        "transformers",
        "factory",
        "saved program",
        "module",
    ]
    size: tuple[Dim, Dim] | None = None
    num_classes: Annotated[int, Meta(ge=0, le=1_048_576)] | None = None
    channels: Annotated[int, Meta(ge=1, le=4096)] | None = None
    batch: Annotated[int, Meta(ge=1, le=1024)] | None = None
    mean: PerChannel | None = None
    std: Annotated[tuple[Positive, ...], Meta(max_length=4096)] | None = None
    seed: Seed = 0
    pretrained: bool = False
    allow_missing: bool = False
    dynamic: Literal["batch", "size"] | None = None
    input: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    outputs: Annotated[tuple[Name, ...], Meta(max_length=256)] | None = None


def contradictions(interface: Interface, inputs: Sequence[Any]) -> Iterator[str]:
    """What a file's interface says otherwise of an image than the manifest's own inputs do.

    Args:
        inputs: of the manifest (`manifest.Input`): the model's.
    """
    images = {each.name: each for each in inputs if each.role == "image"}
    for place, file in enumerate(interface.inputs):
        image = images.get(file.source or "")
        if image is None:
            continue
        where = f"interface.inputs[{place}]"
        axes = _letters(image.shape, image.channels_last)
        if file.layout is not None and len(file.layout) == len(file.shape):
            wanted = tuple(axes.get(letter) for letter in file.layout)
            pairs = zip(file.shape, wanted, strict=True)
            if any(own is not None and own != there for own, there in pairs):
                yield f"{where} has the shape {list(file.shape)}, input {list(image.shape)}"
        found = file.normalization
        if found is not None and image.mean and (found.mean, found.std) != (image.mean, image.std):
            yield f"{where} has another mean or std than input"


def contradictions_of(build: Build, inputs: Sequence[Any]) -> Iterator[str]:
    """What was asked of the source that the model's inputs, as the manifest has them, are not.

    Args:
        inputs: of the manifest (`manifest.Input`).
    """
    image = inputs[0]
    if image.role != "image" or build.input or len(image.shape) < 3:
        return
    axes = _letters(image.shape, image.channels_last)
    size = None if build.size is None else list(build.size)
    for name, asked, found in (
        ("size", size, [axes.get("H"), axes.get("W")]),
        ("channels", build.channels, axes["C"]),
        ("batch", build.batch, axes["N"]),
    ):
        if asked is not None and asked != found:
            yield f"build.{name} is {asked}, and input has the shape {list(image.shape)}"


def _letters(shape: Sequence[int], channels_last: bool) -> dict[str, int]:
    """The extent of each axis of the model's image or clip."""
    batch, *others = shape
    channels = others.pop(-1 if channels_last else 0)
    return {"N": batch, "C": channels, **dict(zip("THW"[-len(others) :], others, strict=True))}
