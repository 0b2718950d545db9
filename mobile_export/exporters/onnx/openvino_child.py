"""OpenVINO in a process of its own, which a crash of it ends: the child of `run_openvino`.

    python -m mobile_export.exporters.onnx.openvino_child FILE

The answer to an empty message is OpenVINO's version, when the file is loaded; the answer to inputs
in the file's order are its outputs in the file's order (`packed`). What OpenVINO raises is answered
in words.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence

import numpy as np

from ...errors import summary
from ...system.children import serve

__all__ = ["Refused", "answer_of", "main", "packed", "unpacked"]

_DONE, _RAISED = b"\0", b"\1"


class Refused(Exception):
    """OpenVINO raised something; in its words."""


def packed(arrays: Sequence[np.ndarray]) -> bytes:
    """Arrays as a message."""
    stream = io.BytesIO()
    np.savez(stream, *arrays)
    return stream.getvalue()


def unpacked(message: bytes) -> list[np.ndarray]:
    """The arrays of a message, in their order."""
    with np.load(io.BytesIO(message), allow_pickle=False) as arrays:
        return [arrays[f"arr_{place}"] for place in range(len(arrays.files))]


def answer_of(message: bytes) -> bytes:
    """What an answer of the child holds.

    Raises:
        Refused: OpenVINO raised something.
    """
    if message[:1] == _RAISED:
        raise Refused(message[1:].decode(errors="replace"))
    return message[1:]


def _answers(path: str) -> Callable[[bytes], bytes]:
    import openvino

    compiled = None

    def done(message: bytes) -> bytes:
        nonlocal compiled
        if compiled is None:
            settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
            compiled = openvino.Core().compile_model(path, "CPU", settings)
            version: str = openvino.__version__.split("-")[0]
            return version.encode()
        results = compiled(unpacked(message))
        return packed([np.array(results[place]) for place in range(len(compiled.outputs))])

    def answer(message: bytes) -> bytes:
        try:
            return _DONE + done(message)
        except Exception as error:  # noqa: BLE001 (OpenVINO raises its own pybind types)
            return _RAISED + summary(error).encode()

    return answer


def main() -> None:
    """Entry point of the child."""
    (path,) = sys.argv[1:]
    serve(_answers(path))


if __name__ == "__main__":
    main()
