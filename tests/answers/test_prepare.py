"""Pictures are prepared as timm and torchvision do, and boxes find their way back by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest

from mobile_export.answers.prepare import Placement, _filter, prepare
from mobile_export.artifacts.interface import Preprocessing
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec

Image = pytest.importorskip("PIL.Image")


def noise(width: int, height: int) -> Image.Image:
    values = np.random.Generator(np.random.PCG64(width)).integers(0, 256, (height, width, 3))
    return Image.fromarray(values.astype(np.uint8))


@pytest.mark.parametrize("mode", ["center", "squash", "border"])
@pytest.mark.parametrize("size", [(32, 32), (32, 48)])
@pytest.mark.parametrize("crop_pct", [0.875, 1.0, 0.9])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("picture", [(61, 40), (40, 61), (33, 200), (20, 21)])
def test_as_timm_does(
    mode: str,
    size: tuple[int, int],
    crop_pct: float,
    interpolation: str,
    picture: tuple[int, int],
) -> None:
    data = pytest.importorskip("timm.data")
    image = noise(*picture)
    spec = InputSpec((1, 3, *size), IMAGENET_MEAN, IMAGENET_STD)
    rule = Preprocessing(
        resize=(math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct)),
        crop_mode=mode,  # type: ignore[arg-type]
        crop_pct=crop_pct,
        interpolation=interpolation,
        source="",
    )
    transform = data.create_transform(
        (3, *size),
        interpolation=interpolation,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        crop_pct=crop_pct,
        crop_mode=mode,
    )
    got = prepare(image, "x", spec, rule).sample.image[0].numpy()
    np.testing.assert_allclose(got, transform(image).numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "resize", "words"),
    [
        ("squash", 16, "stretched to 16x16 (bilinear); them"),
        ("squash", 20, "stretched to 20x20 (bilinear), cut to the middle 16x16; them"),
        ("center", 20, "resized to 40x20 (bilinear), cut to the middle 16x16; them"),
        ("border", 16, "resized to 16x8 (bilinear), filled up to 16x16; them"),
        (
            "border",
            20,
            "resized to 20x10 (bilinear), cut to the middle 16x16, filled up to 16x16; them",
        ),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_done_is_said(
    mode: Literal["center", "squash", "border"], resize: int, words: str, channels: int
) -> None:
    """Of a picture of 64x32; of a model of one channel, that it sees no colours."""
    rule = Preprocessing(
        resize=(resize, resize),
        crop_mode=mode,
        crop_pct=16 / resize,
        interpolation="bilinear",
        source="them",
    )
    spec = InputSpec((1, channels, 16, 16), (0.0,) * channels, (1.0,) * channels)
    spec = replace(spec, channel_order="RGB" if channels == 3 else "L")
    grey = ", in grey: the model takes one channel" if channels == 1 else ""
    assert prepare(noise(64, 32), "x", spec, rule).rule == words + grey


def test_without_a_rule_the_whole_picture_is_stretched() -> None:
    """A picture of one colour a half: each is a half of the input, whatever its shape."""
    values = np.zeros((40, 100, 3), np.uint8)
    values[:, 50:] = 255
    spec = InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    prepared = prepare(Image.fromarray(values), "x", spec, None)
    pixels = prepared.sample.pixels
    assert pixels is not None
    assert (pixels[..., :3] == 0).all()
    assert (pixels[..., 5:] == 255).all()
    assert "stretched" in prepared.rule


def test_colours_are_in_the_models_order() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    spec = InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3, channel_order="BGR")
    image = prepare(red, "x", spec, None).sample.image
    assert image[0, :, 0, 0].tolist() == [0.0, 0.0, 1.0]
    grey = prepare(red, "x", InputSpec((1, 1, 8, 8), (0.0,), (1.0,), channel_order="L"), None)
    assert grey.sample.image.shape == (1, 1, 8, 8)
    # ITU-R 601-2 luma, Pillow's L: 0.299 of red.
    assert float(grey.sample.image[0, 0, 0, 0]) == pytest.approx(0.299, abs=0.003)


def test_boxes_lie_in_the_picture() -> None:
    """200x100, halved, and its middle 40 columns cut out: x = (x' + 30) / 0.5."""
    placement = Placement((0.5, 0.5), (30, 5))
    boxes = placement.boxes(np.array([[0.0, 0.0, 10.0, 20.0], [-99.0, 0, 999, 40]]), (200, 100))
    assert boxes.tolist() == [[60.0, 10.0, 80.0, 50.0], [0.0, 10.0, 200.0, 90.0]]


@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (1, 3, 2, 8, 8)])
def test_what_takes_no_picture_says_so(shape: tuple[int, ...]) -> None:
    spec = InputSpec(shape, (0.0,) * shape[1], (1.0,) * shape[1])
    with pytest.raises(UsageError, match="a picture is none"):
        prepare(noise(8, 8), "x", spec, None)


def test_a_very_long_picture_is_not_blown_up() -> None:
    rule = Preprocessing(
        resize=(256, 256), crop_mode="center", crop_pct=0.875, interpolation="bicubic", source=""
    )
    spec = InputSpec((1, 3, 224, 224), IMAGENET_MEAN, IMAGENET_STD)
    with pytest.raises(UsageError, match=r"long.png is 60000x1, and would be resized to \d+x256"):
        prepare(Image.new("RGB", (60_000, 1)), "long.png", spec, rule)


@pytest.mark.parametrize("resize", [(0, 0), (0, 5), (2**31, 0)])
@pytest.mark.parametrize("mode", ["center", "squash", "border"])
def test_a_rule_that_resizes_to_nothing_is_refused(resize: tuple[int, int], mode: str) -> None:
    rule = Preprocessing(
        resize=resize,
        crop_mode=mode,  # type: ignore[arg-type]
        crop_pct=1.0,
        interpolation="bicubic",
        source="",
    )
    with pytest.raises(ArtifactError, match="says to resize pictures to"):
        prepare(noise(8, 8), "x", InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3), rule)


def test_an_interpolation_that_nobody_knows_is_refused() -> None:
    """Bilinear instead, under the other name, would be said and not true."""
    rule = Preprocessing(
        resize=(8, 8), crop_mode="center", crop_pct=1.0, interpolation="best", source="somebody"
    )
    with pytest.raises(ArtifactError, match="by 'best'"):
        prepare(
            Image.new("RGB", (9, 9)), "x", InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3), rule
        )


@pytest.mark.parametrize("name", ["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"])
def test_every_interpolation_of_torchvision_is_known(name: str) -> None:
    from torchvision.transforms import InterpolationMode

    assert name in {each.value for each in InterpolationMode}
    assert _filter(name) is Image.Resampling[name.upper()]


def test_a_mean_beyond_white_fills_with_white() -> None:
    rule = Preprocessing(
        resize=(8, 8), crop_mode="border", crop_pct=1.0, interpolation="bilinear", source=""
    )
    spec = InputSpec((1, 3, 8, 8), (1e300,) * 3, (1.0,) * 3)
    pixels = prepare(noise(8, 2), "x", spec, rule).sample.pixels
    assert pixels is not None
    assert (pixels[:, :, 0] == 255).all()


@pytest.mark.parametrize(("resize", "mode"), [((1, 70_000), "squash"), ((70_000, 1), "border")])
def test_a_manifest_cannot_ask_for_a_picture_that_fills_the_memory(
    resize: tuple[int, int], mode: str
) -> None:
    """Pillow holds some numbers for each pixel of a side, so that few pixels may take gigabytes."""
    rule = Preprocessing(
        resize=resize,
        crop_mode=mode,  # type: ignore[arg-type]
        crop_pct=1.0,
        interpolation="bilinear",
        source="",
    )
    spec = InputSpec((1, 3, 32, 32), IMAGENET_MEAN, IMAGENET_STD)
    image = Image.new("RGB", (1, 70_000) if mode == "border" else (8, 8))
    with pytest.raises(UsageError, match="would be resized to"):
        prepare(image, "x", spec, rule)
