"""onnxruntime sends no reports from our processes, unless the user asks for them.

Its telemetry writes an identifier of the device below the home folder as soon as it starts, which
shows whether it did.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobile_export.bench import worker

SETTING = "ORT_DISABLE_TELEMETRY"
RUN = "import onnxruntime; onnxruntime.InferenceSession({model!r})"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file with one ReLU."""
    import onnx
    from onnx import TensorProto, helper

    value = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 4, 4]) for name in "xy"
    }
    node = helper.make_node("Relu", ["x"], ["y"])
    graph = helper.make_graph([node], "relu", [value["x"]], [value["y"]])
    path = tmp_path_factory.mktemp("model") / "relu.onnx"
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def environment(home: Path, setting: str | None) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if k != SETTING and not k.startswith("XDG_")}
    return {**kept, "HOME": str(home), **({SETTING: setting} if setting else {})}


def reports(home: Path) -> bool:
    return any(path.name == "deviceid" for path in home.rglob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the identifier elsewhere")
@pytest.mark.parametrize(
    ("before", "setting", "expected"),
    [
        ("", None, True),  # what onnxruntime does by itself: the test can see it
        ("import mobile_export; ", None, False),
        ("import mobile_export; ", "0", True),  # the user's own setting is kept
    ],
)
def test_telemetry_is_off_unless_asked_for(
    tmp_path: Path, model: Path, before: str, setting: str | None, expected: bool
) -> None:
    subprocess.run(
        [sys.executable, "-c", before + RUN.format(model=str(model))],
        env=environment(tmp_path, setting),
        check=True,
        capture_output=True,
    )
    if expected and not reports(tmp_path):
        pytest.skip("this onnxruntime has no telemetry")
    assert reports(tmp_path) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep the identifier elsewhere")
def test_the_worker_has_none_of_its_own(tmp_path: Path, model: Path) -> None:
    """It imports nothing of this package, because on another machine there is none."""
    load = {"do": "load", "runner": "onnxruntime", "files": [str(model)], "threads": 1}
    load |= {"backend": "cpu", "precision": None, "cores": None}
    done = subprocess.run(
        [sys.executable, worker.__file__],
        input=json.dumps(load) + "\n",
        env=environment(tmp_path, None),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["version"].startswith("onnxruntime ")
    assert not reports(tmp_path)
