"""A folder of the user's own pictures: colours, place and size by hand; what is refused."""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_export.errors import MissingExtraError, UsageError
from mobile_export.graph.specs import InputSpec
from mobile_export.parity.pictures import MOST_PICTURES, picture_files, read_pictures
from mobile_export.system import pictures as decoding
from mobile_export.system.install import install_command, missing_extra

Image = pytest.importorskip("PIL.Image")

PLAIN = InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3)
RED, BLUE = (200, 10, 20), (20, 10, 200)


def two_halves(size: tuple[int, int] = (16, 16)) -> np.ndarray:
    """(H, W, 3): the upper half red, the lower blue."""
    array = np.empty((*size, 3), np.uint8)
    array[: size[0] // 2], array[size[0] // 2 :] = RED, BLUE
    return array


def only(folder: Path, spec: InputSpec = PLAIN) -> np.ndarray:
    """The pixels (C, H, W) of the one sample in a folder."""
    (sample,) = read_pictures(folder, spec)
    assert sample.pixels is not None
    assert sample.image.shape == spec.shape
    assert sample.image.dtype == torch.float32
    return sample.pixels[0].numpy()


def test_a_png_has_its_colours_in_their_place(tmp_path: Path) -> None:
    Image.fromarray(two_halves()).save(tmp_path / "a.png")
    pixels = only(tmp_path)
    assert pixels[:, 0, 3].tolist() == list(RED)
    assert pixels[:, 7, 3].tolist() == list(BLUE)
    (sample,) = read_pictures(tmp_path, PLAIN)
    np.testing.assert_allclose(sample.image[0, :, 0, 0], np.array(RED) / 255, rtol=1e-6)


def test_the_normalisation_and_the_order_of_channels_are_the_models(tmp_path: Path) -> None:
    Image.fromarray(two_halves()).save(tmp_path / "a.png")
    spec = InputSpec((1, 3, 8, 8), (0.5,) * 3, (0.25,) * 3, channel_order="BGR")
    (sample,) = read_pictures(tmp_path, spec)
    wanted = (np.array(RED[::-1]) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(sample.image[0, :, 0, 0], wanted, rtol=1e-6)


def test_a_picture_is_cropped_in_the_middle(tmp_path: Path) -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = RED
    Image.fromarray(wide).save(tmp_path / "a.png")
    assert np.ptp(only(tmp_path).reshape(3, -1), axis=1).tolist() == [0, 0, 0]


def test_exif_orientation_turns_the_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    picture = Image.fromarray(two_halves())
    picture.save(tmp_path / "a.jpg", exif=exif, quality=95, subsampling=0)
    pixels = only(tmp_path)
    assert abs(pixels[:, 0, 3] - np.array(BLUE)).max() < 12
    assert abs(pixels[:, 7, 3] - np.array(RED)).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK"])
def test_other_colour_spaces(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(two_halves()).convert(mode)
    picture.save(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    assert abs(only(tmp_path)[:, 0, 3] - np.array(RED)).max() < 12


def test_grey_pictures_and_grey_models(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(tmp_path / "a.png")
    assert only(tmp_path)[:, 4, 4].tolist() == [77, 77, 77]
    grey = InputSpec((1, 1, 8, 8), (0.0,), (1.0,))
    assert only(tmp_path, grey).shape == (1, 8, 8)


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 100 * 257, np.uint16)).save(tmp_path / "a.png")
    assert only(tmp_path)[:, 4, 4].tolist() == [100, 100, 100]


def test_a_clip_pans_over_the_picture(tmp_path: Path) -> None:
    Image.fromarray(two_halves().transpose(1, 0, 2)).save(tmp_path / "a.png")
    clip = only(tmp_path, InputSpec((1, 3, 2, 8, 8), (0.0,) * 3, (1.0,) * 3))
    np.testing.assert_array_equal(clip[:, 1], np.roll(clip[:, 0], 2, axis=-1))


def test_arrays_of_the_inputs_shape_are_taken_as_they_are(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 3, 8, 8))
    np.save(tmp_path / "a.npy", values[0])
    np.save(tmp_path / "b.npy", np.asfortranarray(values[1:]))
    np.savez_compressed(tmp_path / "c.npz", one=values[0], two=two_halves())
    found = read_pictures(tmp_path, PLAIN)
    assert [sample.name for sample in found] == ["a.npy", "b.npy", "c.npz:one", "c.npz:two"]
    for sample, wanted in zip(found, [values[0], values[1], values[0]], strict=False):
        np.testing.assert_array_equal(sample.image[0], wanted.astype(np.float32))
        assert sample.pixels is None
    assert found[3].pixels is not None
    assert found[3].pixels[0, :, 0, 3].tolist() == list(RED)


def test_eight_bit_arrays_of_the_inputs_shape_are_pixels(tmp_path: Path) -> None:
    array = np.full((3, 8, 8), 51, np.uint8)
    np.save(tmp_path / "a.npy", array)
    (sample,) = read_pictures(tmp_path, PLAIN)
    assert sample.pixels is not None
    assert sample.image.unique().tolist() == [pytest.approx(0.2)]


def test_hidden_and_other_files_are_passed_over_and_the_rest_is_limited(tmp_path: Path) -> None:
    for index in range(MOST_PICTURES + 3):
        np.save(tmp_path / f"{index:03}.npy", np.zeros(PLAIN.shape, np.float32))
    for name in ("._a.png", "Thumbs.db", "README.md"):
        (tmp_path / name).write_bytes(b"no picture")
    assert len(read_pictures(tmp_path, PLAIN)) == MOST_PICTURES
    assert picture_files(tmp_path)[0].name == "000.npy"


def test_what_is_no_folder_with_pictures(tmp_path: Path) -> None:
    file = tmp_path / "file.png"
    file.write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nowhere", file, tmp_path / "empty", Path("nul\0")):
        with pytest.raises(UsageError, match="`samples`"):
            picture_files(path)


def png_that_says(width: int, height: int) -> bytes:
    """A PNG whose header promises a size, and whose data are a few bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def npy_that_says(shape: tuple[int, ...]) -> bytes:
    stream = io.BytesIO()
    facts = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, facts)  # type: ignore[no-untyped-call]
    return stream.getvalue() + b"\0" * 64


def zip_of(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", content)
    return stream.getvalue()


def with_objects() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


def whole_png() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(two_halves()).save(stream, "png")
    return stream.getvalue()


BAD: dict[str, tuple[str, Callable[[], bytes]]] = {
    "text": ("a.png", lambda: b"hello"),
    "nothing": ("a.jpg", lambda: b""),
    "gif called png": ("a.png", lambda: b"GIF89a" + b"\0" * 40),
    "bomb": ("a.png", lambda: png_that_says(30000, 30000)),
    "cut off": ("a.png", lambda: whole_png()[:-30]),
    "no rows": ("a.png", lambda: png_that_says(64, 64)),
    "array bomb": ("a.npy", lambda: npy_that_says((2**20, 2**20))),
    "array cut off": ("a.npy", lambda: npy_that_says((1, 3, 8, 8))),
    "negative": ("a.npy", lambda: npy_that_says((-1, 16))),
    "pickle": ("a.npy", with_objects),
    "no zip": ("a.npz", lambda: b"PK\x03\x04 no"),
    "zip bomb": ("a.npz", lambda: zip_of(b"\0" * 2**27)),
    "zip of text": ("a.npz", lambda: zip_of(b"hello")),
    "wrong shape": ("a.npy", lambda: npy_that_says((4, 4))),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_files_are_one_message(tmp_path: Path, what: str) -> None:
    name, make = BAD[what]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(UsageError, match="`samples`") as caught:
        read_pictures(tmp_path, PLAIN)
    assert name in caught.value.message
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message


def test_not_a_number_is_no_input(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full(PLAIN.shape, np.nan))
    with pytest.raises(UsageError, match="NaN"):
        read_pictures(tmp_path, PLAIN)


def test_models_of_other_channels_want_arrays(tmp_path: Path) -> None:
    Image.fromarray(two_halves()).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match="4 channels"):
        read_pictures(tmp_path, InputSpec((1, 4, 8, 8), (0.0,) * 4, (1.0,) * 4))


def test_without_pillow_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(two_halves()).save(tmp_path / "a.png")

    def missing() -> None:
        raise missing_extra("A folder of pictures", "PIL", "pictures")

    monkeypatch.setattr(decoding, "pillow", missing)
    with pytest.raises(MissingExtraError, match=re.escape(install_command("pictures"))):
        read_pictures(tmp_path, PLAIN)
