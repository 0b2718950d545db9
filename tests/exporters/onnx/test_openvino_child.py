"""What is sent to OpenVINO's process and back."""

from __future__ import annotations

import numpy as np
import pytest

from mobile_export.exporters.onnx import openvino_child as child


def test_arrays_come_as_they_went() -> None:
    arrays = [np.float32([[1, -0.0]]), np.array(7, np.int64), np.zeros((0, 3), bool)]
    arrays += [np.float16([k]) for k in range(12)]  # more than nine: in their own order
    found = child.unpacked(child.packed(arrays))
    assert [(a.dtype, a.shape, a.tobytes()) for a in found] == [
        (a.dtype, a.shape, a.tobytes()) for a in arrays
    ]


def test_no_code_is_read() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        child.unpacked(child.packed([np.array([{}], dtype=object)]))


def test_what_was_raised_is_no_result() -> None:
    assert child.answer_of(b"\0abc") == b"abc"
    with pytest.raises(child.Refused, match="RuntimeError: no such node"):
        child.answer_of(b"\1RuntimeError: no such node")
