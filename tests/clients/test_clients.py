"""The clients that people have load our files, find our names, and compute what PyTorch computes.

Expected values are those of the eager module in float64. What a client needs is in the user's cache
(`python -m tests.clients.install`, which CI runs); without it its tests are skipped. MediaPipe has
its tests in tests/exporters/tflite/test_metadata.py, OpenVINO in tests/exporters/onnx.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.clients.conftest import HERE, Browser, Files, answer, client, program
from tests.conftest import need


def check(found: dict[str, Any], files: Files, name: str) -> None:
    """Names are those of the manifest, and values within 1e-5 of PyTorch's in float64."""
    interface = files.interface(name)
    (taken,) = found["inputs"]
    ((given, values),) = found["outputs"]
    assert taken in {interface.inputs[0].name, interface.inputs[0].tensor}
    assert given in {interface.outputs[0].name, interface.outputs[0].tensor}
    error = np.abs(np.array(values) - files.expected).max()
    assert error <= 1e-5 * np.abs(files.expected).max()


def test_onnxruntime_web(files: Files, tmp_path: Path) -> None:
    modules, node = client("npm") / "node_modules", program("node")
    values = files.input("onnx", tmp_path)
    check(answer(node, HERE / "ort_web.mjs", modules, files.path("onnx"), values), files, "onnx")


@pytest.mark.parametrize("name", ["litert", "tfjs"])
def test_tflite_in_a_browser(browser: Browser, name: str, files: Files) -> None:
    """LiteRT.js and tfjs-tflite."""
    files.input("tflite", browser.folder)
    (taken,) = files.interface("tflite").inputs
    check(browser.ask(name, files.path("tflite"), taken.shape), files, "tflite")


def test_tensorflow(files: Files, tmp_path: Path) -> None:
    python = client("tensorflow") / "bin" / "python"
    values = files.input("tflite", tmp_path)
    check(answer(python, HERE / "run_tensorflow.py", files.path("tflite"), values), files, "tflite")


def test_a_bare_ncnn(tiny: Files, tmp_path: Path) -> None:
    """ncnn and NumPy in an environment of their own, and no line of this project."""
    python = client("ncnn") / "bin" / "python"
    values = tiny.input("ncnn", tmp_path)
    check(answer(python, HERE / "run_ncnn.py", tiny.path("ncnn"), values), tiny, "ncnn")


def test_the_mobile_converter_of_onnxruntime(tiny: Files, tmp_path: Path) -> None:
    """Its .ort file computes the same, and has our names."""
    onnxruntime = pytest.importorskip("onnxruntime")
    shutil.copyfile(tiny.path("onnx"), tmp_path / "tiny.onnx")
    tool = "onnxruntime.tools.convert_onnx_models_to_ort"
    words = [sys.executable, "-m", tool, str(tmp_path), "--optimization_style", "Fixed"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "tiny.ort")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    (values,) = session.run(None, {taken.name: tiny.image})
    check({"inputs": [taken.name], "outputs": [(given.name, values.ravel())]}, tiny, "onnx")


def test_coremltools(tiny: Files) -> None:
    """Its readers of a package find our names and shapes, in the spec and in the program."""
    need("coreml")
    import coremltools
    from coremltools.converters.mil.frontend.milproto.load import load

    path = tiny.path("coreml")
    model = coremltools.models.MLModel(str(path), skip_model_load=True)
    spec = model.get_spec()
    interface = tiny.interface("coreml")
    (taken,), (given,) = spec.description.input, spec.description.output
    assert taken.name == interface.inputs[0].name
    assert tuple(taken.type.multiArrayType.shape) == interface.inputs[0].shape
    assert given.name == interface.outputs[0].name
    assert tuple(given.type.multiArrayType.shape) == interface.outputs[0].shape
    program = load(spec, spec.specificationVersion, file_weights_dir=model.weights_dir)
    (function,) = program.functions.values()
    assert list(function.inputs) == [taken.name]
    assert [each.name for each in function.outputs] == [given.name]


@pytest.mark.parametrize("name", ["onnx", "tflite", "coreml", "tnn"])
def test_netron(tiny: Files, name: str) -> None:
    """Its readers, which its window is drawn from, find our names."""
    found = netron(inside(tiny.path(name)))
    interface = tiny.interface(name)
    assert [each["name"] for each in found["inputs"]] == [
        each.tensor or each.name for each in interface.inputs
    ]
    (output,) = interface.outputs
    assert [each["name"] for each in found["outputs"]] == [output.tensor or output.name]
    assert found["nodes"] > 0


def test_netron_on_ncnn(tiny: Files, tmp_path: Path) -> None:
    """It reads the file of layers, in which an output is what no layer takes."""
    path = shutil.copyfile(tiny.path("ncnn"), tmp_path / "tiny.ncnn.param")
    found = netron(path)
    interface = tiny.interface("ncnn")
    assert [each["name"] for each in found["inputs"]] == [interface.inputs[0].name]
    assert found["last"] == [interface.outputs[0].name]


def test_netron_looks_for_weights_that_a_layer_norm_has_not(tmp_path: Path) -> None:
    """``affine=0`` (2=0) is "no weights" in ncnn; Netron 9.3.3 reads them all the same.

    docs/ncnn.md says so. When this fails, Netron is mended: the sentence there goes, and the test
    above takes the weights, too.
    """
    lines = "7767517\n2 2\nInput x 0 1 x 0=4 1=2\nLayerNorm y 1 1 x y 0=4 1=1e-5 2={}\n"
    path = tmp_path / "norm.param"
    path.with_suffix(".bin").write_bytes(np.ones(8, "<f4").tobytes())
    path.write_text(lines.format(1))
    assert netron(path)["nodes"] == 1
    path.with_suffix(".bin").write_bytes(b"")
    path.write_text(lines.format(0))
    with pytest.raises(AssertionError, match=r"Unexpected end of file|Invalid weights data size"):
        netron(path)


def netron(path: Path) -> dict[str, Any]:
    """What Netron reads in a file."""
    folder, node = client("netron") / "netron", program("node")
    return answer(node, HERE / "netron.mjs", folder, path)


def inside(path: Path) -> Path:
    """The file to open: of a Core ML package the one inside, as Netron opens no folders."""
    return next(path.glob("Data/*/model.mlmodel")) if path.is_dir() else path
