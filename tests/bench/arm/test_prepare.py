"""The counting machine: what it refuses, and runtimes that really run in it under qemu."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.expected import seeded_input
from mobile_export.bench.arm import prepare as preparing
from mobile_export.bench.devices import connect
from mobile_export.bench.devices.qemu import QemuDevice
from mobile_export.bench.files import BenchArtifact
from mobile_export.bench.runners import runners_for
from mobile_export.bench.runners.runner import Job, RawResult, RunnerSession
from mobile_export.errors import ArtifactError, DeviceError, RunnerError, UsageError
from tests.bench.examples import make_manifest

SHAPE = (1, 3, 16, 16)


@pytest.fixture(scope="module")
def device() -> Iterator[QemuDevice]:
    try:
        found = connect("qemu")
    except DeviceError as error:
        pytest.skip(str(error))
    assert isinstance(found, QemuDevice)
    yield found
    found.close()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(1).standard_normal(SHAPE, dtype=np.float32)


@pytest.fixture(scope="module")
def layer() -> tuple[np.ndarray, np.ndarray]:
    """Weight (8, 3, 3, 3) and bias of a convolution with padding 1."""
    random = np.random.default_rng(2)
    return (
        random.standard_normal((8, 3, 3, 3), dtype=np.float32),
        random.standard_normal(8, dtype=np.float32),
    )


@pytest.fixture(scope="module")
def expected(image: np.ndarray, layer: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The convolution by PyTorch in float64."""
    import torch

    weight, bias = (torch.from_numpy(part).double() for part in layer)
    given = torch.from_numpy(image).double()
    return np.asarray(torch.nn.functional.conv2d(given, weight, bias, padding=1))


def artifact(kind: str, *files: Path) -> BenchArtifact:
    image = seeded_input(SHAPE, 0)
    companions = [{"file": file.name, "sha256": sha256_of(file)} for file in files[1:]]
    manifest = make_manifest(
        files[0], image, {"y": image}, source="conv", format=kind, companions=companions
    )
    return BenchArtifact(files[0], files, manifest)


def write_onnx(folder: Path, weight: np.ndarray, bias: np.ndarray) -> BenchArtifact:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("Conv", ["image", "weight", "bias"], ["out0"], pads=[1, 1, 1, 1])],
        "conv",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("out0", TensorProto.FLOAT, (1, 8, 16, 16))],
        [numpy_helper.from_array(weight, "weight"), numpy_helper.from_array(bias, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "conv.onnx")
    return artifact("onnx", folder / "conv.onnx")


def write_ncnn(folder: Path, weight: np.ndarray, bias: np.ndarray) -> BenchArtifact:
    param, binary = folder / "conv.param", folder / "conv.bin"
    param.write_text(
        "7767517\n2 2\nInput input 0 1 image\n"
        f"Convolution conv 1 1 image out0 0=8 1=3 4=1 5=1 6={weight.size}\n"
    )
    binary.write_bytes(struct.pack("<I", 0) + weight.tobytes() + bias.tobytes())
    return artifact("ncnn", param, binary)


def open_session(device: QemuDevice, file: BenchArtifact) -> RunnerSession:
    return runners_for("qemu", file.format)[0].runner().open(device, Job(file))


def write_tflite(folder: Path, weight: np.ndarray, bias: np.ndarray) -> BenchArtifact:
    import litert_torch
    import torch

    conv = torch.nn.Conv2d(3, 8, 3, padding=1)
    conv.weight.data, conv.bias.data = torch.from_numpy(weight), torch.from_numpy(bias)  # type: ignore[union-attr]
    litert_torch.convert(conv.eval(), (torch.zeros(SHAPE),)).export(str(folder / "conv.tflite"))
    return artifact("tflite", folder / "conv.tflite")


@pytest.mark.parametrize(
    "write",
    [write_onnx, write_ncnn, pytest.param(write_tflite, marks=pytest.mark.matrix)],
    ids=["onnxruntime", "ncnn", "litert"],
)
def test_a_runtime_computes_the_right_output_and_counts_the_same_in_two_processes(
    write: object,
    device: QemuDevice,
    image: np.ndarray,
    layer: tuple[np.ndarray, np.ndarray],
    expected: np.ndarray,
    tmp_path: Path,
) -> None:
    assert callable(write)
    file = write(tmp_path, *layer)
    results: list[RawResult] = []
    for _ in range(2):
        with open_session(device, file) as session:
            outputs = session.outputs(image)
            assert outputs is not None
            got = outputs[0].value.reshape(expected.shape)
            assert np.max(np.abs(got - expected)) < 1e-5 * np.max(np.abs(expected))
            results.append(session.run(2))
    assert results[0] == results[1]
    assert results[0].unit == "instructions"
    # 8 x 3 x 3 x 3 x 16 x 16 multiply-adds, four in an instruction, some saved by Winograd.
    assert all(fma >= 8 * 27 * 256 / 4 / 2.25 / 2 for fma in results[0].extra["fma"])
    assert results[0].samples == tuple(results[0].extra["instructions"])


def test_a_damaged_file_is_an_error_that_names_it(device: QemuDevice, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no protobuf")
    with pytest.raises(RunnerError, match=r"broken\.onnx"):
        open_session(device, artifact("onnx", tmp_path / "broken.onnx"))


def test_what_the_machine_is(device: QemuDevice) -> None:
    info = device.describe()
    assert (info.kind, info.arch, info.soc) == ("qemu", "aarch64", None)
    assert "qemu" in info.name
    done = device.run([device.python, "-c", "import platform; print(platform.machine())"])
    assert (done.returncode, done.stdout) == (0, "aarch64\n")
    with pytest.raises(DeviceError, match="no clocks"):
        device.fixed_performance()


def test_several_threads_are_refused(in_tmp: Path) -> None:
    Path("x.onnx").touch()
    file = artifact("onnx", Path("x.onnx"))
    runner = runners_for("qemu", "onnx")[0].runner()
    prepared = preparing.Prepared(Path(), Path(), Path(), Path(), {})
    assert "--threads 1" in str(runner.missing(QemuDevice("qemu", prepared), Job(file, threads=2)))
    assert runner.missing(QemuDevice("qemu", prepared), Job(file)) is None


def test_only_qemu_counts(in_tmp: Path) -> None:
    Path("x.onnx").touch()
    runner = runners_for("qemu", "onnx")[0].runner()
    with pytest.raises(UsageError, match="local cannot count"):
        runner.open(connect("local"), Job(artifact("onnx", Path("x.onnx"))))


def test_a_folder_that_is_not_prepared(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="not prepared") as caught:
        connect(f"qemu:{tmp_path}")
    assert "mobile-bench prepare-qemu" in str(caught.value)


def test_a_folder_of_another_version(tmp_path: Path) -> None:
    facts = {"schema": 1, "versions": {"plugin": "0123456789abcdef"}}
    (tmp_path / "prepared.json").write_text(json.dumps(facts))
    with pytest.raises(DeviceError, match="another version") as caught:
        connect(f"qemu:{tmp_path}")
    assert "--force" in str(caught.value)


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ArtifactError, match="was not made by prepare-qemu"):
        preparing.prepare(tmp_path, force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_missing_tools_are_named_with_their_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing.shutil, "which", lambda command: None)
    with pytest.raises(DeviceError, match="qemu-aarch64") as caught:
        preparing.prepare(tmp_path / "qemu")
    assert "apt-get install qemu-user" in str(caught.value)
    assert not (tmp_path / "qemu").exists()


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("qemu-aarch64", "gcc", "apt-get", "dpkg-deb")),
    reason="apt-get install qemu-user gcc",
)
def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="apt-get"):
        preparing.prepare(tmp_path / "qemu", mirror="http://127.0.0.1:9/debian")
    assert list(tmp_path.iterdir()) == []


def test_a_qemu_with_another_plugin_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "_run", lambda command: "qemu-aarch64 version 9.2.0\n")
    with pytest.raises(DeviceError, match=r"6\.0 to 8\.2"):
        preparing._qemu_version()
