"""ONNX files, executed by OpenVINO on the CPU in float32: a second opinion beside onnxruntime."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ArtifactError, ExecutionError, UsageError, summary
from ...graph.specs import PIXELS
from ...parity.session import IntegerTensor, Session, Tensor
from ..processing import added_activation
from .session import class_names_in, describe, integers_in

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["load"]


class _OpenVinoSession(Session):
    shows_tensors = False

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        import openvino

        self.path = path
        self.runtime = f"OpenVINO {openvino.__version__.split('-')[0]}"
        self.compiled = _compile(path)
        facts = describe(path)
        self.inputs = {each["name"]: each["dtype"] for each in facts["inputs"]}
        self.takes_pixels = PIXELS in self.inputs
        names = [output["name"] for output in facts["outputs"]]
        wanted = [output.name for output in outputs]
        self.activation = added_activation(names, outputs)
        if self.activation is not None:
            wanted = names
        if set(wanted) != set(names):
            raise UsageError(
                f"{path} has the outputs {', '.join(names)}; the model has {', '.join(wanted)}.",
                hint="Files that end with detections are executed without `runtime`.",
            )
        self.order = [names.index(name) for name in wanted]

    def run(self, sample: Sample) -> list[np.ndarray]:
        try:
            given = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
            results = self.compiled(
                [each.numpy().astype(self.inputs[name]) for name, each in given.items()]
            )
        except Exception as error:  # OpenVINO raises its own pybind types
            raise ExecutionError(f"OpenVINO cannot run {self.path}: {summary(error)}") from error
        return [np.array(results[index]) for index in self.order]

    def class_names(self) -> dict[str, tuple[str, ...]]:
        return class_names_in(self.path)

    def keeps_names(self, program: Program, names: Sequence[str]) -> bool:
        return True

    def stored_integers(self) -> Iterator[IntegerTensor]:
        return integers_in(self.path)

    def integers(self, sample: Sample) -> Iterator[IntegerTensor]:
        raise _not_shown()

    def tensors(self, sample: Sample) -> Iterator[Tensor]:
        raise _not_shown()


def _not_shown() -> UsageError:
    return UsageError(
        "OpenVINO does not show what is computed inside a file.",
        hint="Leave out `layers`, or `runtime`.",
    )


def _compile(path: Path) -> Any:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    try:
        return openvino.Core().compile_model(str(path), "CPU", settings)
    except Exception as error:  # OpenVINO raises its own pybind types
        raise ArtifactError(
            f"OpenVINO cannot load {path}: {summary(error)}",
            hint="Verify it without `runtime`: onnxruntime may take it.",
        ) from error


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _OpenVinoSession:
    """Load an ONNX file with OpenVINO; its outputs are those of the program, in any order."""
    return _OpenVinoSession(path, outputs)
