"""ExportConfig: every choice of one run, frozen, passed down. No globals, no environment."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .errors import UsageError

__all__ = ["COREML_TARGETS", "CoreMLOptions", "ExportConfig", "TFLiteOptions"]

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
class ExportConfig:
    """Choices of one export run.

    Attributes:
        out_dir: folder of the artifacts; made when it does not exist.
        force: overwrite existing artifacts.
        keep_failed: keep an artifact whose parity failed or is inconclusive.
        precision: "fp16" or "fp32"; None takes each target's default.
        verbose: let the vendors' own output through.
        no_passes: names of graph passes to leave out.
    """

    out_dir: Path = Path()
    force: bool = False
    keep_failed: bool = False
    precision: str | None = None
    verbose: bool = False
    no_passes: tuple[str, ...] = ()
    coreml: CoreMLOptions = field(default_factory=CoreMLOptions)
    tflite: TFLiteOptions = field(default_factory=TFLiteOptions)

    def __post_init__(self) -> None:
        if self.precision is not None:
            _check("--precision", self.precision, _PRECISIONS)


def _check(option: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise UsageError(
            f"{option} {value!r} is not known.", hint=f"Valid values: {', '.join(valid)}."
        )
