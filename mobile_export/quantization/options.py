"""What a user chooses of a file of integers. Importing it imports no torch and no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..system.options import Range, check_options, option

__all__ = ["CALIBRATORS", "LEAST_SQNR", "QuantizationOptions"]

CALIBRATORS = ("least-squares", "min-max", "percentile")
"""How a range is chosen, the default first (`ranges.METHODS`)."""


LEAST_SQNR = 10.0
"""In dB, of a file that is judged on pictures."""


@dataclass(frozen=True)
class QuantizationOptions:
    """Calibration, the plan, and what the result must hold.

    Attributes:
        calibration: a folder of pictures and arrays, a ``.npz`` file, or "synthetic".
        calibration_samples: to calibrate on; None for at most 128.
        calibrator: how a range is chosen from what was seen.
        equalize: bring the channels of activations nearer to one range, exactly (`equalize`).
        plan: a file that the plan is read from, or written to when it does not exist.
        sqnr: least signal-to-noise ratio against the float64 model, in dB; None for `LEAST_SQNR` on
            pictures. On synthetic images, by which nobody can tell, a file is judged where this or
            ``agreement`` is given.
        agreement: least share of the best classes (of pixels, in segmentation) that agree with it.
    """

    calibration: str | None = option(
        None, help="Pictures for integer scales: a folder, a .npz file, or synthetic."
    )
    calibration_samples: int | None = option(
        None,
        help="Samples to calibrate on; at most 128 where it is not given.",
        within=Range(1, 1_000_000, whole=True),
    )
    calibrator: str = option(
        "least-squares",
        help="How ranges are chosen: least-squares, min-max or percentile.",
        valid=CALIBRATORS,
    )
    equalize: bool = option(
        False, help="Bring channels nearer to one range before scales are chosen; exact."
    )
    plan: Path | None = option(  # noqa: RUF009 (a field)
        None, help="File of the quantisation plan: read, or written where there is none."
    )
    sqnr: float | None = option(
        None,
        help="Least signal-to-noise ratio of a file of integers, in dB; 10 on pictures.",
        within=Range(0, 1000),
    )
    agreement: float = option(
        0.0,
        help="Least share of best classes that a file of integers agrees on, 0 to 1.",
        within=Range(0, 1),
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def gated(self) -> bool:
        """Whether the user has said how good a file must be."""
        return self.sqnr is not None or self.agreement > 0
