"""Pictures of unknown origin, decoded by Pillow after their size was read from the header."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .install import missing_extra

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["MOST_PIXELS", "SUFFIXES", "decode_picture", "in_colours", "pillow"]

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_PIXELS = 2**26


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


def decode_picture(content: bytes) -> Image:
    """A PNG or JPEG file, turned as its EXIF orientation says.

    Raises:
        ValueError: it has more than `MOST_PIXELS` pixels.
        Exception: whatever the decoder raises at a damaged file.
    """
    library = pillow()
    from PIL import ImageOps

    image: Image = library.open(io.BytesIO(content), formats=("PNG", "JPEG"))
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise ValueError(
            f"it is {width}x{height} pixels large; at most {MOST_PIXELS:,} are decoded"
        )
    image.load()
    return ImageOps.exif_transpose(image)


def in_colours(image: Image, mode: Literal["L", "RGB"]) -> Image:
    """Of 8 bits and in these colours: 16 bits are rounded, transparency is dropped."""
    if image.mode.startswith("I"):  # 16 bits
        wide = np.asarray(image).astype(np.float64) / 257.0
        image = pillow().fromarray(wide.clip(0, 255).round().astype(np.uint8))
    return image.convert(mode)
