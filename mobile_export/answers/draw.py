"""An answer drawn on its picture, with Pillow."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError
from ..system.pictures import pillow
from .decode import Answer, Found, Region

if TYPE_CHECKING:
    from PIL.Image import Image

    from .prepare import Prepared

__all__ = ["beside", "colour_of", "draw", "ink_on", "png"]

_LONGEST = 60
"""Letters of a name."""
_LEGEND = 12
"""Regions named below a mask: the largest."""
_SURE = 0.3
"""Objects that are as sure are drawn; where none is, the surest."""
_SUREST = 20
_GOLDEN = 0.61803398875
_TONES = ((0.85, 0.95), (0.45, 0.95), (0.9, 0.6), (0.5, 0.7))
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def draw(answer: Answer, prepared: Prepared) -> Image:
    """Boxes on the picture; a mask over the input with its legend; an upscaled image or a map as it
    is; of a classifier, the picture with its classes below.

    Raises:
        UsageError: the answer is numbers only.
    """
    library = pillow()
    if answer.image is not None:
        return library.fromarray(np.ascontiguousarray(answer.image))
    if answer.map is not None:
        grey = (answer.map * 255).round().clip(0, 255).astype(np.uint8)
        return library.fromarray(grey)
    if answer.labels is not None:
        return _mask(answer, prepared)
    if answer.classes:
        assert prepared.picture is not None
        lines = [f"{said(each)} {each.score:.1%}" for each in answer.classes]
        return _with_lines(prepared.picture, [(line, None) for line in lines])
    if answer.objects or any(each.meaning == "boxes" for each in answer.results):
        return _boxes(answer, prepared)
    raise UsageError(
        "There is nothing to draw: what the outputs mean is not known.",
        hint="Leave -o out; the shapes and ranges of the outputs are printed.",
    )


def beside(drawings: Sequence[tuple[str, Image]]) -> Image:
    """Drawings in columns of one width, each with its title below; one is left as it is.

    Args:
        drawings: (title, image), from left to right.
    """
    if len(drawings) == 1:
        return drawings[0][1]
    named = [_with_lines(image.convert("RGB"), [(title, None)]) for title, image in drawings]
    column = max(each.width for each in named)
    gap = max(4, column // 60)
    size = ((column + gap) * len(named) - gap, max(each.height for each in named))
    whole = pillow().new("RGB", size, _WHITE)
    for place, each in enumerate(named):
        whole.paste(each, (place * (column + gap), 0))
    return whole


def said(found: Found | Region) -> str:
    """The name of a class, not longer than a line, or, without one, its index."""
    if found.name is None:
        return f"class {found.index}"
    return found.name if len(found.name) <= _LONGEST else f"{found.name[:_LONGEST]}…"


def ink_on(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white: what can be read better on a colour.

    Source:
        Relative luminance and contrast of the Web Content Accessibility Guidelines (WCAG 2.2).
    """
    linear = [((c / 255 + 0.055) / 1.055) ** 2.4 if c > 10 else c / 255 / 12.92 for c in colour]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _BLACK if (luminance + 0.05) ** 2 > 0.05 * 1.05 else _WHITE


def colour_of(index: int) -> tuple[int, int, int]:
    """A colour for a class, the same everywhere.

    Hues of neighbours are steps of the golden ratio apart; classes of a like hue differ in
    saturation and brightness.
    """
    saturation, value = _TONES[index // 3 % len(_TONES)]
    red, green, blue = colorsys.hsv_to_rgb((index * _GOLDEN) % 1.0, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def png(image: Image) -> bytes:
    """The bytes of a PNG file."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def _boxes(answer: Answer, prepared: Prepared) -> Image:
    from PIL import ImageDraw

    assert prepared.picture is not None
    image = prepared.picture.copy()
    pen = ImageDraw.Draw(image)
    thick = max(1, round(max(image.size) / 320))
    font = _font(image)
    sure = [each for each in answer.objects if each.score >= _SURE]
    for each in reversed(sure or answer.objects[:_SUREST]):  # the surest last, on top
        assert each.box is not None
        colour = colour_of(each.index)
        pen.rectangle(each.box, outline=colour, width=thick)
        text = f"{said(each)} {each.score:.0%}"
        left, top = each.box[0], each.box[1]
        pen.rectangle(pen.textbbox((left, top), text, font=font), fill=colour)
        pen.text((left, top), text, fill=ink_on(colour), font=font)
    return image


def _mask(answer: Answer, prepared: Prepared) -> Image:
    library = pillow()
    assert answer.labels is not None
    height, width = prepared.sample.image.shape[-2:]
    colours = np.array([colour_of(region.index) for region in answer.regions], dtype=np.uint8)
    places = np.zeros(max(region.index for region in answer.regions) + 1, dtype=np.int64)
    places[[region.index for region in answer.regions]] = np.arange(len(answer.regions))
    paint = colours[places[answer.labels]]
    mask = library.fromarray(paint).resize((width, height), library.Resampling.NEAREST)
    blended = library.blend(_input(prepared), mask, 0.55)
    legend = []
    for region in answer.regions[:_LEGEND]:
        legend.append((f"{said(region)} {region.share:.1%}", colour_of(region.index)))
    return _with_lines(blended, legend)


def _input(prepared: Prepared) -> Image:
    """What the model saw, in RGB."""
    library = pillow()
    assert prepared.sample.pixels is not None
    pixels = prepared.sample.pixels[0].numpy().transpose(1, 2, 0).round().astype(np.uint8)
    if pixels.shape[2] == 1:
        return library.fromarray(pixels[..., 0]).convert("RGB")
    return library.fromarray(np.ascontiguousarray(pixels))


def _with_lines(image: Image, lines: Sequence[tuple[str, tuple[int, int, int] | None]]) -> Image:
    """The image with lines of text below it, each behind a field of its colour."""
    from PIL import ImageDraw

    font = _font(image)
    pen = ImageDraw.Draw(image)
    boxes = [pen.textbbox((0, 0), text, font=font) for text, _ in lines]
    step = round(max((box[3] for box in boxes), default=0) * 1.3)
    width = max([image.width, *(round(box[2]) + 2 * step for box in boxes)])
    whole = pillow().new("RGB", (width, image.height + step * len(lines)), _WHITE)
    whole.paste(image, (0, 0))
    pen = ImageDraw.Draw(whole)
    for place, (text, colour) in enumerate(lines):
        top = image.height + place * step
        if colour is not None:
            pen.rectangle((step // 4, top + step // 6, step, top + step - step // 6), fill=colour)
        pen.text((round(1.25 * step), top), text, fill=_BLACK, font=font)
    return whole


def _font(image: Image) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=min(max(11, round(max(image.size) / 40)), 96))
