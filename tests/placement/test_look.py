"""What accelerators take of files of a network, asked of the vendors' own software.

SwiftShader (Debian's chromium) is the GPU; without it those tests are skipped. Expected values: the
network has a GELU and a layer norm, which NNAPI's table in onnxruntime's package does not have.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.cli import main as cli
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.placement import look
from mobile_export.placement.look import place
from mobile_export.placement.record import Placement, Run
from mobile_export.placement.table import ACCELERATORS, accelerators_for
from mobile_export.system import vulkan
from tests.conftest import need

SOFTWARE = any(path.is_file() for path in vulkan._SWIFTSHADER)
NO_GPU = "needs Debian's chromium and libvulkan1"


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.LayerNorm(8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.gelu(self.conv(x)).permute(0, 2, 3, 1)
        return self.head(self.norm(y).mean((1, 2)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each format."""
    for name in ("onnx", "tflite", "ncnn", "tnn"):
        need(name)
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    module = Net().eval()
    return {
        name: mobile_export.export(module, name, folder, name="net", size=16).artifacts[0].path
        for name in ("onnx", "tflite", "ncnn", "tnn")
    }


def placed(file: Path, name: str) -> Placement:
    (found,) = place(file, [name])
    return found


def counted(found: Placement) -> tuple[int, int]:
    assert found.nodes is not None, found.problem
    assert found.taken is not None
    return found.nodes, found.taken


def ran(found: Placement) -> Run:
    assert found.run is not None, found.problem
    return found.run


def test_onnxruntime_says_what_its_providers_take(files: dict[str, Path]) -> None:
    nnapi, coreml = place(files["onnx"])
    assert {"LayerNormalization", "Gelu"} <= set(nnapi.left)
    assert {"LayerNormalization", "Gelu"}.isdisjoint(coreml.left)
    for found in (nnapi, coreml):
        nodes, taken = counted(found)
        assert nodes - taken == sum(found.left.values())
        assert found.share == pytest.approx(taken / nodes)
        assert found.run is None
        assert "phones only" in found.problem
        assert not found.wrong


@pytest.mark.skipif(not SOFTWARE, reason=NO_GPU)
def test_litert_executes_it_on_a_gpu(files: dict[str, Path], monkeypatch: Any) -> None:
    no_drivers(monkeypatch)
    found = placed(files["tflite"], "gpu")
    assert found.share == 1.0
    assert ran(found).passed
    assert ran(found).max_rel is not None


@pytest.mark.skipif(not SOFTWARE, reason=NO_GPU)
def test_ncnn_executes_it_on_a_gpu(files: dict[str, Path], monkeypatch: Any) -> None:
    no_drivers(monkeypatch)
    found = placed(files["ncnn"], "vulkan")
    nodes, taken = counted(found)
    assert 0 < taken <= nodes
    assert sum(found.left.values()) == nodes - taken
    assert ran(found).passed
    assert "SwiftShader" in ran(found).device


@pytest.mark.skipif(not SOFTWARE, reason=NO_GPU)
@pytest.mark.parametrize(("format_name", "name"), [("tflite", "gpu"), ("ncnn", "vulkan")])
def test_wrong_outputs_are_said(
    format_name: str, name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The expected outputs of another network: what the GPU computes is not the model's."""
    no_drivers(monkeypatch)
    read = look.read_artifact

    def turned(path: Path) -> Any:
        artifact = read(path)
        expected = artifact.manifest.expected
        (output,) = expected.outputs
        half = len(output.values) // 2 // 4 * 4
        values = output.values[half:] + output.values[:half]
        outputs = (type(output)(output.name, output.shape, output.integer, output.scale, values),)
        changed = type(expected)(
            expected.sample, expected.input_sha256, expected.tolerance, outputs
        )
        manifest = type(artifact.manifest)(
            **{
                field: getattr(artifact.manifest, field)
                for field in artifact.manifest.__struct_fields__
            }
            | {"expected": changed}
        )
        return replace(artifact, manifest=manifest)

    monkeypatch.setattr(look, "read_artifact", turned)
    found = placed(files[format_name], name)
    assert found.wrong
    assert not ran(found).passed


def test_without_a_device_it_says_what_to_install(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, "/nonexistent.json")
    for format_name in ("tflite", "ncnn"):
        (found,) = place(files[format_name])
        assert (found.share, found.run, found.wrong) == (None, None, False)
        assert "apt-get install libvulkan1 chromium" in found.problem


def test_a_file_that_was_changed_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "net.onnx"
    copy.write_bytes(files["onnx"].read_bytes() + b"\0")
    for name in (".manifest.json",):
        (tmp_path / f"net.onnx{name}").write_bytes(
            files["onnx"].with_name(f"net.onnx{name}").read_bytes()
        )
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        place(copy)


@pytest.mark.parametrize("folder", [".", "..", "/"])
def test_a_folder_is_no_file(folder: str) -> None:
    with pytest.raises(ArtifactError, match="is a folder"):
        place(Path(folder))


def test_a_crash_of_the_reader_is_one_message(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = replace(ACCELERATORS[0], module="no_such_module")
    monkeypatch.setattr(look, "accelerators_for", lambda *given: (row,))
    with pytest.raises(ArtifactError, match=r"cannot read .*net.onnx: .*no_such_module"):
        place(files["onnx"])


def test_names_that_do_not_fit(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="no accelerator 'npu'") as error:
        accelerators_for("onnx", ["npu"])
    assert error.value.hint == "Valid accelerators: nnapi, coreml, gpu, vulkan."
    with pytest.raises(UsageError, match="do not reach the accelerator 'gpu'"):
        accelerators_for("onnx", ["gpu"])
    with pytest.raises(UsageError, match="TNN file cannot be found out here"):
        place(files["tnn"])
    with pytest.raises(UsageError, match="Core ML file cannot be found out here"):
        accelerators_for("coreml")


def test_every_row_is_of_a_format_and_a_runner_that_exist() -> None:
    from mobile_export.bench.runners import get_runner

    assert len({row.name for row in ACCELERATORS}) == len(ACCELERATORS)
    for row in ACCELERATORS:
        assert bool(row.runner) != bool(row.module)
        if row.runner:
            runner = get_runner(row.runner)
            assert row.backend in runner.backends[1:]
            assert row.format in runner.formats


def test_the_command(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def typed(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mobile-export", "placement", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return (int(stop.value.code or 0), *capsys.readouterr())

    code, out, err = typed(str(files["onnx"]))
    assert code == 0
    assert "NNAPI, by onnxruntime" in out
    assert "not checked by onnxruntime" in err
    code, out, _ = typed(str(files["onnx"]), "--on", "coreml", "--json")
    (row,) = json.loads(out)
    assert (code, row["accelerator"], row["file"]) == (0, "coreml", str(files["onnx"]))
    code, out, err = typed(str(files["onnx"]), str(files["tnn"]))
    assert (code, out) == (2, "")
    assert "TNN" in err
    wrong = Placement("gpu", "GPU", "x", 3, 3, run=Run("a device", None, 1e-2, passed=False))
    monkeypatch.setattr(look, "place", lambda *given, **options: [wrong])
    code, out, _ = typed(str(files["tflite"]))
    assert code == 1
    assert "FAILED: not finite" in out


def no_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.delenv(name, raising=False)
