"""Format: what is true of one output format, as plain data."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import MissingExtraError, UsageError
from ..parity.session import Session

if TYPE_CHECKING:
    from ..config import ExportConfig
    from ..graph.program import Program
    from ..graph.specs import OutputSpec

__all__ = ["Exporter", "Runtime", "Target"]


@dataclass(frozen=True)
class Target:
    """One output format.

    Attributes:
        name: on the command line and in reports.
        title: for people.
        suffix: of the artifact.
        extra: of ``pip install 'mobile-export[extra]'``.
        modules: import name to the range of distribution versions that was tested, as
            (distribution, lowest, below).
        precisions: supported, the default first.
        checked_by: what executes the artifact here, for the documentation and ``doctor``.
        companion: suffix of the second file, with the weights, of a format that has one: it
            replaces the last suffix of the artifact (``net.ncnn.param`` -> ``net.ncnn.bin``).
        extra_passes: of `passes.EXTRA_PASSES`, by name: what its converter lacks or gets wrong.
        without_passes: graph passes that make its files slower, by name.
        nms: its files can end with non-maximum suppression.
    """

    name: str
    title: str
    suffix: str
    extra: str
    modules: Mapping[str, tuple[str, str, str]]
    precisions: tuple[str, ...]
    checked_by: str
    companion: str | None = None
    extra_passes: tuple[str, ...] = ()
    without_passes: tuple[str, ...] = ()
    nms: bool = False

    def companions(self, artifact: Path) -> tuple[Path, ...]:
        """The files beside ``artifact`` without which it is nothing; most formats have none."""
        return () if self.companion is None else (artifact.with_suffix(self.companion),)

    def files(self, artifact: Path) -> tuple[Path, ...]:
        """``artifact`` and its companions."""
        return (artifact, *self.companions(artifact))

    def missing(self) -> tuple[str, ...]:
        """Import names that are not installed."""
        return tuple(name for name in self.modules if importlib.util.find_spec(name) is None)

    def require(self) -> None:
        """Raise MissingExtraError, with the install command, when a module is missing."""
        missing = self.missing()
        if missing:
            raise MissingExtraError(self.title, missing[0], self.extra)

    def require_nms(self) -> None:
        """Raise UsageError, naming the host's function, where the format has no suppression."""
        if not self.nms:
            from .table import TARGETS

            able = ", ".join(target.name for target in TARGETS if target.nms)
            raise UsageError(
                f"{self.title} files cannot end with non-maximum suppression (--nms).",
                hint=f"Leave --nms out and run mobile_export.detection.suppress on boxes and "
                f"scores on the host (docs/detection.md). Formats that have it: {able}.",
            )

    def exporter(self) -> Exporter:
        """The exporter module; its libraries must be installed."""
        return cast(Exporter, importlib.import_module(f"{__package__}.{self.name}.writer"))

    def runtime(self) -> Runtime:
        """The runtime module; its libraries must be installed."""
        return cast(Runtime, importlib.import_module(f"{__package__}.{self.name}.session"))

    def precision(self, wanted: str | None) -> str:
        """``wanted`` if this target has it, its default for None.

        Raises:
            UsageError: the target does not have that precision.
        """
        if wanted is None:
            return self.precisions[0]
        if wanted not in self.precisions:
            raise UsageError(
                f"{self.title} files are not written in {wanted}.",
                hint=f"Valid for {self.name}: {', '.join(self.precisions)}.",
            )
        return wanted


class Exporter(Protocol):
    """What a module of ``mobile_export.exporters`` offers."""

    def export(self, program: Program, path: Path, config: ExportConfig, precision: str) -> None:
        """Write ``program`` to ``path``, which does not exist yet."""

    def check(self, program: Program, config: ExportConfig) -> None:
        """Raise UsageError when the options do not fit the program; called before any work."""


class Runtime(Protocol):
    """What a module of ``mobile_export.exporters`` offers."""

    def load(self, path: Path, outputs: tuple[OutputSpec, ...]) -> Session:
        """Load an artifact of a program whose outputs, in order, are ``outputs``.

        Raises:
            ArtifactError: the file is damaged, or its outputs are not those.
        """

    def describe(self, path: Path) -> dict[str, Any]:
        """Inputs, outputs, op counts, parameters and precision of an artifact, JSON-ready."""
