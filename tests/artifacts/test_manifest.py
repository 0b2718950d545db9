"""Manifests are input: what is written is read, old ones too, and nothing else gets through."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import mobile_export
from mobile_export.artifacts.expected import compare_expected, expected_inputs
from mobile_export.artifacts.manifest import (
    Manifest,
    manifest_schema,
    read_manifest,
    require_own_files,
)
from mobile_export.bench.files import read_artifact
from mobile_export.errors import ArtifactError
from mobile_export.pipeline import ExportReport

HERE = Path(__file__).parent
SCHEMA_FILE = Path(mobile_export.__file__).parent / "artifacts" / "manifest.schema.json"
OLD = sorted((HERE / "manifests").glob("*.json"))
"""Written by mobile-export of 27 November 2026, before manifests had a typed definition."""

MUTATIONS = 400
WRONG: list[Any] = [
    None, True, -1, 0, 1e308, 10**30, 2**62, "", "x", "../x", "a\0b", "é" * 70000, [], {}, [[]],
    [1, 2, 3, 4], [10**6, 10**6, 10**6], {"a": 1}, "AAAA", "!", "\ud800", -1.5,
]  # fmt: skip


def place(folder: Path, text: str | bytes) -> Path:
    """An artifact with that manifest beside it."""
    path = folder / "net.onnx"
    path.write_bytes(b"net")
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "net.onnx.manifest.json").write_bytes(data)
    return path


def old(index: int = 0) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(OLD[index].read_text())
    return facts


def change(facts: Any, keys: tuple[Any, ...], value: Any) -> Any:
    """``facts`` with one value replaced."""
    inner = facts
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return facts


def test_what_is_written_is_read_and_nothing_is_lost(
    exported: Callable[..., ExportReport],
) -> None:
    (artifact,) = exported("ncnn").artifacts
    assert artifact.path is not None
    written = json.loads(artifact.path.with_name(artifact.path.name + ".manifest.json").read_text())
    assert written["parity"] == json.loads(json.dumps(artifact.parity.to_dict()))
    read = read_manifest(artifact.path)
    assert json.loads(json.dumps(read.to_dict())) == written
    assert read.parity is not None
    assert read.parity.status == "passed"
    assert len(read.companions) == 1
    assert read.passes


def test_a_newer_manifest_says_so(tmp_path: Path) -> None:
    """Whatever else it has: another schema is why."""
    facts = old() | {"schema": 3, "input": "something new"}
    with pytest.raises(ArtifactError, match=r"newer mobile-export: its schema is 3.*up to 2"):
        read_manifest(place(tmp_path, json.dumps(facts)))


def test_a_manifest_of_another_format_is_not_the_files(tmp_path: Path) -> None:
    path = place(tmp_path, json.dumps(old() | {"sha256": hashlib.sha256(b"net").hexdigest()}))
    with pytest.raises(ArtifactError, match="of the format 'ncnn', and not onnx"):
        require_own_files(path, read_manifest(path))


@pytest.mark.parametrize("file", OLD, ids=lambda file: file.stem)
def test_old_manifests_are_read(tmp_path: Path, file: Path) -> None:
    facts = json.loads(file.read_text())
    read = read_manifest(place(tmp_path, file.read_bytes()))
    assert read.source == "net:build"
    assert read.input.shape == (1, 3, 8, 8)
    assert [list(output.shape) for output in read.outputs] == [[1, 4, 6, 6], [1]]
    (image,) = expected_inputs(read.expected, read.inputs)
    assert image.shape == (1, 3, 8, 8)
    assert holds(json.loads(json.dumps(msgspec.to_builtins(read))), facts)


def holds(new: Any, old: Any) -> bool:
    """Whether everything that stands in ``old`` stands in ``new``, which may have more fields."""
    if isinstance(old, dict):
        return all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


@pytest.mark.parametrize(
    ("keys", "value", "said"),
    [
        (("input", "shape", 2), 0, "input.shape[2]: expected int >= 1"),
        (("input", "shape"), [1, 3, 20000, 20000], "input: a shape of 1.2e+09 elements"),
        (("outputs", 0, "shape"), [10**6, 10**6], "outputs[0]: a shape of 1e+12 elements"),
        (("sha256",), "0", "sha256: expected 64 hexadecimal digits"),
        (("companions", 0, "file"), "../net.bin", "companions[0].file: expected a file name"),
        (("companions", 0, "file"), "/dev/zero", "companions[0].file: expected a file name"),
        (("companions", 0, "file"), "..", "companions[0].file: expected a file name"),
        (("companions",), 5, "companions: expected array, got int"),
        (("expected", "outputs", 0, "values"), "AAAA", "expected.outputs[0]: values hold 3 bytes"),
        (("expected", "outputs", 0, "values"), "!", "expected.outputs[0].values: invalid base64"),
        (("expected", "outputs", 0, "scale"), -1, "expected.outputs[0].scale: expected float >= 0"),
        (("expected", "outputs", 0, "name"), "x", "outputs and expected.outputs differ"),
        (("expected", "tolerance", "fp32"), "big", "expected.tolerance[...]: expected float"),
        (("expected", "outputs", 0, "scale"), 0, "expected.outputs[0]: scale is 0; the largest"),
        (("expected", "outputs", 1, "scale"), 9e9, "expected.outputs[1]: scale is 9e+09; the"),
        (("expected", "tolerance", "fp32"), -1, "expected.tolerance[...]: expected float > 0"),
        (("expected", "tolerance", "fp32"), 0, "expected.tolerance[...]: expected float > 0"),
        (("expected", "tolerance", "fp16"), 0.5, "expected.tolerance[...]: expected float <= 0.1"),
        (("parity", "verdict"), 1, "parity.verdict: expected str, got int"),
        (("parity", "verdict"), "good", "parity.verdict: invalid enum value 'good'"),
        (("parity", "verdict"), "failed", "parity: passed is true, and a verdict is not passed"),
        (("parity", "precision"), "fp8", "parity: precision is 'fp8'; valid are fp32, int8"),
        (("parity", "max_rel"), -1e-9, "parity.max_rel: expected float >= 0"),
        (("parity", "cosine"), 2, "parity.cosine: expected float <="),
        (("parity", "top1"), 1.5, "parity.top1: expected float <= 1"),
        (("parity", "worst_index"), [-1], "parity.worst_index[0]: expected int >= 0"),
        (("precision",), "fp8", "valid: precision is 'fp8'; valid are fp32, int8"),
        (("weights", "kind"), "magic", "weights.kind: invalid enum value 'magic'"),
        (("weights", "seed"), 2**64, "weights.seed: expected int <="),
        (("input", "channel_order"), "GBR", "input.channel_order: invalid enum value 'GBR'"),
        (("input", "std"), [1, 0, 1], "input.std[1]: expected float > 0"),
        (("input", "mean"), [1, 2], "input: mean has 2 numbers; the image has 3 channels"),
        (("schema",), 0, "schema: expected int >= 1"),
        (("input", "role"), "mask", "input: mean and std are of images"),
        (("input", "dtype"), "uint8", "valid: schema is 1, which has one image"),
        (("other_inputs",), [{"shape": [1]}], "other_inputs[0]: shape has 1 axes"),
        (
            ("other_inputs",),
            [{"shape": [1], "role": "values"}],
            "valid: other_inputs and expected.others_sha256 differ",
        ),
        (("source",), "x" * 5000, "source: expected str of length <= 4096"),
        (("tools",), [], "tools: expected object, got array"),
        (("bytes",), 10**40, "bytes: expected int <="),
    ],
)
def test_the_message_names_file_field_and_what_is_valid(
    tmp_path: Path, keys: tuple[Any, ...], value: Any, said: str
) -> None:
    path = place(tmp_path, json.dumps(change(old(), keys, value)))
    with pytest.raises(ArtifactError) as caught:
        read_manifest(path)
    assert "net.onnx.manifest.json is not valid" in caught.value.message
    assert said in caught.value.message
    assert caught.value.hint is not None
    assert "docs/manifest.md" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is not JSON: Input data was truncated"),
        (b"[]", "not valid at its beginning: expected object, got array"),
        (b'{"schema": 1', "is not JSON"),
        (b'{"schema": 1}', "lacks the field format"),
        (b'{"format": "\xff"}', "is not text in UTF-8"),
        ("\ufeff{}".encode(), "begins with a byte order mark"),
        ('{"schema": 1}'.encode("utf-16"), "begins with a byte order mark"),
        (b'{"x": ' + b"[" * 10**6, "is nested too deeply"),
        (b'{"bytes": 1e999}', "bytes"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, text: bytes, said: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        read_manifest(place(tmp_path, text))
    assert said in caught.value.message


def test_a_pipe_a_device_and_a_large_file_are_refused(tmp_path: Path) -> None:
    path = place(tmp_path, "")
    manifest = tmp_path / "net.onnx.manifest.json"
    os.truncate(manifest, 2**26 + 1)
    with pytest.raises(ArtifactError, match=r"67,108,865 bytes long; at most 67,108,864"):
        read_manifest(path)
    manifest.unlink()
    os.mkfifo(manifest)
    with pytest.raises(ArtifactError, match="it is a named pipe"):
        read_manifest(path)
    manifest.unlink()
    manifest.symlink_to("/dev/zero")
    with pytest.raises(ArtifactError, match="leads out of its folder, to /dev"):
        read_manifest(path)
    manifest.unlink()
    manifest.symlink_to(manifest)
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_manifest(path)


def test_companions_stay_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "out").write_bytes(b"net")
    path = place(tmp_path / "in", "")
    facts = old() | {"sha256": hashlib.sha256(b"net").hexdigest()}
    facts["companions"] = [{"file": "net.bin", "sha256": facts["sha256"]}]
    facts["format"] = "onnx"
    place(tmp_path / "in", json.dumps(facts))
    (tmp_path / "in" / "net.bin").write_bytes(b"net")
    assert len(read_artifact(path).files) == 2
    (tmp_path / "in" / "net.bin").unlink()
    (tmp_path / "in" / "net.bin").symlink_to(tmp_path / "out")
    with pytest.raises(ArtifactError, match="leads out of its folder"):
        read_artifact(path)
    (tmp_path / "in" / "net.bin").unlink()
    os.mkfifo(tmp_path / "in" / "net.bin")
    with pytest.raises(ArtifactError, match="is not a file"):
        read_artifact(path)
    (tmp_path / "link").mkdir()
    for name in ("net.onnx", "net.onnx.manifest.json"):
        (tmp_path / "link" / name).symlink_to(tmp_path / "in" / name)
    assert read_manifest(tmp_path / "link" / "net.onnx").format == "onnx"


def leaves(facts: Any, keys: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value."""
    if keys:
        yield keys
    items = facts.items() if isinstance(facts, dict) else enumerate(facts)
    for key, value in items if isinstance(facts, dict | list) else ():
        yield from leaves(value, (*keys, key)) if isinstance(value, dict | list) else [(*keys, key)]


def test_whatever_stands_in_a_manifest_is_read_or_refused(tmp_path: Path) -> None:
    """Values of every kind in every place, and bytes that are flipped, cut or doubled."""
    rng = random.Random(0)
    read = 0
    for _ in range(MUTATIONS):
        facts = old(rng.randrange(len(OLD)))
        facts = change(facts, rng.choice(list(leaves(facts))), rng.choice(WRONG))
        data = json.dumps(facts).encode()
        if rng.random() < 0.3:
            at = rng.randrange(len(data))
            data = rng.choice(
                [data[:at], data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :], data + data]
            )
        try:
            manifest = read_manifest(place(tmp_path, data))
            (image,) = expected_inputs(manifest.expected, manifest.inputs)
        except ArtifactError:
            continue
        read += 1
        assert compare_expected(manifest.expected, [image] * len(manifest.outputs)).max_rel >= 0
    assert 0 < read < MUTATIONS


def test_the_schema_in_the_package_is_that_of_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == manifest_schema(), (
        "run: python -m mobile_export.artifacts.manifest > mobile_export/artifacts/"
        "manifest.schema.json"
    )


def test_every_field_is_explained() -> None:
    page = (Path(mobile_export.__file__).parent.parent / "docs" / "manifest.md").read_text()
    for definition in manifest_schema()["$defs"].values():
        for name in definition.get("properties", {}):
            assert f"`{name}`" in page, name
    for name in Manifest.__struct_encode_fields__:
        assert f"| `{name}` |" in page


def test_no_torch_is_needed() -> None:
    code = "import mobile_export.artifacts.manifest, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
