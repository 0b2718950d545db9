"""The inputs that parity is measured on: seeded noise and images with natural statistics.

A model that averages its image hardly tells two noises apart, and the channels of photographs are
nearly alike; `stronger_samples` are for models whose output hardly changes with the usual four.

All are made as 8-bit pixels or as standard-normal tensors from a fixed seed, so a report can be
repeated to the last bit on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..artifacts.expected import seeded_input
from ..errors import ExecutionError
from ..graph.specs import InputSpec

__all__ = ["Sample", "normalise", "parity_samples", "pixel_samples", "stronger_samples"]


@dataclass(frozen=True)
class Sample:
    """One parity input.

    Attributes:
        name: e.g. ``noise-0``, ``natural-1``.
        image: what the model takes, of the spec's shape, already normalised; float32, or float64
            where the artifact normalises by itself and float32 would not be exact.
        pixels: the same before normalisation, 0 to 255 as float32, or None for inputs that are no
            image (standard normal noise).
    """

    name: str
    image: torch.Tensor
    pixels: torch.Tensor | None = None

    def given(self, *, pixels: bool) -> torch.Tensor:
        """What is given to a file or program: the normalised image, or pixels from 0 to 255.

        Raises:
            ExecutionError: pixels are wanted of a sample that is no image.
        """
        if not pixels:
            return self.image
        if self.pixels is None:
            raise ExecutionError(f"The sample {self.name} is no image; the file takes pixels.")
        return self.pixels


def normalise(pixels: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """(pixels / 255 - mean) / std, per channel, in float64.

    Args:
        pixels: (1, C, H, W) or (1, C, T, H, W), 0 to 255, any dtype.
    Returns:
        float64 tensor of the same shape.
    """
    channels = (1, -1, *[1] * (pixels.ndim - 2))
    mean = torch.tensor(spec.mean, dtype=torch.float64).view(channels)
    std = torch.tensor(spec.std, dtype=torch.float64).view(channels)
    return (pixels.double() / 255.0 - mean) / std


_WIDE = 8.0
"""Range of the values that a model takes above which normal noise is a nearly black image to it."""


def parity_samples(spec: InputSpec) -> tuple[Sample, ...]:
    """Two inputs of noise and two natural-statistics images.

    The first noise is standard normal, so that a device can make it from its seed alone. The second
    is, too, unless the model takes values of a wider range (0 to 255): it is then 8-bit noise.
    """
    first, second = (torch.from_numpy(seeded_input(spec.shape, seed)) for seed in range(2))
    if 1.0 / min(spec.std) > _WIDE:
        pixels = torch.from_numpy(seeded_input(spec.shape, 1, pixels=True))
        second = normalise(pixels, spec).float()
    noise = (Sample("noise-0", first), Sample("noise-1", second))
    natural = tuple(
        Sample(f"natural-{seed}", normalise(_natural(spec, seed), spec).float())
        for seed in range(2)
    )
    return noise + natural


def pixel_samples(spec: InputSpec) -> tuple[Sample, ...]:
    """Two images of uniform 8-bit noise and two with natural statistics, for image inputs."""
    noise = tuple(
        _pixel_sample(
            f"pixel-noise-{seed}",
            torch.from_numpy(seeded_input(spec.shape, seed, pixels=True)),
            spec,
        )
        for seed in range(2)
    )
    natural = tuple(
        _pixel_sample(f"natural-{seed}", _natural(spec, seed), spec) for seed in range(2)
    )
    return noise + natural


def stronger_samples(spec: InputSpec, *, pixels: bool = False) -> tuple[tuple[Sample, ...], ...]:
    """Inputs that differ more, in sets to be tried one after the other.

    The first set is a flat image of a strong colour, and a bright spot of the opposite colour far
    from the middle. The second, where no normalisation is known (mean 0, standard deviation 1), is
    a natural image and the flat one with values from 0 to 255, for a model that normalises inside:
    only its outputs can show that it does.

    Args:
        pixels: for image inputs, which have no second set.
    """
    images = {"colour-0": _coloured(spec), "corner-0": _corner(spec)}
    made = tuple(_pixel_sample(name, image, spec) for name, image in images.items())
    if pixels:
        return (made,)
    first = tuple(Sample(sample.name, sample.image.float()) for sample in made)
    if any(spec.mean) or any(value != 1 for value in spec.std):
        return (first,)
    wide = (
        Sample("wide-natural-0", _natural(spec, 0)),
        Sample("wide-colour-0", images["colour-0"]),
    )
    return first, wide


def _pixel_sample(name: str, pixels: torch.Tensor, spec: InputSpec) -> Sample:
    return Sample(name, normalise(pixels, spec), pixels)


def _coloured(spec: InputSpec) -> torch.Tensor:
    """A natural image of 15 % of the contrast; level 10 in the first channel, 210 in the last.

    Of shape (1, C, H, W) or (1, C, T, H, W), whole numbers from 0 to 255.
    """
    natural = _natural(spec, 2)
    level = torch.linspace(10.0, 210.0, spec.shape[1]).view(1, -1, *[1] * (natural.ndim - 2))
    return (0.15 * natural + level).clamp(0.0, 255.0).round()


def _corner(spec: InputSpec) -> torch.Tensor:
    """A natural image seen through a round window around 30 % of the height, 25 % of the width.

    The window has a radius of 20 % of each side; it passes all of the first channel and none of the
    last. Shape and range as of `_coloured`.
    """
    natural = _natural(spec, 2)
    height, width = spec.size
    y = (torch.linspace(0.0, 1.0, height).view(-1, 1) - 0.30) / 0.20
    x = (torch.linspace(0.0, 1.0, width) - 0.25) / 0.20
    passed = torch.linspace(1.0, 0.0, spec.shape[1]).view(1, -1, *[1] * (natural.ndim - 2))
    return (passed * torch.exp(-(y**2) - x**2) * (natural + 90.0)).clamp(0.0, 255.0).round()


def _natural(spec: InputSpec, seed: int) -> torch.Tensor:
    """8-bit image with the 1/f amplitude spectrum and the correlated channels of photographs.

    A shared luminance field carries most of the contrast and each channel adds a weaker field of
    its own (Ruderman, Cronin, Chiao 1998: the channels of natural images are strongly correlated
    and each has a power spectrum close to 1/f^2). Contrast is clipped, as cameras do. A clip pans
    over such an image by two pixels a frame.
    """
    channels, (height, width) = spec.shape[1], spec.size
    rng = np.random.Generator(np.random.PCG64(1000 + seed))
    fy = np.fft.fftfreq(height)[:, None]
    fx = np.fft.rfftfreq(width)[None, :]
    frequency = np.hypot(fy, fx)
    amplitude = 1.0 / np.maximum(frequency, 1.0 / max(height, width))

    def field() -> np.ndarray:
        spectrum = np.fft.rfft2(rng.standard_normal((height, width))) * amplitude
        values = np.fft.irfft2(spectrum, s=(height, width))
        return np.asarray((values - values.mean()) / (values.std() + 1e-12))

    luminance = field()
    planes = [luminance + 0.3 * field() for _ in range(channels)]
    image = np.clip(115.0 + 60.0 * np.stack(planes), 0.0, 255.0).round()
    if len(spec.shape) == 5:
        image = np.stack([np.roll(image, 2 * t, axis=2) for t in range(spec.shape[2])], axis=1)
    return torch.from_numpy(image.astype(np.float32))[None]
