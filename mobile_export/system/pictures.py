"""Pictures of unknown origin, decoded by Pillow after their size was read from the header."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .install import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["LONGEST_SIDE", "MOST_PIXELS", "SUFFIXES", "decode_picture", "in_colours", "pillow"]

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 2**26
LONGEST_SIDE = 2**16 - 1
"""Pixels, as JPEG has it: resizing holds some numbers for each of them."""


def pillow() -> Any:
    """The module ``PIL.Image``.

    Raises:
        MissingExtraError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing_extra("A picture", "PIL", "pictures") from error
    return Image


def decode_picture(content: bytes, *, upright: bool = True) -> Image:
    """A PNG or JPEG file, turned as its EXIF orientation says.

    Args:
        upright: False leaves it as it is stored.

    Raises:
        ValueError: it is no such file, has more than `MOST_PIXELS` pixels, or a side is longer than
            `LONGEST_SIDE`.
        Exception: whatever the decoder raises at a damaged file.
    """
    library = pillow()
    from PIL import ImageOps

    try:
        image: Image = library.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    except library.UnidentifiedImageError as error:  # it names an object in memory
        raise ValueError("it does not begin as a PNG or JPEG file does") from error
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it is {width}x{height} pixels large; at most {MOST_PIXELS:,} are decoded"
        )
    if max(width, height) > LONGEST_SIDE:
        raise ValueError(
            f"it is {width}x{height} pixels large; at most {LONGEST_SIDE:,} are taken on a side"
        )
    image.load()
    if upright:
        ImageOps.exif_transpose(image, in_place=True)  # a copy only if it is turned
    return image


def in_colours(image: Image, mode: Literal["L", "RGB"]) -> Image:
    """Of 8 bits and in these colours: 16 bits are rounded, transparency is dropped."""
    if image.mode.startswith("I"):  # 16 bits
        rows = np.array_split(np.asarray(image), max(1, image.height // 64))
        image = pillow().fromarray(np.concatenate([_of_8_bits(each) for each in rows]))
    return image if image.mode == mode else image.convert(mode)


def _of_8_bits(values: np.ndarray) -> np.ndarray:
    return (values / 257.0).clip(0, 255).round().astype(np.uint8)
