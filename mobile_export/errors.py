"""The one exception tree of mobile-export.

    MobileExportError            exit code 2
    ├── UsageError               an option's value, or two options that exclude each other
    ├── SourceError              the model could not be found, built or called
    │   └── WeightsError         the checkpoint could not be read, or does not fit the model
    ├── TraceError               torch.export could not capture the model as one static graph
    ├── PassError                a graph pass changed what the program computes
    ├── MissingExtraError        a target's libraries are not installed
    ├── ExportError              a converter refused the program
    │   └── LoweringError        an op has no layers of rank 4 or less (ncnn, TNN)
    ├── ArtifactError            a file could not be written, read or recognised
    ├── ExecutionError           a runtime could not run an artifact
    │   └── UnsupportedOpError   an evaluator has no implementation of an op
    ├── BenchError               a measurement could not be made, kept or shown
    │   ├── DeviceError          a device is missing, ambiguous, unauthorised, full or gone
    │   ├── RunnerError          a runner is missing, cannot load the file, or printed garbage
    │   └── StoreError           the file of measurements cannot be read or written
    ├── SweepError               a sweep, or a worker of it, could not go on
    └── ParityError              exit code 1: an artifact differs from the model

Every message says what was got, what is valid, and what to run next.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BUG",
    "ArtifactError",
    "BenchError",
    "DeviceError",
    "ExecutionError",
    "ExportError",
    "LoweringError",
    "MissingExtraError",
    "MobileExportError",
    "ParityError",
    "PassError",
    "RunnerError",
    "SourceError",
    "StoreError",
    "SweepError",
    "TraceError",
    "UnsupportedOpError",
    "UsageError",
    "WeightsError",
    "summary",
]


BUG = "mobile-export itself failed"
"""How the message begins that stands for an exception of any other kind."""


def summary(error: BaseException) -> str:
    """Type and first line of somebody else's exception, for a message of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300] if lines else 'no message'}"


class MobileExportError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        message: what was got, in one or two sentences.
        hint: what is valid or what to run next; printed on a line of its own.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[Any, ...]:
        """Type, message and hint: what an error is about in another process."""
        return (_made_again, (type(self), self.message, self.hint))

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n{self.hint}"


def _made_again(kind: type[MobileExportError], message: str, hint: str | None) -> MobileExportError:
    """An error of a type whose own arguments may be others."""
    error = kind.__new__(kind)
    MobileExportError.__init__(error, message, hint=hint)
    return error


class UsageError(MobileExportError):
    """An option has a value that is not valid, or contradicts another option."""


class SourceError(MobileExportError):
    """The model could not be found, built or called."""


class WeightsError(SourceError):
    """The checkpoint could not be read, or does not fit the model."""


class TraceError(MobileExportError):
    """torch.export could not capture the model as one static graph."""


class PassError(MobileExportError):
    """A graph pass changed what the program computes."""


class MissingExtraError(MobileExportError):
    """A target's libraries are not installed; made by `system.install.missing_extra`.

    Args:
        command: that installs ``extra`` of mobile-export here.
    """

    def __init__(self, target: str, module: str, extra: str, command: str) -> None:
        super().__init__(
            f"{target} needs the Python module {module!r}, which is not installed.",
            hint=f"Run: {command}",
        )
        self.extra = extra


class ExportError(MobileExportError):
    """A converter refused the program."""


class LoweringError(ExportError):
    """An op of the program has no equivalent in the layers that ncnn and TNN have."""


class ArtifactError(MobileExportError):
    """A file could not be written, read or recognised."""


class ExecutionError(MobileExportError):
    """A runtime could not run an artifact."""


class UnsupportedOpError(ExecutionError):
    """An evaluator has no implementation of an op that the artifact contains."""


class BenchError(MobileExportError):
    """A measurement could not be made, kept or shown."""


class DeviceError(BenchError):
    """A device is missing, ambiguous, unauthorised, full or gone."""


class RunnerError(BenchError):
    """A runner is missing, cannot load the file, or printed something that cannot be read."""


class StoreError(BenchError):
    """The file of measurements cannot be read or written."""


class SweepError(MobileExportError):
    """A sweep, or a worker of it, could not go on; what was finished is kept."""


class ParityError(MobileExportError):
    """An artifact does not compute what the model computes."""

    exit_code = 1
