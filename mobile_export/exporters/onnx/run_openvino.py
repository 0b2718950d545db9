"""ONNX files, executed by OpenVINO on the CPU in float32: a second opinion beside onnxruntime.

OpenVINO lives in a child process (`openvino_child`): where it crashes, only its verdict is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import ArtifactError, ExecutionError, UsageError
from ...graph.specs import PIXELS
from ...parity.session import IntegerTensor, Session, Tensor
from ...system.children import Asked, Gone
from ..processing import added_activation
from .openvino_child import Refused, answer_of, packed, unpacked
from .session import class_names_in, describe, integers_in

if TYPE_CHECKING:
    from ...graph.program import Program
    from ...graph.specs import OutputSpec
    from ...parity.samples import Sample

__all__ = ["load"]


_ELSEWHERE = "Verify it without `runtime`: onnxruntime may take it."
_CHILD = f"{__package__}.openvino_child"


class _OpenVinoSession(Session):
    shows_tensors = False

    def __init__(self, path: Path, outputs: tuple[OutputSpec, ...]) -> None:
        self.path = path
        self.child = Asked(_CHILD, [str(path)])
        self.runtime = f"OpenVINO {self._loaded()}"
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

    def _loaded(self) -> str:
        """The version of OpenVINO, when it has loaded the file."""
        try:
            return answer_of(self.child.ask(b"")).decode()
        except Refused as said:
            raise ArtifactError(
                f"OpenVINO cannot load {self.path}: {said}", hint=_ELSEWHERE
            ) from said
        except Gone as how:
            raise ArtifactError(
                f"OpenVINO cannot load {self.path}: {how}.", hint=_ELSEWHERE
            ) from how

    def run(self, sample: Sample) -> list[np.ndarray]:
        given = sample.by_name(list(self.inputs), pixels=self.takes_pixels)
        arrays = [each.numpy().astype(self.inputs[name]) for name, each in given.items()]
        try:
            results = unpacked(answer_of(self.child.ask(packed(arrays))))
        except Refused as said:
            raise ExecutionError(f"OpenVINO cannot run {self.path}: {said}") from said
        except Gone as how:
            raise ExecutionError(
                f"OpenVINO cannot run {self.path}: {how}.", hint=_ELSEWHERE
            ) from how
        return [results[index] for index in self.order]

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


def load(path: Path, outputs: tuple[OutputSpec, ...]) -> _OpenVinoSession:
    """Load an ONNX file with OpenVINO; its outputs are those of the program, in any order."""
    return _OpenVinoSession(path, outputs)
