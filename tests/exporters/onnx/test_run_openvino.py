"""OpenVINO as a second judge of ONNX files."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest
import torch
from torch import nn

from mobile_export import api
from mobile_export.errors import ArtifactError, ExecutionError, UsageError
from mobile_export.exporters.interface import loader_of
from mobile_export.exporters.onnx.attention import attend_in_another_axis
from mobile_export.exporters.table import get_format
from mobile_export.graph.specs import OutputSpec
from mobile_export.parity.samples import Sample
from mobile_export.parity.session import Session
from mobile_export.quantization.options import QuantizationOptions

onnx = pytest.importorskip("onnx")
from tests.exporters.onnx import test_attention as attention  # noqa: E402


def test_another_runtime_is_one_of_the_row() -> None:
    with pytest.raises(UsageError, match="not executed with 'tensorrt'"):
        get_format("onnx").other_runtime("tensorrt")
    with pytest.raises(UsageError, match="Core ML files are not executed with 'openvino'"):
        get_format("coreml").other_runtime("openvino")


def saturates(precision: str) -> bool:
    """Whether OpenVINO's sums of two products of 8 bits leave the 16 bits that they have: on x86
    without VNNI. It is 8 % off then, and `verify` says so."""
    places = Path("/proc/cpuinfo")
    x86 = platform.machine() in ("x86_64", "AMD64")
    return precision == "int8" and x86 and "vnni" not in places.read_text()


@pytest.mark.parametrize("precision", ["int8-weights", "int8"])
def test_files_of_integers_with_openvino(tmp_path: Path, precision: str) -> None:
    """The integers that the file stores are read from it; those that are computed, nobody sees."""
    pytest.importorskip("openvino")
    module = convolutions()
    options = {"quantization": QuantizationOptions(calibration="synthetic"), "size": 64}
    report = api.export(module, "onnx", tmp_path, name="tiny", precision=precision, **options)
    path = report.artifacts[0].path
    assert path is not None
    checked = api.verify(path, module, runtime="openvino", size=64)
    assert checked.parity.passed == checked.parity.faithful == (not saturates(precision))
    unseen = any("computes inside cannot be seen" in note for note in checked.parity.notes)
    assert unseen == (precision == "int8")
    if unseen:
        with pytest.raises(UsageError, match="does not show what is computed inside"):
            api.verify(path, module, runtime="openvino", size=64, layers=True)
    change_a_weight(path)
    wrong = api.verify(path, module, runtime="openvino", size=64).parity
    assert not wrong.passed
    assert any("stored integers are not those of the plan" in note for note in wrong.notes)


def convolutions() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 7)).eval()


def change_a_weight(path: Path) -> None:
    """The lowest bit of the first stored integer."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(path))
    kinds = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    tensor = next(
        each for each in model.graph.initializer if each.data_type in kinds and len(each.dims) > 1
    )
    changed = numpy_helper.to_array(tensor).copy()
    changed.flat[0] ^= 1
    tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, str(path))


def test_verify_with_openvino(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from mobile_export.pipeline import ExportReport

    report: ExportReport = api.export("emo_1m", "onnx", out_dir=tmp_path, size=64)
    path = report.artifacts[0].path
    assert path is not None
    checked = api.verify(path, "emo_1m", runtime="openvino", size=64)
    assert checked.parity.passed
    assert checked.parity.runtime.startswith("OpenVINO")
    with pytest.raises(UsageError, match="does not show what is computed inside"):
        api.verify(path, "emo_1m", runtime="openvino", size=64, layers=True)


def a_file(tmp_path: Path) -> Path:
    """Attention as this format writes it, which OpenVINO computes."""
    model = attention.attention_model()
    attend_in_another_axis(model)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def opened(path: Path) -> Session:
    shape = (1, attention.TOKENS, attention.CHANNELS)
    return loader_of(get_format("onnx"), "openvino")(path, (OutputSpec("y", shape),))


def test_openvino_runs_in_another_process_which_may_die(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    session = opened(a_file(tmp_path))
    x = torch.from_numpy(attention.sample())
    sample = Sample("noise-0", x, x)
    for _ in range(2):
        (result,) = session.run(sample)
        assert attention.error(result) < 1e-6
    session.child._child.kill()  # type: ignore[attr-defined]
    with pytest.raises(ExecutionError, match=r"cannot run .*model.onnx: it crashed \(SIGKILL\)"):
        session.run(sample)


def test_openvino_may_die_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module with its name stands in for it, which ends the process as a segmentation fault."""
    (tmp_path / "openvino.py").write_text("import os\n\nos.kill(os.getpid(), 11)\n")
    paths = [str(tmp_path), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with pytest.raises(ArtifactError, match=r"cannot load .*: it crashed \(SIGSEGV\)") as raised:
        opened(a_file(tmp_path))
    assert "without `runtime`" in str(raised.value.hint)


def test_what_openvino_says_of_a_file(tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = a_file(tmp_path)
    model = onnx.load(str(path))
    model.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"cannot load .*: \w+: "):
        opened(path)
