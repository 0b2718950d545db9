"""OpenVINO as a second judge of ONNX files."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile_export.errors import UsageError
from mobile_export.exporters.table import get_format


def test_another_runtime_is_one_of_the_row() -> None:
    with pytest.raises(UsageError, match="not executed with 'tensorrt'"):
        get_format("onnx").other_runtime("tensorrt")
    with pytest.raises(UsageError, match="Core ML files are not executed with 'openvino'"):
        get_format("coreml").other_runtime("openvino")


def test_verify_with_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from mobile_export import api
    from mobile_export.pipeline import ExportReport

    report: ExportReport = api.export("emo_1m", "onnx", out_dir=tmp_path, size=64)
    path = report.artifacts[0].path
    assert path is not None
    checked = api.verify(path, "emo_1m", runtime="openvino", size=64)
    assert checked.parity.passed
    assert checked.parity.runtime.startswith("OpenVINO")
    with pytest.raises(UsageError, match="does not show what is computed inside"):
        api.verify(path, "emo_1m", runtime="openvino", size=64, layers=True)
