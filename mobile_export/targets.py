"""The one table of targets. Nothing else in the package spells a target's name to branch on it.

Adding a target is one row here, one exporter and one runtime module (docs/adding-a-target.md).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from .errors import ArtifactError, MissingExtraError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from .config import ExportConfig
    from .detection import Detections, Suppression
    from .inputs import Sample
    from .program import Program
    from .specs import OutputSpec

__all__ = [
    "TARGETS",
    "Detector",
    "Exporter",
    "Runtime",
    "Session",
    "Target",
    "Tensor",
    "available_targets",
    "get_target",
    "target_of_file",
]


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
            able = ", ".join(target.name for target in TARGETS if target.nms)
            raise UsageError(
                f"{self.title} files cannot end with non-maximum suppression (--nms).",
                hint=f"Leave --nms out and run mobile_export.detection.suppress on boxes and "
                f"scores on the host (docs/detection.md). Formats that have it: {able}.",
            )

    def exporter(self) -> Exporter:
        """The exporter module; its libraries must be installed."""
        return cast(Exporter, importlib.import_module(f"{__package__}.exporters.{self.name}"))

    def runtime(self) -> Runtime:
        """The runtime module; its libraries must be installed."""
        return cast(Runtime, importlib.import_module(f"{__package__}.runtimes.{self.name}"))

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


@dataclass(frozen=True)
class Tensor:
    """One value inside an artifact: its name, what it was computed from, and what came out.

    Attributes:
        inputs: names of the tensors that its operation read; constants may be among them.
        module: path of the PyTorch module it came from, where the file says so.
    """

    name: str
    inputs: tuple[str, ...]
    value: np.ndarray
    module: str | None = None


class Detector(Protocol):
    """An artifact that ends with non-maximum suppression.

    Attributes:
        suppression: as the file says.
    """

    suppression: Suppression

    def detect(self, sample: Sample) -> tuple[list[np.ndarray], Detections]:
        """Boxes and scores in front of the suppression, in the program's order, and the rest.

        All boxes are left, top, right, bottom in pixels.
        """


class Session(Protocol):
    """An artifact loaded and ready to run.

    Attributes:
        runtime: what executes it, with its version.
        emulated: True when that is one of our evaluators instead of the vendor's runtime.
        precision: of the arithmetic or of the stored weights, whichever is lower.
        takes_pixels: the input is 0 to 255 and normalised inside.
        activation: "softmax" when the file turns the program's logits into probabilities.
        others: the same file under other options that a device may run it with; checked as well.
        detector: of a file that ends with non-maximum suppression, else None.
    """

    runtime: str
    emulated: bool
    precision: str
    takes_pixels: bool
    activation: str | None
    others: tuple[Session, ...]
    detector: Detector | None

    def run(self, sample: Sample) -> list[np.ndarray]:
        """Outputs in the program's order and layout (NCHW for rank 4).

        Of a file that ends with detections: the boxes and scores in front of the suppression.
        """

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        """Every intermediate tensor, in execution order."""


class Runtime(Protocol):
    """What a module of ``mobile_export.runtimes`` offers."""

    def load(self, path: Path, outputs: tuple[OutputSpec, ...]) -> Session:
        """Load an artifact of a program whose outputs, in order, are ``outputs``.

        Raises:
            ArtifactError: the file is damaged, or its outputs are not those.
        """

    def describe(self, path: Path) -> dict[str, Any]:
        """Inputs, outputs, op counts, parameters and precision of an artifact, JSON-ready."""


TARGETS: tuple[Target, ...] = (
    Target(
        name="onnx",
        title="ONNX",
        suffix=".onnx",
        extra="onnx",
        modules={
            "onnx": ("onnx", "1.18", "2"),
            "onnxruntime": ("onnxruntime", "1.22", "2"),
            "onnxscript": ("onnxscript", "0.5", "0.8"),
            "onnxsim": ("onnxsim", "0.6", "0.9"),
        },
        precisions=("fp32",),
        checked_by="onnxruntime",
        extra_passes=("repeat_channels",),
        nms=True,
    ),
    Target(
        name="coreml",
        title="Core ML",
        suffix=".mlpackage",
        extra="coreml",
        modules={"coremltools": ("coremltools", "9.0", "10")},
        precisions=("fp16", "fp32"),
        checked_by="Core ML on macOS, the reference evaluator of ML Programs elsewhere",
        extra_passes=("slice_windows", "move_narrow", "limit_rank"),
        without_passes=("move_less",),
        nms=True,
    ),
    Target(
        name="tflite",
        title="TFLite",
        suffix=".tflite",
        extra="tflite",
        modules={
            "litert_torch": ("litert-torch", "0.10", "0.11"),
            "ai_edge_litert": ("ai-edge-litert", "2.3", "3"),
            "ai_edge_quantizer": ("ai-edge-quantizer", "0.10", "0.11"),
        },
        precisions=("fp32", "fp16"),
        checked_by="LiteRT",
        extra_passes=("index_nearest", "slice_windows", "repeat_channels", "split_depthwise"),
        nms=True,
    ),
    Target(
        name="ncnn",
        title="ncnn",
        suffix=".ncnn.param",
        extra="ncnn",
        modules={"ncnn": ("ncnn", "1.0.20250503", "1.1")},
        precisions=("fp32", "fp16"),
        checked_by="ncnn",
        extra_passes=("repeat_channels",),
        companion=".bin",
    ),
    Target(
        name="tnn",
        title="TNN",
        suffix=".tnnproto",
        extra="tnn",
        modules={},
        precisions=("fp32", "fp16"),
        checked_by="the reference evaluator of TNN models",
        extra_passes=("repeat_channels",),
        companion=".tnnmodel",
    ),
)


def get_target(name: str) -> Target:
    """The target called ``name``.

    Raises:
        UsageError: there is none.
    """
    for target in TARGETS:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in TARGETS)
    raise UsageError(f"There is no format {name!r}.", hint=f"Valid formats: {names}.")


def available_targets() -> tuple[Target, ...]:
    """The targets whose libraries are installed."""
    return tuple(target for target in TARGETS if not target.missing())


def target_of_file(path: Path) -> Target:
    """The target that writes files with the last suffix of ``path``.

    Raises:
        ArtifactError: the file or a companion does not exist, or no target has that suffix.
    """
    suffixes = ", ".join(target.suffix for target in TARGETS)
    if not path.exists():
        raise ArtifactError(
            f"{path} does not exist.", hint=f"Give a file that mobile-export wrote ({suffixes})."
        )
    for target in TARGETS:
        if path.suffix and target.suffix.endswith(path.suffix):
            _require_companions(target, path)
            return target
        if any(path.name.endswith(end.name) for end in target.companions(Path(target.suffix))):
            raise ArtifactError(
                f"{path} holds only the weights of a model ({target.title}).",
                hint=f"Give the {target.suffix} file beside it.",
            )
    raise ArtifactError(f"{path} has no known suffix.", hint=f"Valid suffixes: {suffixes}.")


def _require_companions(target: Target, path: Path) -> None:
    for file in target.companions(path):
        if not file.is_file():
            raise ArtifactError(
                f"{file} does not exist; it holds the weights of {path}.",
                hint="Keep the two files in one folder, under one name.",
            )
