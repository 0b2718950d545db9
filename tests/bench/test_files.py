"""Only a file that its manifest vouches for is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mobile_export.bench.devices.device import Cluster, DeviceInfo
from mobile_export.bench.files import find_artifacts, read_artifact
from mobile_export.bench.jobs import parse_cores
from mobile_export.errors import ArtifactError, UsageError
from tests.bench.examples import INFO, artifact


def test_a_model_stands_for_its_files(in_tmp: Path) -> None:
    artifact(in_tmp, name="net.onnx")
    artifact(in_tmp, name="net.tflite")
    artifact(in_tmp, name="other.onnx")
    found = find_artifacts(["timm/net", "other.onnx", "net.onnx"], None)
    assert [a.path.name for a in found] == ["net.onnx", "net.tflite", "other.onnx"]
    assert [a.path.name for a in find_artifacts(["net"], ["tflite"])] == ["net.tflite"]


def test_an_unknown_model_names_the_command(in_tmp: Path) -> None:
    with pytest.raises(ArtifactError, match=r"(?s)no file of timm/x.*mobile-export all timm/x"):
        find_artifacts(["timm/x"], None)


def test_a_file_that_is_not_there(in_tmp: Path) -> None:
    with pytest.raises(ArtifactError, match=r"x\.onnx does not exist"):
        find_artifacts(["x.onnx"], None)


def test_a_file_without_manifest(in_tmp: Path) -> None:
    Path("x.onnx").write_text("x")
    with pytest.raises(ArtifactError, match=r"(?s)no manifest.*mobile-export"):
        find_artifacts(["x.onnx"], None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}'])
def test_a_manifest_that_cannot_be_used(in_tmp: Path, text: str) -> None:
    artifact(in_tmp)
    Path("tiny.onnx.manifest.json").write_text(text)
    with pytest.raises(ArtifactError, match=r"is not JSON|lacks|not valid"):
        read_artifact(Path("tiny.onnx"))


def test_a_changed_file(in_tmp: Path) -> None:
    made = artifact(in_tmp)
    made.path.write_text("changed")
    with pytest.raises(ArtifactError, match="SHA-256 differs"):
        read_artifact(made.path)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            "tflite",
            r"(?s)tiny\.onnx is a file of the format tflite.*end in \.tflite.*export it again",
        ),
        ("tnn", r"end in \.tnnproto"),
        ("gif", r"(?s)names the format 'gif'.*Known: .*onnx"),
    ],
)
def test_a_manifest_of_another_format(in_tmp: Path, named: str, said: str) -> None:
    made = artifact(in_tmp)
    facts = made.manifest.to_dict() | {"format": named}
    Path("tiny.onnx.manifest.json").write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match=said):
        read_artifact(made.path)


def test_a_companion_counts_like_the_file(in_tmp: Path) -> None:
    made = artifact(in_tmp)
    manifest = made.manifest.to_dict()
    manifest["companions"] = [{"file": "tiny.bin", "sha256": "0" * 64}]
    Path("tiny.onnx.manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"tiny\.bin does not exist"):
        read_artifact(made.path)
    Path("tiny.bin").write_text("x")
    with pytest.raises(ArtifactError, match=r"tiny\.bin is not the file"):
        read_artifact(made.path)


def test_cores() -> None:
    assert parse_cores(None, INFO) is None
    assert parse_cores("0,2-3", INFO) == (0, 2, 3)
    assert parse_cores("big", INFO) == (2, 3)
    assert parse_cores("little", INFO) == (0, 1)


@pytest.mark.parametrize(
    "text", ["", "a", "1-", "-1", "4", "3-1", "0-3000000000", "0-" + "9" * 5000]
)
def test_cores_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        parse_cores(text, INFO)


def test_big_cores_need_two_kinds() -> None:
    alike = DeviceInfo("local", "local", "x", None, "x", "x", None, (Cluster((0, 1)),))
    with pytest.raises(UsageError, match="one kind of cores"):
        parse_cores("big", alike)
