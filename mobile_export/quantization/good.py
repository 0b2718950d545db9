"""Good: how near the outputs of a file of integers are to the float64 model, on unseen samples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..errors import ExecutionError
from ..parity.good import Measure, Meter, Quality
from ..passes.prove import float64_outputs
from .options import LEAST_SQNR, QuantizationOptions

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts.manifest import QualityRecord
    from ..graph.program import Program
    from ..parity.samples import Sample
    from ..parity.session import Session

__all__ = ["Good", "judge_good", "least_noise_ratio", "measured", "missed_by", "with_gates"]

_OF_NOISE: tuple[Measure, ...] = ("SQNR", "PSNR")
_OF_CLASSES: tuple[Measure, ...] = (
    "best class kept",
    "best class in five",
    "pixels kept",
    "labels kept",
)


@dataclass(frozen=True)
class Good:
    """How near a file is to the model.

    Attributes:
        samples: that the calibration has not seen.
        qualities: output by output, each with what was asked for.
        missed: what was asked for and does not hold, one sentence each.
    """

    samples: int
    qualities: tuple[Quality, ...] = ()
    missed: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything that was asked for holds."""
        return not self.missed

    def __str__(self) -> str:
        what = ", ".join(map(str, self.qualities)) or "nothing that can be measured"
        return f"{what}, on {self.samples} samples that the calibration has not seen"


def judge_good(
    session: Session, exact: Program, samples: Sequence[Sample], options: QuantizationOptions
) -> Good:
    """Run a file and the float64 model on samples.

    The measures are those of float files (`parity.good`), the gates the user's: ``sqnr`` of noise,
    ``agreement`` of classes.

    Args:
        exact: the prepared program, which was proven to be the model.

    Raises:
        ExecutionError: the file gives other shapes than the model.
    """
    meters = _meters(exact, options)
    for sample in samples:
        wanted = float64_outputs(exact, *sample.all_given(pixels=exact.input.pixels))
        for meter, a, b in zip(meters, session.run(sample), wanted, strict=True):
            if a.shape != b.shape:
                raise ExecutionError(f"The file gives {a.shape}, and the model {b.shape}.")
            meter.add(a, b)
    found = tuple(each for meter in meters for each in meter.qualities())
    return Good(len(samples), found, missed_by(found, options))


def measured(
    program: Program,
    results: Iterable[Sequence[np.ndarray]],
    exact: Iterable[Sequence[np.ndarray]],
    options: QuantizationOptions,
) -> tuple[Quality, ...]:
    """How near outputs of ``program`` with integers are to those without, sample by sample."""
    meters = _meters(program, options)
    for got, wanted in zip(results, exact, strict=True):
        for meter, a, b in zip(meters, got, wanted, strict=True):
            meter.add(a, b)
    return tuple(each for meter in meters for each in meter.qualities())


def missed_by(found: Sequence[Quality], options: QuantizationOptions) -> tuple[str, ...]:
    """The gates that do not hold, one sentence each."""
    missed = [
        f"{each} is below `{'sqnr' if each.measure in _OF_NOISE else 'agreement'}`, {each.asked}"
        for each in found
        if not each.passed
    ]
    if options.agreement and not any(each.measure in _OF_CLASSES for each in found):
        missed.append("`agreement` was asked for, and no output is of classes")
    return tuple(missed)


def least_noise_ratio(found: Iterable[Quality]) -> float:
    """The lowest ratio of signal to noise of all outputs, in dB; infinite where none has noise."""
    return min((each.value for each in found if each.measure in _OF_NOISE), default=math.inf)


def _meters(program: Program, options: QuantizationOptions) -> list[Meter]:
    gates = {
        **dict.fromkeys(_OF_NOISE, LEAST_SQNR if options.sqnr is None else options.sqnr),
        **dict.fromkeys(_OF_CLASSES, options.agreement),
    }
    task = program.task or "classification"  # scores of classes without names are classes, too
    return [Meter(output.name, task, gates) for output in program.outputs]


def with_gates(
    options: QuantizationOptions, recorded: Iterable[QualityRecord]
) -> QuantizationOptions:
    """``options`` with the gates by which a file was judged; none is lower than its default,
    whatever a manifest says."""
    sqnr, agreement = LEAST_SQNR, 0.0
    for each in recorded:
        if each.measure in _OF_NOISE:
            sqnr = max(sqnr, each.gate)
        elif each.measure in _OF_CLASSES:
            agreement = max(agreement, each.gate)
    return replace(options, sqnr=sqnr, agreement=agreement)
