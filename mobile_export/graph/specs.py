"""What a program takes and gives: plain data, importable without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..artifacts.words import Meaning, Role, Task

__all__ = [
    "CONVERTED",
    "DTYPES",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "PIXELS",
    "PROBABILITIES",
    "InputSpec",
    "Meaning",
    "OutputSpec",
    "Recipe",
    "Role",
    "Task",
    "Thresholds",
    "WeightsInfo",
]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
PIXELS = "pixels"
"""Name of the input of a file that takes an array of pixels from 0 to 255, not a normalised image:
not all formats have another place to say so."""
PROBABILITIES = "probabilities"
"""Name of the output of a file that turns the model's logits into probabilities."""


@dataclass(frozen=True)
class InputSpec:
    """One input of a program: mostly an image or a video clip.

    Attributes:
        name: stable name in every artifact.
        shape: of an image (N, C, H, W) in PyTorch's order, or (N, C, T, H, W) of a clip, or with
            C last (``channels_last``); of anything else, any shape.
        mean, std: per-channel normalisation in the unit of pixels scaled to [0, 1];
            the model takes (pixel / 255 - mean) / std. Empty of what is no image.
        channel_order: order of the colour channels, "RGB" or "BGR" (or "L" for one channel).
        pixels: the program takes pixels from 0 to 255 and normalises them itself.
        dtype: of the input, in NumPy's words: one of `DTYPES`.
        role: what it is, and so which values the check draws for it.
        channels_last: the model itself takes its image as (N, H, W, C).
        highest: the largest number that an input of indices or boxes may hold.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    name: str = "image"
    channel_order: str = "RGB"
    pixels: bool = False
    dtype: str = "float32"
    role: Role = "image"
    channels_last: bool = False
    highest: int | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, of an image."""
        height, width = self.shape[-3:-1] if self.channels_last else self.shape[-2:]
        return height, width

    def of_size(self, size: tuple[int, int]) -> InputSpec:
        """The same for images of (height, width)."""
        shape = list(self.shape)
        last = len(shape) - (1 if self.channels_last else 0)
        shape[last - 2 : last] = size
        return replace(self, shape=tuple(shape))

    def as_pixels(self) -> InputSpec:
        """Of a file that takes pixels from 0 to 255 and normalises them itself."""
        return replace(self, name=PIXELS, pixels=True)

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.shape[-1 if self.channels_last else 1]

    def __str__(self) -> str:
        return f"{self.name} {self.shape} {self.dtype}"


DTYPES = ("float32", "uint8", "int32", "int64", "bool")
"""That an input of a model may have."""


@dataclass(frozen=True)
class OutputSpec:
    """One output tensor of a program: its stable name and its static shape.

    Attributes:
        meaning: what its numbers are; None where nobody said.
    """

    name: str
    shape: tuple[int, ...]
    meaning: Meaning | None = None

    def as_probabilities(self) -> OutputSpec:
        """Of a file that turns these logits into probabilities."""
        return replace(self, name=PROBABILITIES, meaning="probabilities")


@dataclass(frozen=True)
class Recipe:
    """How a model's authors bring a picture to its size when they measure its accuracy.

    In the words of timm's data configurations: the picture is resized to the input's size divided
    by ``crop_pct``, and the middle of it is the input.

    Attributes:
        crop_mode: "center" keeps the picture's proportions, "squash" does not, "border" fills up.
        interpolation: of the resizing.
        source: who says so.
    """

    crop_pct: float
    crop_mode: str
    interpolation: str
    source: str

    @property
    def said(self) -> str:
        """In words."""
        return (
            f"resized ({self.interpolation}) to the size divided by {self.crop_pct:g}, "
            f"cropped ({self.crop_mode}); {self.source}"
        )


@dataclass(frozen=True)
class Thresholds:
    """The numbers of one non-maximum suppression.

    The defaults are those of EMO's SSDLite configurations, as in `detection.suppress`.

    Attributes:
        iou_threshold: of two boxes of a class whose intersection over union is above it, the surer
            stays; in (0, 1], and 1 suppresses nothing.
        score_threshold: less sure boxes are left out; in [0, 1).
        max_detections: that are returned at most.
        best_class_only: a box competes with its best class alone; otherwise every pair of box and
            class is a candidate. Core ML has no other way, TFLite not this one.
    """

    iou_threshold: float = 0.45
    score_threshold: float = 0.02
    max_detections: int = 200
    best_class_only: bool = False


CONVERTED = "It was converted from"
"""How the note of a model begins whose weights had another type than float32."""


@dataclass(frozen=True)
class WeightsInfo:
    """Where a model's weights came from.

    Attributes:
        kind: "random" (made by us from ``seed``), "checkpoint" (``path``), "pretrained" (a hub),
            "own" (as the user's factory returned them) or "program" (inside a .pt2 file).
        sha256: of the checkpoint file, or of the .pt2 file.
        notes: what a reader of the report should know, one sentence each.
    """

    kind: str
    seed: int | None = None
    path: str | None = None
    sha256: str | None = None
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people, e.g. ``RANDOM weights (seed 0)``."""
        if self.kind == "random":
            return f"RANDOM weights (seed {self.seed}): this file predicts nothing"
        if self.kind == "checkpoint":
            return f"weights from {self.path}"
        if self.kind == "pretrained":
            return "pretrained weights"
        if self.kind == "program":
            return "weights stored in the program"
        return "weights as the factory returned them"
