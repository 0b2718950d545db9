"""Milliseconds on a phone that nobody has here: counted, then priced, and always with the error."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..devices.qemu import QemuDevice, connect
from ..files import find_artifacts
from ..runners import get_runner
from .prices import Calibration, calibrate, get_soc
from .stored import StoredCount, count_artifact

__all__ = ["Estimate", "estimate"]

_RUNNER = "arm-onnxruntime"
"""Whose instructions have prices."""


@dataclass(frozen=True)
class Estimate:
    """What a calibration makes of one counted file.

    Attributes:
        milliseconds: the estimate; low, high: what four of five models kept within, see
            `Calibration.interval`.
        notes: why it may be worse than the calibration's error says.
    """

    counted: StoredCount
    calibration: Calibration
    milliseconds: float
    low: float
    high: float
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.counted.model,
            "size": [self.counted.height, self.counted.width],
            "sha256": self.counted.sha256,
            "estimate_ms": self.milliseconds,
            "estimate_ms_80_percent": [self.low, self.high],
            "counts": self.counted.count.to_dict(),
            "calibration": self.calibration.to_dict(),
            "notes": list(self.notes),
        }


def estimate(
    names: Sequence[str],
    soc: str,
    *,
    device: str = QemuDevice.kind,
    folder: Path = Path(),
    stage: Callable[[str], None] = lambda _: None,
) -> list[Estimate]:
    """Count the ONNX files of ``names`` under qemu and price the counts.

    Args:
        names: files, or models whose files lie in ``folder``.
        soc: a name of `arm_cost.SOCS`.
        device: ``qemu`` or ``qemu:FOLDER``.
        stage: told which file is being counted.

    Raises:
        UsageError: there is no table for ``soc``.
        ArtifactError: a file does not exist or has no manifest.
        DeviceError: qemu is not prepared.
        RunnerError: the file does not run.
    """
    calibration = calibrate(get_soc(soc))
    artifacts = find_artifacts(names, get_runner(_RUNNER).formats, folder)
    machine = connect(device)
    try:
        found = []
        for artifact in artifacts:
            stage(f"counting {artifact.path.name}")
            found.append(_price(count_artifact(machine, artifact), calibration))
        return found
    finally:
        machine.close()


def _price(counted: StoredCount, calibration: Calibration) -> Estimate:
    count = counted.count
    low, high = calibration.interval(count)
    return Estimate(
        counted=counted,
        calibration=calibration,
        milliseconds=calibration.model.milliseconds(count),
        low=low,
        high=high,
        notes=tuple(_notes(counted, calibration)),
    )


def _notes(counted: StoredCount, calibration: Calibration) -> list[str]:
    notes = []
    fitted = {point.count.model: point for point in calibration.points}
    if counted.model in fitted:
        printed = fitted[counted.model].milliseconds
        notes.append(f"{counted.model} is among the models of the fit ({printed:g} ms printed)")
    known = [point.count.count.instructions for point in calibration.points]
    if not min(known) <= counted.count.instructions <= max(known):
        notes.append("outside the range of the fit: it executes more or fewer instructions")
    if counted.runtime != calibration.points[0].count.runtime:
        notes.append(f"counted with {counted.runtime}, fitted on others")
    return notes
