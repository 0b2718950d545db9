"""The parity inputs: repeatable, in range, with the statistics that they claim."""

from __future__ import annotations

import numpy as np
import torch

from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from mobile_export.parity.samples import (
    normalise,
    parity_samples,
    pixel_samples,
    stronger_samples,
)

SPEC = InputSpec((1, 3, 128, 96), IMAGENET_MEAN, IMAGENET_STD)


def test_repeatable() -> None:
    for make in (parity_samples, pixel_samples):
        for a, b in zip(make(SPEC), make(SPEC), strict=True):
            assert a.name == b.name
            assert torch.equal(a.image, b.image)


def test_all_differ_and_have_the_shape() -> None:
    samples = parity_samples(SPEC)
    assert [tuple(s.image.shape) for s in samples] == [SPEC.shape] * 4
    assert len({s.image.sum().item() for s in samples}) == 4


def test_normalisation_by_hand() -> None:
    pixels = torch.tensor([255.0, 0.0, 128.0]).view(1, 3, 1, 1)
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (128 / 255 - 0.406) / 0.225]
    got = normalise(pixels, InputSpec((1, 3, 1, 1), IMAGENET_MEAN, IMAGENET_STD))
    np.testing.assert_allclose(got.flatten(), expected, rtol=1e-15)


def test_pixels_are_whole_numbers_of_eight_bits() -> None:
    for sample in pixel_samples(SPEC):
        assert sample.pixels is not None
        assert torch.equal(sample.pixels, sample.pixels.round())
        assert sample.pixels.min() >= 0
        assert sample.pixels.max() <= 255


def test_natural_images_have_a_falling_spectrum_and_correlated_channels() -> None:
    pixels = pixel_samples(InputSpec((1, 3, 256, 256), IMAGENET_MEAN, IMAGENET_STD))[2].pixels
    assert pixels is not None
    image = pixels[0].numpy()
    power = np.abs(np.fft.fft2(image[0] - image[0].mean())) ** 2
    radius = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256) * 256] * 2))
    bins = [power[(radius >= r) & (radius < r * 1.25)].mean() for r in (4, 8, 16, 32)]
    slope = np.polyfit(np.log([4, 8, 16, 32]), np.log(bins), 1)[0]
    assert -2.5 < slope < -1.5  # photographs: about -2 (Field 1987)
    assert np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1] > 0.8


def test_stronger_samples_have_colour_and_place() -> None:
    ((colour, corner),) = stronger_samples(SPEC, pixels=True)
    assert colour.pixels is not None
    assert corner.pixels is not None
    means = colour.pixels.mean((0, 2, 3))
    assert means[2] - means[0] > 150  # of 255
    assert colour.pixels.std((2, 3)).max() < 15
    lit = corner.pixels[0, 0]
    assert lit[38, 24] > 50  # 30 % and 25 % of 128 x 96
    assert lit[-24:].max() <= 1
    assert lit[:, -24:].max() <= 1  # exp(-2.5**2) of at most 345
    assert corner.pixels[0, 2].max() == 0
    for sample in (colour, corner):
        assert torch.equal(sample.pixels, sample.pixels.round())  # type: ignore[union-attr]
        assert torch.equal(sample.image, normalise(sample.pixels, SPEC))  # type: ignore[arg-type]


def test_the_wide_range_is_for_inputs_without_normalisation() -> None:
    assert len(stronger_samples(SPEC)) == 1
    _, wide = stronger_samples(InputSpec((1, 3, 32, 32), (0.0,) * 3, (1.0,) * 3))
    assert all(200 < sample.image.max() <= 255 for sample in wide)


def test_stronger_samples_of_clips_and_single_channels() -> None:
    for shape in ((1, 1, 32, 32), (1, 3, 4, 32, 32), (1, 5, 32, 32)):
        spec = InputSpec(shape, (0.0,) * shape[1], (1.0,) * shape[1])
        for pixels in (False, True):
            for sample in sum(stronger_samples(spec, pixels=pixels), ()):
                assert tuple(sample.image.shape) == shape
                assert sample.image.std() > 0


def test_a_model_that_takes_pixels_gets_noise_in_their_range() -> None:
    wide = InputSpec((1, 3, 16, 16), (0.0,) * 3, (1 / 255,) * 3)
    first, second, *_ = parity_samples(wide)
    assert first.image.abs().max() < 6  # a device makes it from its seed
    assert second.image.min() >= 0
    assert 250 < second.image.max() < 255.01
    assert parity_samples(SPEC)[1].image.abs().max() < 6
