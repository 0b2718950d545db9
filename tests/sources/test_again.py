"""The model that a manifest names: built by name, never by code that only the manifest names."""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.answers.machine import load_file
from mobile_export.api import verify
from mobile_export.artifacts.manifest import Manifest, read_manifest
from mobile_export.cli.messages import said_of_options
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.exporters import apart
from mobile_export.exporters.interface import runtime_of
from mobile_export.sources.again import request_again, unlike_manifest
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source
from tests.conftest import need


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that reads a file first takes seconds, and tells nothing here."""
    monkeypatch.setattr(
        apart, "describe_apart", lambda row, path, run: runtime_of(row).describe(path)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, and the file that was made from it."""
    need("tnn")
    folder = tmp_path_factory.mktemp("made")
    state = mobile_export.create_model("espcn_x2", seed=5).state_dict()
    torch.save(state, folder / "five.pth")
    report = mobile_export.export("espcn_x2", "tnn", folder, weights=folder / "five.pth", size=16)
    assert report.exit_code == 0
    return folder


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "copy")
    return tmp_path / "copy" / "espcn_x2.tnnproto"


def _edit(file: Path, **facts: Any) -> None:
    place = file.with_name(file.name + ".manifest.json")
    place.write_text(json.dumps(json.loads(place.read_text()) | facts))


def _manifest(file: Path, **facts: Any) -> Manifest:
    _edit(file, **facts)
    return read_manifest(file)


def test_a_file_is_verified_alone(file: Path) -> None:
    report = verify(file, layers=True)
    assert report.parity.passed
    assert report.unlike == ()
    assert report.layers is not None
    assert report.layers.errors == ()
    assert report.stored == "fp32"


def test_what_was_given_replaces_the_manifest_and_is_named(file: Path, tmp_path: Path) -> None:
    state = mobile_export.create_model("espcn_x2", seed=6).state_dict()
    torch.save(state, tmp_path / "six.pth")
    report = verify(file, weights=tmp_path / "six.pth")
    assert not report.parity.passed
    (said,) = report.unlike or ()
    assert "six.pth) are not what the manifest names (weights from " in said
    other = verify(file, "espcn_x2", weights=file.with_name("five.pth"), size=16)
    assert other.parity.passed
    assert other.unlike == ()


def test_another_file_than_the_manifest_names_is_named(file: Path) -> None:
    place = file.with_suffix(".tnnmodel")
    content = bytearray(place.read_bytes())
    content[-100] ^= 0x55
    place.write_bytes(content)
    report = verify(file)
    (said,) = report.unlike or ()
    assert said == f"{place} is not the file that the manifest names: its SHA-256 differs"


@pytest.mark.parametrize(
    ("name", "value"),
    [("seed", -5), ("mean", [1e200] * 3), ("std", [1e-200] * 3)],
)
def test_what_no_model_can_have_is_the_manifests_fault(file: Path, name: str, value: Any) -> None:
    """The user typed no option, so none is named."""
    build = json.loads(file.with_name(f"{file.name}.manifest.json").read_text())["build"]
    manifest = _manifest(file, build=build | {name: value})
    with pytest.raises(ArtifactError) as caught:
        request_again(manifest, file, {})
    assert f"The manifest of {file} names a model that cannot be built" in str(caught.value)
    with pytest.raises(UsageError, match="`seed` is -7"):
        request_again(manifest, file, {name: None, "seed": -7})


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("inputs", "name", "picture"),
        ("inputs", "dtype", "uint8"),
        ("inputs", "range", [0, 255]),
        ("outputs", "name", "larger"),
        ("outputs", "meaning", "depth"),
        ("outputs", "shape", [1, 1, 8, 8]),
    ],
)
def test_another_interface_than_the_files_is_named(
    file: Path, kind: str, name: str, value: Any
) -> None:
    beside = file.with_name(f"{file.name}.manifest.json")
    found = json.loads(beside.read_text())
    own = found["interface"][kind][0]
    before = own[name], own["name"]
    own[name] = value
    beside.write_text(json.dumps(found))
    report = verify(file)
    assert report.parity.passed
    (said,) = report.unlike or ()
    plain = (json.dumps(each, separators=(",", ":")) for each in (before[0], value))
    has, says = (f"{name} {each.replace('0.0', '0').replace('.0', '')}" for each in plain)
    said = said.replace(".0", "")
    assert said == f"the file's {kind[:-1]} {before[1]} has {has}; the manifest says {says}"


def test_another_task_than_the_models_is_named(file: Path) -> None:
    _edit(file, task="depth")
    assert verify(file).unlike == ("the model is for super-resolution; the manifest says depth",)


def test_other_pixels_than_the_models_are_named(file: Path) -> None:
    """The file computes what the model does; who prepares pictures by this manifest does not."""
    beside = file.with_name(f"{file.name}.manifest.json")
    found = json.loads(beside.read_text())
    wrong = {"mean": [0.25], "std": [0.5]}
    found["input"] |= wrong
    found["interface"]["inputs"][0]["normalization"] |= wrong
    beside.write_text(json.dumps(found))
    report = verify(file)
    assert report.parity.passed
    assert report.unlike == (
        "the model's input takes pixels with mean 0 and std 1, L, and not, as the manifest says, "
        "with mean 0.25 and std 0.5, L",
    )


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("input", {"shape": [1, 1, 32, 16]},
         r"interface.inputs[0] has the shape [1, 1, 16, 16], input [1, 1, 32, 16]"),
        ("input", {"mean": [0.5]}, "interface.inputs[0] has another mean or std than input"),
        ("input", {"std": [0.5]}, "interface.inputs[0] has another mean or std than input"),
        ("build", {"size": [10**6, 10**6]},
         "not valid: build.size is [1000000, 1000000], and input has the shape [1, 1, 16, 16]"),
        ("build", {"size": [0, 16]}, "build.size is [0, 16], and input has the shape [1, 1, 16"),
        ("build", {"size": [16, 17]}, "build.size is [16, 17], and input has the shape [1, 1, 16"),
        ("build", {"channels": 3}, "build.channels is 3, and input has the shape [1, 1, 16, 16]"),
        ("build", {"batch": 2}, "build.batch is 2, and input has the shape [1, 1, 16, 16]"),
    ],
)  # fmt: skip
def test_a_manifest_that_contradicts_itself_is_refused(
    file: Path, field: str, value: Any, said: str
) -> None:
    beside = file.with_name(f"{file.name}.manifest.json")
    found = json.loads(beside.read_text())
    _edit(file, **{field: found[field] | value})
    for use in (verify, load_file):
        with pytest.raises(ArtifactError, match=r"manifest.json is not valid") as caught:
            use(file)
        assert said in str(caught.value)


def test_the_seed_and_not_its_description_is_named(file: Path) -> None:
    weights = {"kind": "random", "seed": 7, "description": "RANDOM weights (seed 0)"}
    manifest = _manifest(file, weights=weights)
    request = ModelRequest("espcn_x2", size=(16, 16))
    (said,) = unlike_manifest(manifest, request, load_source(request))
    assert "(seed 0): this file predicts nothing) are not" in said
    assert "manifest names (RANDOM weights (seed 7)" in said


def test_a_manifest_edited_all_over_is_not_believed(file: Path) -> None:
    """The checkpoint of another seed, under its own hash: every name agrees."""
    state = mobile_export.create_model("espcn_x2", seed=6).state_dict()
    six = file.with_name("six.pth")
    torch.save(state, six)
    beside = json.loads(file.with_name(f"{file.name}.manifest.json").read_text())
    facts = {"path": str(six), "sha256": hashlib.sha256(six.read_bytes()).hexdigest()}
    _edit(file, weights=beside["weights"] | facts)
    report = verify(file)
    assert not report.parity.passed
    (said,) = report.unlike or ()
    assert said.startswith("espcn_x2, as it was built here, does not compute what the manifest")


def test_another_source_of_the_same_shapes_is_named(tmp_path: Path) -> None:
    """Random weights, and one word edited: the model of that name is built."""
    pytest.importorskip("timm")
    need("tnn")
    pixels = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    report = mobile_export.export("timm/test_resnet", "tnn", tmp_path, size=32, **pixels)
    (artifact,) = report.artifacts
    assert artifact.path is not None
    assert verify(artifact.path).unlike == ()
    _edit(artifact.path, source="timm/test_efficientnet")
    (said,) = verify(artifact.path).unlike or ()
    assert said.startswith("timm/test_efficientnet, as it was built here, does not compute")


def test_another_expectation_than_the_models_is_named(file: Path) -> None:
    """The file is right, and a bench would call it wrong."""
    expected = json.loads(file.with_name(f"{file.name}.manifest.json").read_text())["expected"]
    (output,) = expected["outputs"]
    values = np.frombuffer(base64.b64decode(output["values"]), "<f4").copy()
    at = int(np.abs(values).argmin())
    values[at] += 2e-5 * output["scale"]
    output["values"] = base64.b64encode(values.tobytes()).decode()
    _edit(file, expected=expected)
    report = verify(file)
    assert report.parity.passed
    (said,) = report.unlike or ()
    assert "(2.0e-05 of the output range off)" in said


def test_another_model_is_named(file: Path) -> None:
    report = verify(file, "espcn_x3", seed=5)
    assert not report.parity.passed
    model, weights = report.unlike or ()
    assert model == "the model espcn_x3 is not what the manifest names, espcn_x2"
    assert weights.startswith("the weights (RANDOM weights (seed 5)")


@pytest.mark.parametrize("precision", [None, "fp32"])
def test_no_code_runs_that_only_a_manifest_names(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str | None
) -> None:
    (tmp_path / "evil.py").write_text("open('ran', 'w')\ndef build(): ...\n")
    monkeypatch.chdir(tmp_path)
    _edit(file, source="evil:build?width=2", build={"kind": "factory", "num_classes": 7})
    with pytest.raises(UsageError, match="none runs because a manifest") as caught:
        verify(file, precision=precision)
    assert not (tmp_path / "ran").exists()
    words = shlex.split(said_of_options(caught.value.hint).partition(": ")[2])
    assert words[:4] == ["mobile-export", "verify", str(file), "evil:build?width=2"]
    assert words[words.index("--num-classes") + 1] == "7"


@pytest.mark.parametrize(
    "spec",
    ["--samples=a:b", "x:$(reboot)", "x:y;reboot", "x:y\nreboot", "x:`y`", "x:\x1b[2J", "x:y z"],
)
def test_no_line_to_type_holds_a_shells_characters(file: Path, spec: str) -> None:
    weights = {"kind": "checkpoint", "path": "$(reboot).pth"}
    manifest = _manifest(file, source=spec, weights=weights)
    with pytest.raises(UsageError) as caught:
        request_again(manifest, file, {})
    words = shlex.split(said_of_options(caught.value.hint).partition(": ")[2])
    assert words[3:6] == ["MODEL", "--weights", "CHECKPOINT"]


def test_a_module_made_in_python_has_no_name(file: Path) -> None:
    build = {"kind": "module"}
    with pytest.raises(UsageError, match="which no name builds"):
        request_again(_manifest(file, source="Net", build=build), file, {})


@pytest.mark.parametrize("path", ["/nowhere/five.pth", "five.pth"])
def test_a_checkpoint_may_lie_beside_the_file(file: Path, path: str) -> None:
    weights = json.loads(file.with_name(file.name + ".manifest.json").read_text())["weights"]
    manifest = _manifest(file, weights=weights | {"path": path})
    request = request_again(manifest, file, {"size": (32, 32)})
    assert request.weights == file.with_name("five.pth")
    assert (request.model, request.size, request.seed) == ("espcn_x2", (32, 32), 0)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere/gone.pth", "from which .* was made, is not there"),
        ("x" * 1000, "is not there"),
        ("a\0b", "is not there"),
        ("other.pth", "other.pth is not the checkpoint that .*: its SHA-256"),
    ],
)
def test_a_checkpoint_that_is_another_one_is_not_read(file: Path, path: str, said: str) -> None:
    file.with_name("other.pth").write_bytes(b"anything")
    weights = {"kind": "checkpoint", "path": path, "sha256": "0" * 64}
    with pytest.raises(ArtifactError, match=said) as caught:
        request_again(_manifest(file, weights=weights), file, {})
    assert caught.value.hint == "Give the checkpoint with `weights='FILE'`."
    given = request_again(_manifest(file, weights=weights), file, {"weights": "mine.pth"})
    assert given.weights == Path("mine.pth")


def test_a_program_is_the_one_that_the_manifest_has(file: Path) -> None:
    file.with_name("net.pt2").write_bytes(b"anything")
    weights = {"kind": "program", "sha256": "0" * 64}
    with pytest.raises(ArtifactError, match=r"net\.pt2 is not the program"):
        request_again(_manifest(file, source="net.pt2", weights=weights), file, {})


def test_without_a_manifest_the_model_is_asked_for(file: Path) -> None:
    file.with_name(file.name + ".manifest.json").unlink()
    with pytest.raises(UsageError, match="has no manifest") as caught:
        verify(file)
    assert str(caught.value.hint).endswith("espcn_x2.tnnproto MODEL")


def test_manifests_of_earlier_versions_say_the_seed(file: Path) -> None:
    weights = {"kind": "random", "seed": 3}
    assert request_again(_manifest(file, build=None, weights=weights), file, {}).seed == 3


def test_a_folder_of_more_than_can_be_hashed_is_refused(file: Path, tmp_path: Path) -> None:
    """A sparse file of 2 TB takes hours to hash; a manifest cannot make anybody do that."""
    parts = tmp_path / "parts"
    parts.mkdir()
    with (parts / "a.pth").open("wb") as stream:
        stream.truncate(2**41)
    facts = {"kind": "checkpoint", "path": str(parts), "sha256": "0" * 64}
    with pytest.raises(ArtifactError, match="bytes"):
        request_again(_manifest(file, weights=facts), file, {})
    for name in ("a.pth", "b.pth"):
        with (parts / name).open("wb") as stream:
            stream.truncate(2**34 - 1)
    with pytest.raises(ArtifactError, match="because a manifest names them"):
        request_again(_manifest(file, weights=facts), file, {})
