"""Pictures of strangers: their size is known before they are unpacked, and they are turned."""

from __future__ import annotations

import io

import numpy as np
import pytest

from mobile_export.system.pictures import LONGEST_SIDE, decode_picture, in_colours

Image = pytest.importorskip("PIL.Image")


def _file(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("size", [(LONGEST_SIDE + 1, 1), (1, LONGEST_SIDE + 1), (9000, 9000)])
def test_a_picture_that_is_too_large(size: tuple[int, int]) -> None:
    content = _file(Image.new("1", size))
    assert len(content) < 50_000
    with pytest.raises(ValueError, match=f"it is {size[0]}x{size[1]} pixels large; at most"):
        decode_picture(content)


def test_what_is_no_picture_is_said_without_a_place_in_memory() -> None:
    with pytest.raises(ValueError, match=r"^it does not begin as a PNG or JPEG file does$"):
        decode_picture(b"GIF89a" + bytes(100))


def test_a_picture_is_turned_as_its_exif_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it clockwise by 90 degrees
    image = Image.new("RGB", (16, 8), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 16, 4))
    turned = decode_picture(_file(image, exif=exif))
    assert turned.size == (8, 16)
    shown = np.asarray(turned)[..., 0]
    assert shown[:, 4:].min() == 255
    assert shown[:, :4].max() == 0


def test_16_bits_are_rounded_to_8() -> None:
    """PNG specification (third edition), 13.12: v / 257, rounded."""
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    given = decode_picture(_file(Image.fromarray(values)))
    expected = np.array([round(v / 257) for v in range(65536)]).reshape(256, 256)
    np.testing.assert_array_equal(np.asarray(in_colours(given, "L")), expected)
