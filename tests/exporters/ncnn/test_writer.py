"""Models exported to ncnn, through the whole pipeline: the two files, what is wrong with them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.errors import ArtifactError, LoweringError
from mobile_export.pipeline import ExportReport

ncnn = pytest.importorskip("ncnn")

MAGIC = "7767517"
HALF = 0x01306B47


class Inverts(nn.Module):
    """Neither the layer graph nor ncnn inverts a matrix."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.inv(x + torch.eye(16))


class Loud(nn.Module):
    """Its middle is far above 65504, the largest float16; its output is not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x) * 1e6).mean((2, 3)) * 1e-6


class Pads(nn.Module):
    """Pads what a linear layer made, whose channels lie last, in every mode that ncnn has."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 16)
        self.convs = nn.ModuleList(nn.Conv2d(16, 16, 3) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.linear(x.permute(0, 2, 3, 1))
        for conv, mode in zip(self.convs, ("reflect", "replicate", "constant"), strict=True):
            rows = nn.functional.pad(x.transpose(1, 3), (1, 2, 3, 0), mode=mode)
            x = conv(rows).relu().permute(0, 2, 3, 1)
        return x.transpose(1, 2)


def test_two_files_and_their_manifest(exported: Callable[..., ExportReport]) -> None:
    (artifact,) = exported("ncnn").artifacts
    assert artifact.parity.passed
    assert not artifact.parity.emulated
    assert [file.suffix for file in artifact.files] == [".param", ".bin", ".json"]
    manifest = json.loads(artifact.files[2].read_text())
    assert [item["file"] for item in manifest["companions"]] == [artifact.files[1].name]
    lines = artifact.files[0].read_text().splitlines()
    layers, blobs = (int(word) for word in lines[1].split())
    assert lines[0] == MAGIC
    assert layers == len(lines) - 2
    assert blobs == sum(int(line.split()[3]) for line in lines[2:])


def test_every_blob_has_one_consumer(exported: Callable[..., ExportReport]) -> None:
    """ncnn's format: a blob that several layers take goes through a Split."""
    taken: list[str] = []
    for line in exported("ncnn").artifacts[0].files[0].read_text().splitlines()[2:]:
        words = line.split()
        taken += words[4 : 4 + int(words[2])]
    assert len(set(taken)) == len(taken)


def test_both_precisions_are_in_the_report(exported: Callable[..., ExportReport]) -> None:
    parity = exported("ncnn").artifacts[0].parity
    (default,) = parity.variants
    assert (parity.precision, default.precision) == ("fp32", "fp16")
    assert "default options" in default.runtime
    assert parity.max_rel <= parity.tolerance <= 1e-4
    assert default.max_rel <= default.tolerance <= 1e-2


def test_half_precision_is_flagged_and_smaller(exported: Callable[..., ExportReport]) -> None:
    full, half = exported("ncnn").artifacts[0], exported("ncnn", precision="fp16").artifacts[0]
    assert half.parity.passed
    assert struct.pack("<I", HALF) in half.files[1].read_bytes()
    assert struct.pack("<I", HALF) not in full.files[1].read_bytes()
    assert half.files[1].stat().st_size < 0.7 * full.files[1].stat().st_size


def test_what_overflows_in_float16_is_kept_in_float32(tmp_path: Path) -> None:
    report = mobile_export.export(Loud().eval(), "ncnn", tmp_path, name="loud", size=(16, 16))
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert all(other.passed for other in artifact.parity.variants)
    assert mobile_export.inspect(artifact.files[0])["layers_kept_in_fp32"] > 0


def test_every_padding_passes_with_both_options(tmp_path: Path) -> None:
    report = mobile_export.export(Pads().eval(), "ncnn", tmp_path, name="pads", size=(9, 11))
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert all(other.passed for other in artifact.parity.variants)


@pytest.mark.parametrize("suffix", [".param", ".bin"])
@pytest.mark.parametrize("cut", [0, 10, 0.5])
def test_damaged_files_are_refused(
    tmp_path: Path, exported: Callable[..., ExportReport], suffix: str, cut: float
) -> None:
    for file in exported("ncnn").artifacts[0].files:
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = next(tmp_path.glob(f"*{suffix}"))
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(len(content) * cut) if cut < 1 else int(cut)])
    with pytest.raises(ArtifactError):
        mobile_export.inspect(next(tmp_path.glob("*.param")))


def test_a_missing_weights_file(tmp_path: Path, exported: Callable[..., ExportReport]) -> None:
    source = exported("ncnn").artifacts[0].files[0]
    (tmp_path / source.name).write_bytes(source.read_bytes())
    with pytest.raises(ArtifactError, match=r"\.bin"):
        mobile_export.inspect(tmp_path / source.name)


def test_the_second_file_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "net.ncnn.bin").write_text("mine")
    with pytest.raises(ArtifactError, match="exists already"):
        mobile_export.export(Loud().eval(), "ncnn", tmp_path, name="net", size=(16, 16))
    assert [file.name for file in tmp_path.iterdir()] == ["net.ncnn.bin"]


def test_a_refusal_names_the_op_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(LoweringError, match="inv"):
        mobile_export.export(Inverts(), "ncnn", tmp_path, name="net", size=(16, 16))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [torch.relu, lambda x: x * 2 + x.flip(-1), torch.Tensor.exp])
def test_an_array_of_the_caller_is_never_written_to(
    function: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    """ncnn crashes where a layer that works in place meets a Mat around such an array."""

    class First(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return function(x)

    report = mobile_export.export(First().eval(), "ncnn", tmp_path, name="first", size=(9, 7))
    param, weights = report.artifacts[0].files[:2]
    image = np.random.default_rng(0).standard_normal((3, 9, 7), dtype=np.float32)
    given = image.copy()
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(param)) == 0
    assert net.load_model(str(weights)) == 0
    extractor = net.create_extractor()
    extractor.input("image", ncnn.Mat(given))
    code, got = extractor.extract(net.output_names()[0])
    assert code == 0
    expected = function(torch.from_numpy(image)[None])[0].numpy()
    np.testing.assert_allclose(np.array(got), expected, rtol=1e-5)
    np.testing.assert_array_equal(given, image)
