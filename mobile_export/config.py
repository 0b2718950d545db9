"""ExportConfig: every choice of one run, frozen, passed down. No globals, no environment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .detection.options import NmsOptions
from .errors import require_known
from .exporters.coreml.options import CoreMLOptions
from .exporters.tflite.options import TFLiteOptions

if TYPE_CHECKING:
    from .exporters.row import Target

__all__ = ["ExportConfig"]

_PRECISIONS = ("fp16", "fp32")


@dataclass(frozen=True)
class ExportConfig:
    """Choices of one export run.

    Attributes:
        out_dir: folder of the artifacts; made when it does not exist.
        force: overwrite existing artifacts.
        keep_failed: keep an artifact whose parity failed or is inconclusive.
        precision: "fp16" or "fp32"; None takes each target's default.
        verbose: let the vendors' own output through.
        no_passes: names of graph passes to leave out.
        nms: end detectors with non-maximum suppression; None leaves boxes and scores.
    """

    out_dir: Path = Path()
    force: bool = False
    keep_failed: bool = False
    precision: str | None = None
    verbose: bool = False
    no_passes: tuple[str, ...] = ()
    coreml: CoreMLOptions = field(default_factory=CoreMLOptions)
    tflite: TFLiteOptions = field(default_factory=TFLiteOptions)
    nms: NmsOptions | None = None

    def __post_init__(self) -> None:
        if self.precision is not None:
            require_known("--precision", self.precision, _PRECISIONS)

    def of(self, target: Target) -> ExportConfig:
        """For one of several targets: without what its format lacks."""
        return self if target.nms else replace(self, nms=None)
