"""A picture as the model's authors prepare it, and the way back from the input to its own pixels.

The rules are those of timm's evaluation transforms (``timm.data.transforms_factory``): the picture
is resized, and the middle of it is cut out. Where a manifest has no rule, the whole picture is
stretched to the input's size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ArtifactError, UsageError
from ..parity.samples import Sample, normalise
from ..system.options import shortened
from ..system.pictures import LONGEST_SIDE, in_colours, pillow

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..artifacts.interface import Preprocessing
    from ..graph.specs import InputSpec

__all__ = ["Placement", "Prepared", "prepare"]


@dataclass(frozen=True)
class Placement:
    """Where the input lies in the picture: picture = (input + offset) / scale, in pixels.

    Attributes:
        scale: of x and y, from the picture to the resized one.
        offset: of the input's left upper corner in the resized picture; negative where it was
            filled up.
    """

    scale: tuple[float, float]
    offset: tuple[int, int]

    def boxes(self, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Boxes (M, 4), left, top, right, bottom, in pixels of the picture, cut at its edges.

        Args:
            boxes: in pixels of the input.
            size: (width, height) of the picture.
        """
        offset, scale = np.tile(self.offset, 2), np.tile(self.scale, 2)
        limit = np.tile(np.asarray(size, dtype=np.float64), 2)
        moved: np.ndarray = (boxes + offset) / scale
        return moved.clip(0.0, limit)

    def cells(self, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Of each row and of each column of the picture, the input's that its middle lies in; it
        may be outside of the input.

        Args:
            size: (width, height) of the picture.
        """
        across, down = (
            np.floor((np.arange(n) + 0.5) * scale + 1e-9).astype(np.int64) - offset
            for n, scale, offset in zip(size, self.scale, self.offset, strict=True)
        )
        return down, across


@dataclass(frozen=True)
class Prepared:
    """A picture, ready for the model.

    Attributes:
        picture: upright, in RGB, at its own size; None where nobody draws on it.
        size: its (width, height).
        sample: what the model takes.
        rule: how it was made, in words.
    """

    picture: Image | None
    size: tuple[int, int]
    sample: Sample
    placement: Placement
    rule: str


def prepare(image: Image, name: str, spec: InputSpec, rule: Preprocessing | None) -> Prepared:
    """Resize, crop and normalise a picture.

    Args:
        name: what the picture is called.

    Raises:
        UsageError: the model takes no picture, or not one of such a shape.
    """
    if spec.shape[1] not in (1, 3) or len(spec.shape) != 4:
        what = "clips" if len(spec.shape) == 5 else f"{spec.shape[1]} channels"
        raise UsageError(
            f"The model takes {what}; a picture is none.",
            hint="Arrays of any shape are taken as `samples` of a verification.",
        )
    picture = in_colours(image, "RGB")
    grey = "" if spec.shape[1] == 3 else ", in grey: the model takes one channel"
    plain = picture if spec.shape[1] == 3 else in_colours(image, "L")
    height, width = spec.size
    resized, said = _resize(plain, name, spec.size, rule)
    left, top = _offset(resized.width, width), _offset(resized.height, height)
    border = rule is not None and rule.crop_mode == "border"
    fill = tuple(round(255 * min(max(mean, 0.0), 1.0)) if border else 0 for mean in spec.mean)
    cut = pillow().new(plain.mode, (width, height), fill if len(fill) > 1 else fill[0])
    cut.paste(resized, (-left, -top))
    scale = (resized.width / picture.width, resized.height / picture.height)
    placement = Placement(scale, (left, top))
    return Prepared(picture, picture.size, _sample(cut, name, spec), placement, said + grey)


def _offset(resized: int, size: int) -> int:
    """Where the middle of ``size`` pixels begins, as torchvision's CenterCrop cuts and pads."""
    return round((resized - size) / 2.0) if resized >= size else -((size - resized) // 2)


def _resize(
    image: Image, name: str, size: tuple[int, int], rule: Preprocessing | None
) -> tuple[Image, str]:
    """The picture before the crop, and what was done."""
    library = pillow()
    height, width = size
    if rule is None:
        said = f"stretched to {width}x{height} (no rule is known)"
        return image.resize((width, height), library.Resampling.BILINEAR), said
    if min(rule.resize) < 1:
        raise ArtifactError(
            f"The manifest says to resize pictures to {rule.resize[0]}x{rule.resize[1]}.",
            hint="Export the model again.",
        )
    chosen = _filter(rule.interpolation)
    wanted = _resized_to(image.size, (rule.resize[1], rule.resize[0]), rule.crop_mode)
    if math.prod(wanted) > _MOST_RESIZED or max(wanted) > LONGEST_SIDE:
        raise UsageError(
            f"{name} is {image.width}x{image.height}, and would be resized to "
            f"{wanted[0]}x{wanted[1]}.",
            hint="Crop it: one side is far longer than the other.",
        )
    return image.resize(wanted, chosen), _said(rule, wanted, (width, height))


def _said(rule: Preprocessing, resized: tuple[int, int], size: tuple[int, int]) -> str:
    """A rule in words, for a picture that it resizes to ``resized`` for an input of ``size``, each
    (width, height)."""
    verb = "stretched" if rule.crop_mode == "squash" else "resized"
    words = [f"{verb} to {resized[0]}x{resized[1]} ({rule.interpolation})"]
    if any(have > want for have, want in zip(resized, size, strict=True)):
        words.append(f"cut to the middle {size[0]}x{size[1]}")
    if any(have < want for have, want in zip(resized, size, strict=True)):
        words.append(f"filled up to {size[0]}x{size[1]}")
    return f"{', '.join(words)}; {rule.source}"


def _resized_to(have: tuple[int, int], target: tuple[int, int], mode: str) -> tuple[int, int]:
    """(width, height) to resize to: torchvision's Resize, or timm's ResizeKeepRatio."""
    if mode == "squash":
        return target
    width, height = have
    if mode == "center" and target[0] == target[1]:
        longer = int(target[0] * max(have) / min(have))
        return (target[0], longer) if width <= height else (longer, target[0])
    ratios = (height / target[1], width / target[0])
    ratio = max(ratios) if mode == "border" else min(ratios)
    return max(1, round(width / ratio)), max(1, round(height / ratio))


_MOST_RESIZED = 2**26


def _filter(name: str) -> Any:
    """Pillow's filter of timm's word for an interpolation; "random" is bilinear, as in timm.

    Raises:
        ArtifactError: it is none.
    """
    library = pillow().Resampling
    known = {each.name.lower(): each for each in library}
    known |= {"random": library.BILINEAR, "nearest-exact": library.NEAREST}
    if name.lower() not in known:
        raise ArtifactError(
            f"The manifest says to resize pictures by {shortened(name)!r}.",
            hint=f"Valid are {', '.join(sorted(known))}. Export the model again.",
        )
    return known[name.lower()]


def _sample(image: Image, name: str, spec: InputSpec) -> Sample:
    height, width = spec.size
    array = np.asarray(image, dtype=np.float32).reshape(height, width, -1).transpose(2, 0, 1)
    if spec.channel_order == "BGR":
        array = array[::-1]
    pixels = torch.from_numpy(np.ascontiguousarray(array))[None]
    return Sample(name, normalise(pixels, spec).float(), pixels)
