"""The one table of targets. Nothing else in the package spells a target's name to branch on it.

Adding a target is one row here, one exporter and one runtime module (docs/adding-a-target.md).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ArtifactError, UsageError
from .row import Target

if TYPE_CHECKING:
    pass

__all__ = ["TARGETS", "available_targets", "get_target", "target_of_file"]


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
        extra_passes=("repeat_channels", "settle_layouts"),
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
