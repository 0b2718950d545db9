"""Screens of the app against those that are kept in ``screens/``: half as large, JPEG.

The difference of two screens is that of the block of 8x8 pixels (16x16 of the screen) that differs
most: a letter, a line of a box or a stripe of a mask fills a good part of a block, and what JPEG
loses does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KEPT = Path(__file__).parent / "screens"
BLOCK = 8
ALLOWED = 12.0
"""Of 255, mean of the three colours over a block; what JPEG loses is 4 to 7."""


def halved(path: Path) -> Image.Image:
    """A screen at half its size."""
    image = Image.open(path).convert("RGB")
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)


def keep(screen: Path) -> None:
    """Write a screen to the kept ones."""
    KEPT.mkdir(exist_ok=True)
    halved(screen).save(KEPT / f"{screen.stem}.jpg", quality=90, subsampling=0, optimize=True)


def difference(screen: Path, kept: str) -> float:
    """Mean absolute difference of the block that differs most; infinite where sizes differ."""
    new, old = (np.asarray(each, np.float64) for each in (halved(screen), read(kept)))
    if new.shape != old.shape:
        return float("inf")
    apart = np.abs(new - old).mean(2)
    high, wide = (extent // BLOCK * BLOCK for extent in apart.shape)
    blocks = apart[:high, :wide].reshape(high // BLOCK, BLOCK, wide // BLOCK, BLOCK)
    return float(blocks.mean((1, 3)).max())


def read(kept: str) -> Image.Image:
    """A kept screen."""
    return Image.open(KEPT / f"{kept}.jpg").convert("RGB")
