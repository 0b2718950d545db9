"""ExportConfig: every choice of one run, frozen, passed down. No globals, no environment."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import UsageError

if TYPE_CHECKING:
    from .targets import Target

__all__ = ["COREML_TARGETS", "CoreMLOptions", "ExportConfig", "NmsOptions", "TFLiteOptions"]

COREML_TARGETS = ("ios15", "ios16", "ios17", "ios18")
_LAYOUTS = ("nhwc", "nchw")
_PRECISIONS = ("fp16", "fp32")


@dataclass(frozen=True)
class CoreMLOptions:
    """Choices of the Core ML exporter.

    Attributes:
        target: minimum deployment target, one of `COREML_TARGETS`.
        image_input: take an 8-bit image and normalise it inside the program.
        classifier: attach class labels; the outputs become ``classLabel`` and probabilities.
    """

    target: str = "ios16"
    image_input: bool = False
    classifier: bool = False

    def __post_init__(self) -> None:
        _check("--target", self.target, COREML_TARGETS)


@dataclass(frozen=True)
class TFLiteOptions:
    """Choices of the TFLite exporter: the layout of the image input, ``nhwc`` or ``nchw``."""

    layout: str = "nhwc"

    def __post_init__(self) -> None:
        _check("--layout", self.layout, _LAYOUTS)


@dataclass(frozen=True)
class NmsOptions:
    """Non-maximum suppression inside the file, behind a detector's boxes and scores.

    The defaults are those of EMO's SSDLite configurations, as in `detection.suppress`.

    Attributes:
        iou_threshold: of two boxes of a class whose intersection over union is above it, the surer
            stays; in (0, 1], and 1 suppresses nothing.
        score_threshold: less sure boxes are left out; in [0, 1).
        max_detections: that the file returns at most.
    """

    iou_threshold: float = 0.45
    score_threshold: float = 0.02
    max_detections: int = 200

    def __post_init__(self) -> None:
        if not 0 < self.iou_threshold <= 1:
            raise UsageError(
                f"--nms-iou {self.iou_threshold:g} is out of range.",
                hint="Valid is a number above 0 and up to 1; 1 suppresses nothing.",
            )
        if not 0 <= self.score_threshold < 1:
            raise UsageError(
                f"--nms-score {self.score_threshold:g} is out of range.",
                hint="Valid is a number from 0 and below 1.",
            )
        if self.max_detections < 1:
            raise UsageError(
                f"--nms-max {self.max_detections} is out of range.", hint="Valid is 1 or more."
            )


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
            _check("--precision", self.precision, _PRECISIONS)

    def of(self, target: Target) -> ExportConfig:
        """For one of several targets: without what its format lacks."""
        return self if target.nms else replace(self, nms=None)


def _check(option: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UsageError(
            f"{option} {value!r} is not known.", hint=f"Valid values: {', '.join(valid)}."
        )
