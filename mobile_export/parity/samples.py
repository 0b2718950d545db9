"""The inputs that parity is measured on: seeded noise and images with natural statistics.

A model that averages its image hardly tells two noises apart, and the channels of photographs are
nearly alike; `stronger_samples` are for models whose output hardly changes with the usual four.

All are made as 8-bit pixels or as standard-normal tensors from a fixed seed, so a report can be
repeated to the last bit on another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ..artifacts.expected import drawn_input, seeded_input
from ..errors import ExecutionError
from ..graph.specs import InputSpec

__all__ = [
    "Sample",
    "normalise",
    "parity_samples",
    "pixel_samples",
    "stronger_samples",
    "synthetic_sample",
]


@dataclass(frozen=True)
class Sample:
    """One parity input: a value for every input of the model.

    Attributes:
        name: e.g. ``noise-0``, ``natural-1``.
        image: what the model takes as its first input, of the spec's shape; of an image already
            normalised; float32, or float64 where the artifact normalises by itself and float32
            would not be exact.
        pixels: the same before normalisation, 0 to 255 as float32, or None for inputs that are no
            image (standard normal noise).
        others: what it takes as its other inputs, by name, in order.
    """

    name: str
    image: torch.Tensor
    pixels: torch.Tensor | None = None
    others: Mapping[str, torch.Tensor] = field(default_factory=dict)

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

    def all_given(self, *, pixels: bool = False) -> tuple[torch.Tensor, ...]:
        """What is given to all inputs, in the order of the model's; see `given`."""
        return (self.given(pixels=pixels), *self.others.values())

    def by_name(self, names: Sequence[str], *, pixels: bool = False) -> dict[str, torch.Tensor]:
        """What is given to the inputs of a file, by their names in it and in its order.

        The first input of the model may have a name of its own in a file (``pixels``), the others
        have the model's.

        Raises:
            ExecutionError: the file has other inputs than the model.
        """
        first = [name for name in names if name not in self.others]
        if len(names) != 1 + len(self.others) or len(first) != 1:
            raise ExecutionError(
                f"The file takes {', '.join(names)}; the model takes {1 + len(self.others)} inputs"
                + (f": {', '.join(self.others)} and one more." if self.others else "."),
                hint="Is it a file of this model? Give the inputs that it was exported with.",
            )
        given = {first[0]: self.given(pixels=pixels), **self.others}
        return {name: given[name] for name in names}


def normalise(pixels: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """(pixels / 255 - mean) / std, per channel, in float64.

    Args:
        pixels: (N, C, H, W) or (N, C, T, H, W), or with C last, 0 to 255, any dtype.
    Returns:
        float64 tensor of the same shape.
    """
    channels = (-1,) if spec.channels_last else (1, -1, *[1] * (pixels.ndim - 2))
    mean = torch.tensor(spec.mean, dtype=torch.float64).view(channels)
    std = torch.tensor(spec.std, dtype=torch.float64).view(channels)
    return (pixels.double() / 255.0 - mean) / std


_WIDE = 8.0
"""Range of the values that a model takes above which normal noise is a nearly black image to it."""


def parity_samples(spec: InputSpec, *others: InputSpec) -> tuple[Sample, ...]:
    """Two inputs of noise and two natural-statistics images; four of noise where there is no image.
    In a batch, every place has an image of its own.

    The first noise is standard normal, so that a device can make it from its seed alone. The second
    is, too, unless the model takes values of a wider range (0 to 255): it is then 8-bit noise.

    Args:
        others: the inputs behind the first one.
    """
    firsts = _values(spec, 0)
    rest = {each.name: _values(each, place) for place, each in enumerate(others, 1)}
    names = ("noise-0", "noise-1", "natural-0", "natural-1")
    if not any(each.role == "image" for each in (spec, *others)):
        names = ("noise-0", "noise-1", "noise-2", "noise-3")
    return tuple(
        Sample(name, first, others={each: values[index] for each, values in rest.items()})
        for index, (name, first) in enumerate(zip(names, firsts, strict=True))
    )


_APART = 100
"""Between the seeds of two images of one sample."""


def _values(spec: InputSpec, place: int) -> tuple[torch.Tensor, ...]:
    """What the four samples give to one input.

    Args:
        place: of the input among those of the model.
    """
    drawn = [torch.from_numpy(drawn_input(spec, seed, place)) for seed in range(4)]
    if spec.role != "image":
        return tuple(drawn)
    first, second = drawn[:2]
    if spec.dtype == "float32" and 1.0 / min(spec.std) > _WIDE:
        pixels = torch.from_numpy(seeded_input(spec.shape, 1 + _APART * place, pixels=True))
        second = normalise(pixels, spec).float()
    natural = (_natural(spec, seed + _APART * place) for seed in range(2))
    return (first, second, *[_of_dtype(normalise(each, spec), spec) for each in natural])


def _of_dtype(image: torch.Tensor, spec: InputSpec) -> torch.Tensor:
    """As the model takes it; what it takes as integers are pixels."""
    dtype = getattr(torch, spec.dtype)
    return image.to(dtype) if dtype.is_floating_point else image.round().to(dtype)


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


def synthetic_sample(name: str, seed: int, spec: InputSpec, *others: InputSpec) -> Sample:
    """An image with natural statistics, and draws of the other inputs; draws alone where the first
    input is no image.

    Args:
        seed: another one gives another sample.
        others: the inputs behind the first one.
    """
    if spec.role != "image":
        return _joined(Sample(name, torch.from_numpy(drawn_input(spec, seed))), others, seed)
    pixels = _natural(spec, seed)
    image = _of_dtype(normalise(pixels, spec), spec)
    return _joined(Sample(name, image, pixels), others, seed)


def stronger_samples(
    spec: InputSpec, *others: InputSpec, pixels: bool = False
) -> tuple[tuple[Sample, ...], ...]:
    """Inputs that differ more, in sets to be tried one after the other.

    The first set is a flat image of a strong colour, and a bright spot of the opposite colour far
    from the middle. The second, where no normalisation is known (mean 0, standard deviation 1), is
    a natural image and the flat one with values from 0 to 255, for a model that normalises inside:
    only its outputs can show that it does. Where the first input is no image, there is one set,
    of other numbers; what is normal is larger by `_STRONG`.

    Args:
        others: the inputs behind the first one: two more draws of them go with each set.
        pixels: for image inputs, which have no second set.
    """
    sets = _stronger(spec, pixels=pixels)
    return tuple(tuple(_joined(s, others, 4 + i) for i, s in enumerate(each)) for each in sets)


_STRONG = 4.0


def _joined(sample: Sample, others: Sequence[InputSpec], seed: int) -> Sample:
    """``sample`` with values for the inputs behind the first one."""
    made = {
        each.name: torch.from_numpy(drawn_input(each, seed, place))
        for place, each in enumerate(others, 1)
    }
    return replace(sample, others=made)


def _stronger(spec: InputSpec, *, pixels: bool) -> tuple[tuple[Sample, ...], ...]:
    """`stronger_samples` of the first input."""
    if spec.role != "image":
        scale = _STRONG if spec.role == "values" and spec.dtype == "float32" else 1
        drawn = (torch.from_numpy(drawn_input(spec, seed)) * scale for seed in (4, 5))
        return (tuple(Sample(f"strong-{i}", each) for i, each in enumerate(drawn)),)
    images = {"colour-0": _coloured(spec), "corner-0": _corner(spec)}
    made = tuple(_pixel_sample(name, image, spec) for name, image in images.items())
    if pixels:
        return (made,)
    first = tuple(Sample(sample.name, _of_dtype(sample.image, spec)) for sample in made)
    if spec.dtype != "float32" or any(spec.mean) or any(value != 1 for value in spec.std):
        return (first,)
    wide = (
        Sample("wide-natural-0", _natural(spec, 0)),
        Sample("wide-colour-0", images["colour-0"]),
    )
    return first, wide


def _pixel_sample(name: str, pixels: torch.Tensor, spec: InputSpec) -> Sample:
    return Sample(name, normalise(pixels, spec), pixels)


def _coloured(spec: InputSpec) -> torch.Tensor:
    """Natural images of 15 % of the contrast; level 10 in the first channel, 210 in the last.

    Of the input's shape, whole numbers from 0 to 255.
    """

    def image(seed: int) -> torch.Tensor:
        natural = _planes(spec, seed)
        level = torch.linspace(10.0, 210.0, spec.channels).view(1, -1, *[1] * (natural.ndim - 2))
        return (0.15 * natural + level).clamp(0.0, 255.0).round()

    return _batch(image, spec, 2)


def _corner(spec: InputSpec) -> torch.Tensor:
    """A natural image seen through a round window around 30 % of the height, 25 % of the width.

    The window has a radius of 20 % of each side; it passes all of the first channel and none of the
    last. Shape and range as of `_coloured`.
    """
    height, width = spec.size
    y = (torch.linspace(0.0, 1.0, height).view(-1, 1) - 0.30) / 0.20
    x = (torch.linspace(0.0, 1.0, width) - 0.25) / 0.20
    window = torch.exp(-(y**2) - x**2)

    def image(seed: int) -> torch.Tensor:
        natural = _planes(spec, seed)
        passed = torch.linspace(1.0, 0.0, spec.channels).view(1, -1, *[1] * (natural.ndim - 2))
        return (passed * window * (natural + 90.0)).clamp(0.0, 255.0).round()

    return _batch(image, spec, 2)


def _natural(spec: InputSpec, seed: int) -> torch.Tensor:
    """`_planes` in the shape of the input."""
    return _batch(lambda each: _planes(spec, each), spec, seed)


_PLACES = 1000
"""Between the seeds of two images of one batch."""


def _batch(image: Callable[[int], torch.Tensor], spec: InputSpec, seed: int) -> torch.Tensor:
    """Images (1, C, …, H, W) of different seeds, in the shape of the input."""
    images = torch.cat([image(seed + _PLACES * place) for place in range(spec.shape[0])])
    return images.movedim(1, -1) if spec.channels_last else images


def _planes(spec: InputSpec, seed: int) -> torch.Tensor:
    """8-bit image (1, C, H, W), or clip (1, C, T, H, W), with the 1/f amplitude spectrum and the
    correlated channels of photographs.

    A shared luminance field carries most of the contrast and each channel adds a weaker field of
    its own (Ruderman, Cronin, Chiao 1998: the channels of natural images are strongly correlated
    and each has a power spectrum close to 1/f^2). Contrast is clipped, as cameras do. A clip pans
    over such an image by two pixels a frame.
    """
    channels, (height, width) = spec.channels, spec.size
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
        frames = spec.shape[1 if spec.channels_last else 2]
        image = np.stack([np.roll(image, 2 * t, axis=2) for t in range(frames)], axis=1)
    return torch.from_numpy(image.astype(np.float32))[None]
