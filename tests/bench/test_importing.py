"""`mobile-bench import`: what the app wrote goes into the store once, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mobile_export.bench import store
from mobile_export.bench.cli.main import app
from mobile_export.bench.importing import import_records
from mobile_export.errors import StoreError


def line(run: str = "r1", **changes: Any) -> str:
    """As docs/android.md says that the app writes it."""
    record = {
        "schema": 1,
        "time": "2026-01-02T03:04:05Z",
        "run": run,
        "model": "emo_1m",
        "artifact": {
            "file": "emo_1m.tflite",
            "format": "tflite",
            "precision": "fp32",
            "sha256": "0" * 64,
            "bytes": 5,
            "input_shape": [1, 3, 224, 224],
        },
        "device": {
            "spec": "app:1",
            "kind": "app",
            "name": "Some phone",
            "soc": None,
            "arch": "aarch64",
            "os": "Android 14 (API 34)",
            "memory_mb": 8000,
        },
        "runner": {
            "name": "tensorflow-lite",
            "version": "2.16.1",
            "threads": 4,
            "cores": None,
            "backend": "cpu",
            "precision": "fp32",
        },
        "samples": [5, 6, 7, 8],
        "blocks": [2, 2],
        "starts": [2],
        "warmup": 5,
        **changes,
    }
    return json.dumps(record) + "\n"


def test_it_is_added_once(tmp_path: Path) -> None:
    file, target = tmp_path / "bench.jsonl", tmp_path / "store.jsonl"
    file.write_text(line() + line("r2"))
    words = ["import", str(file), "--store", str(target)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "2 added" in done.output
    assert "Some phone" in done.output
    assert [each.samples for each in store.read(target).measurements] == [(5, 6, 7, 8)] * 2
    again = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(again.stdout)["known"] == 2
    assert len(store.read(target).measurements) == 2


@pytest.mark.parametrize(
    "content", ["", "{}\n", "no json\n", line(schema=99), line() + "torn", line(samples=[-1])]
)
def test_a_damaged_record_adds_nothing(tmp_path: Path, content: str) -> None:
    file, target = tmp_path / "bench.jsonl", tmp_path / "store.jsonl"
    file.write_text(content)
    with pytest.raises(StoreError):
        import_records(file, target)
    assert not target.exists()


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        import_records(tmp_path / "none", tmp_path / "store.jsonl")
