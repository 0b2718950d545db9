"""What a run of the pipeline says: a report for each file, and one for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import (
    MobileExportError,
)
from ..graph.specs import InputSpec
from ..parity.report import ParityReport
from ..passes import PassReport

if TYPE_CHECKING:
    pass

__all__ = ["ArtifactReport", "ExportReport", "Failure", "by_format", "left_out_notes"]


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact: where it is, how long each stage took, and how it compares with the model.

    Attributes:
        path: final path, or None when the file was removed because it did not pass.
        left_out: passes that the file was written without, because with them it could not be
            written or was wrong.
        because: what was wrong with them, in words; empty where none is left out.
        seconds: wall time of ``load`` (source to captured program; shared by all formats of a run),
            ``passes``, ``export`` and ``parity``.
    """

    format: str
    path: Path | None
    files: tuple[Path, ...]
    bytes: int
    precision: str
    seconds: dict[str, float]
    parity: ParityReport
    left_out: tuple[str, ...] = ()
    because: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": self.format,
            "path": None if self.path is None else str(self.path),
            "files": [str(file) for file in self.files],
            "bytes": self.bytes,
            "precision": self.precision,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "parity": self.parity.to_dict(),
            "left_out": list(self.left_out),
            **({"because": self.because} if self.because else {}),
        }


@dataclass(frozen=True)
class Failure:
    """A format that could not be written."""

    format: str
    error: MobileExportError

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": self.format, "error": self.error.message, "hint": self.error.hint}


@dataclass(frozen=True)
class ExportReport:
    """The result of one run.

    Attributes:
        inputs: what the model takes, in its order.
        sizes: that every file takes, in words; none of files of one.
        passes: of all formats; one that differs between them stands there once for each result.
    """

    source: str
    weights: str
    weights_kind: str
    artifacts: tuple[ArtifactReport, ...]
    inputs: tuple[InputSpec, ...]
    sizes: tuple[str, ...] = ()
    failures: tuple[Failure, ...] = ()
    passes: tuple[PassReport, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return self.inputs[0].shape

    @property
    def taken(self) -> str:
        """What the model takes: the size of its one image, or every input."""
        if self.sizes:
            return ", ".join(self.sizes)
        first, *others = self.inputs
        if not others and first.role == "image":
            return "x".join(map(str, first.size))
        return ", ".join(map(str, self.inputs))

    @property
    def exit_code(self) -> int:
        """0 when everything asked for was written and passed, 2 for an error, 1 for parity."""
        if self.failures:
            return max(failure.error.exit_code for failure in self.failures)
        return 0 if all(artifact.parity.passed for artifact in self.artifacts) else 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "weights": {"kind": self.weights_kind, "description": self.weights},
            "input_shape": list(self.input_shape),
            "inputs": [
                {"name": i.name, "shape": list(i.shape), "dtype": i.dtype, "role": i.role}
                for i in self.inputs
            ],
            **({"sizes": list(self.sizes)} if self.sizes else {}),
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
            "failures": [failure.to_dict() for failure in self.failures],
            "skipped": self.skipped,
            "passes": [
                {
                    "name": p.name,
                    **({"formats": list(p.formats)} if p.formats else {}),
                    "changes": len(p.changes),
                    "refusals": len(p.refusals),
                }
                for p in self.passes
            ],
            "notes": list(self.notes),
        }


def left_out_notes(artifacts: Sequence[ArtifactReport]) -> Iterator[str]:
    """Which passes a file was written without, and why."""
    for artifact in artifacts:
        if artifact.left_out:
            names = ", ".join(artifact.left_out)
            passes = f"pass {names}" if len(artifact.left_out) == 1 else f"passes {names}"
            yield f"{artifact.format}: {passes} left out: {artifact.because}"


def by_format(reports: dict[str, tuple[PassReport, ...]]) -> tuple[PassReport, ...]:
    """Every report once, with the formats that it is of unless it is of all."""
    formats: dict[PassReport, list[str]] = {}
    for name, passes in reports.items():
        for report in passes:
            formats.setdefault(report, []).append(name)
    return tuple(
        report if len(names) == len(reports) else replace(report, formats=tuple(names))
        for report, names in formats.items()
    )
