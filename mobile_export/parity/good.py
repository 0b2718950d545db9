"""Is what a file computes good enough to use? Asked beside, and after, whether it is right.

A file can be as close to the model as float16 allows and still be too coarse: the model with these
weights amplifies rounding so much. So the file is compared with the float64 original by what people
use its outputs for: the best class of a classifier and of a segmenter's pixels, the noise in a
picture, and in everything else the noise beside what the sample changes. docs/parity.md says where
the gates come from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..artifacts.words import Task

__all__ = ["GATES", "Measure", "Meter", "Quality", "qualities"]

Measure = Literal[
    "best class kept", "best class in five", "pixels kept", "labels kept", "PSNR", "SQNR"
]

GATES: dict[Measure, float] = {
    "best class kept": 0.5,
    "best class in five": 1.0,
    "pixels kept": 0.8,
    "labels kept": 0.8,
    "PSNR": 40.0,
    "SQNR": 20.0,
}
"""The least of each measure that is good: shares, of which 1 is all, and dB."""

_FEWEST = 5
"""Classes from which on there are five best."""


@dataclass(frozen=True)
class Quality:
    """How well one output serves, by one measure.

    Attributes:
        measure: ``best class kept``: share of the samples whose best class is the original's;
            ``best class in five``: share whose best class in the original is among the file's five
            best; ``pixels kept``: share of the pixels whose best class is the original's;
            ``labels kept``: share of equal integers; ``PSNR``: of a picture, its peak the largest
            magnitude of the original; ``SQNR``: power of what changes with the sample, or of the
            output where there is one sample, over that of the error in it.
        value: a share from 0 to 1, or dB; infinity where there is no error.
        gate: the least that is good.
    """

    output: str
    measure: Measure
    value: float
    gate: float

    def __str__(self) -> str:
        return f"{self.output}: {self.measure} {_said(self.measure, self.value)}"

    @property
    def asked(self) -> str:
        """The gate in words."""
        return _said(self.measure, self.gate)

    @property
    def passed(self) -> bool:
        """Whether it is good; NaN is not."""
        return self.value >= self.gate


def _said(measure: Measure, value: float) -> str:
    return f"{value:.0f} dB" if measure in ("PSNR", "SQNR") else f"{value:.1%}"


class Meter:
    """How well one output serves, measured sample by sample: one place for every measure, so that
    a file of integers, which is judged on many samples, and a float file have the same ones.

    Args:
        task: what the model is for.
        gates: the least of each measure that is good; one that is not there is not good from 0 on.
    """

    def __init__(self, name: str, task: Task | None, gates: Mapping[Measure, float]) -> None:
        self.name, self.task, self.gates = name, task, gates
        self._shares: dict[Measure, list[float]] = {}
        self._noise = _Noise()
        self._peak = 0.0
        self._errors: list[float] = []

    def add(self, got: np.ndarray, exact: np.ndarray) -> None:
        """Measure one sample.

        Args:
            got: of the file.
            exact: of the original in float64, of the same shape.
        """
        if not exact.size:
            return
        if not np.issubdtype(exact.dtype, np.floating):
            self._share("labels kept", got == exact)
        elif self.task in ("super-resolution", "restoration"):
            self._peak = max(self._peak, float(np.abs(exact).max()))
            self._errors.append(float(np.mean(np.square(np.asarray(got, np.float64) - exact))))
        else:
            self._add_classes(got, exact)
            self._noise.add(got, exact)

    def _add_classes(self, got: np.ndarray, exact: np.ndarray) -> None:
        shape = exact.shape
        if self.task in ("classification", "video classification") and len(shape) == 2:
            if shape[0] == 1 and shape[1] >= _FEWEST:
                best = int(exact[0].argmax())
                order = np.argsort(-np.asarray(got[0], np.float64), kind="stable")[:_FEWEST]
                self._share("best class kept", order[:1] == best)
                self._share("best class in five", np.any(order == best))
        elif self.task == "segmentation" and len(shape) == 4 and shape[1] > 1:
            self._share("pixels kept", got.argmax(1) == exact.argmax(1))

    def _share(self, measure: Measure, kept: Any) -> None:
        self._shares.setdefault(measure, []).append(float(np.mean(kept)))

    def qualities(self) -> tuple[Quality, ...]:
        """Of all samples so far, each measure that the output has."""
        found = {name: float(np.mean(values)) for name, values in self._shares.items()}
        if self._errors:
            found["PSNR"] = _decibels(self._peak**2, float(np.mean(self._errors)))
        noise = self._noise.sqnr
        if noise is not None:
            found["SQNR"] = noise
        return tuple(
            Quality(self.name, measure, value, self.gates.get(measure, 0.0))
            for measure, value in found.items()
        )


def qualities(
    task: Task | None,
    names: Sequence[str],
    results: Sequence[Sequence[np.ndarray]],
    outputs: Sequence[Sequence[np.ndarray]],
) -> tuple[Quality, ...]:
    """How well a file serves, of every output.

    Args:
        task: what the model is for.
        results: of the file, per sample, one array per output.
        outputs: likewise of the original in float64. Shapes are the same.
    """
    meters = [Meter(name, task, GATES) for name in names]
    for got, exact in zip(results, outputs, strict=True):
        for meter, a, b in zip(meters, got, exact, strict=True):
            meter.add(a, b)
    return tuple(each for meter in meters for each in meter.qualities())


_ROUNDING = 1e-12
"""Of an output's size: what float64 changes; an output that moves less is the same for all."""


class _Noise:
    """Sums over samples of what an output is, less the first of them, and of the error in it.

    Elements count that are finite in every sample.
    """

    def __init__(self) -> None:
        self._count = 0
        self._size = 0.0

    def add(self, got: np.ndarray, exact: np.ndarray) -> None:
        if not self._count:
            self._first = exact
            self._finite = np.ones(exact.shape, bool)
            self._signal, self._error = ([np.zeros(exact.shape)] * 2 for _ in range(2))
        self._count += 1
        self._finite = self._finite & np.isfinite(exact)
        with np.errstate(invalid="ignore"):
            moved, error = exact - self._first, np.asarray(got, np.float64) - exact
        self._size = max(self._size, float(np.abs(exact[self._finite]).max(initial=0.0)))
        self._signal = _summed(self._signal, moved)
        self._error = _summed(self._error, error)

    @property
    def sqnr(self) -> float | None:
        """In dB; None where there was nothing, or nothing changes with the sample."""
        if not self._count or not self._finite.any():
            return None
        if self._count == 1:
            signal = float(np.mean(np.square(self._first[self._finite])))
            noise = float(np.mean(self._error[1][self._finite]))
            return _decibels(signal, noise) if signal > 0 else None
        signal, noise = (
            self._power([each[self._finite] for each in sums])
            for sums in (self._signal, self._error)
        )
        if not signal > (_ROUNDING * self._size) ** 2:
            return None
        return _decibels(signal, noise)

    def _power(self, sums: Sequence[np.ndarray]) -> float:
        """Mean square of what differs from the mean over the samples."""
        mean, square = (each / self._count for each in sums)
        return max(float(np.mean(square - np.square(mean))), 0.0) if mean.size else 0.0


def _summed(sums: Sequence[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
    return [sums[0] + values, sums[1] + np.square(values)]


def _decibels(signal: float, noise: float) -> float:
    if noise == 0:
        return math.inf
    if not math.isfinite(noise) or signal == 0:
        return -math.inf
    return 10 * math.log10(signal / noise)
