"""The inputs that parity is measured on: seeded noise and images with natural statistics.

All are made as 8-bit pixels or as standard-normal tensors from a fixed seed, so a report can be
repeated to the last bit on another machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..artifacts.expected import seeded_input
from ..graph.specs import InputSpec

__all__ = ["Sample", "normalise", "parity_samples", "pixel_samples"]


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


def parity_samples(spec: InputSpec) -> tuple[Sample, ...]:
    """Two standard-normal inputs and two natural-statistics images."""
    noise = tuple(
        Sample(f"noise-{seed}", torch.from_numpy(seeded_input(spec.shape, seed)))
        for seed in range(2)
    )
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


def _pixel_sample(name: str, pixels: torch.Tensor, spec: InputSpec) -> Sample:
    return Sample(name, normalise(pixels, spec), pixels)


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
