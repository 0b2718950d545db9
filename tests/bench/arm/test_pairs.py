"""benchmarks/arm_pairs.py: what it prints of counts that were taken."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mobile_export.bench.arm.counts import COUNTERS
from mobile_export.errors import SourceError
from tests.conftest import load_script

SOURCE = Path(__file__).parents[3] / "benchmarks" / "arm_pairs.py"


@pytest.fixture(scope="module")
def pairs() -> ModuleType:
    if not SOURCE.exists():
        pytest.skip("the benchmarks are not installed beside the tests")
    return load_script(SOURCE)


def pair(model: str, kind: str, ours: int, vendor: int) -> dict[str, Any]:
    sides = {"ours": dict.fromkeys(COUNTERS, ours), "vendor": dict.fromkeys(COUNTERS, vendor)}
    return {"model": model, "format": kind, "max_rel": 1e-6, **sides}


def test_ratios_and_means(pairs: ModuleType) -> None:
    """0.5 and 2 have the geometric mean 1; a file that the vendor cannot write has no ratio."""
    found = [
        pair("timm/a", "onnx", 10**8, 2 * 10**8),
        pair("b", "onnx", 2 * 10**8, 10**8),
        {"model": "b", "format": "ncnn", "error": "ValueError: no"},
    ]
    assert pairs.summary(found) == [
        "onnx, 2 pairs: instructions 1.000 (worst 2.000), misses 1.000 (worst 2.000)"
    ]
    titles, rule, first, second = pairs.markdown(found, "snapdragon-865").splitlines()
    assert titles.count("|") == rule.count("|") == first.count("|") == second.count("|")
    assert first.startswith("| `a` | 0.500 · 0.500 | ")
    assert "not counted" in first
    assert "no pair" in second
    ours, _, vendor = first.split("|")[3].split()
    assert float(vendor) == pytest.approx(2 * float(ours), rel=0.05)


def test_what_was_counted_is_not_counted_again(
    pairs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Machine:
        def close(self) -> None: ...

    file = tmp_path / "arm.jsonl"
    file.write_text(json.dumps(pair("a", "onnx", 1, 2)) + "\n")
    monkeypatch.setattr(pairs, "connect", lambda spec: Machine())
    asked: list[tuple[str, str]] = []

    def write(model: str, kind: str) -> tuple[Path, Path, tuple[int, ...]]:
        asked.append((model, kind))
        raise ValueError("the converter failed")

    for _ in range(2):
        pairs.count_pairs([("a", "onnx"), ("a", "ncnn")], write, file)
    assert asked == [("a", "ncnn")]
    assert "the converter failed" in pairs.read_pairs(file)[-1]["error"]


@pytest.mark.parametrize("error", [ImportError("No module named 'pnnx'"), SourceError("no model")])
def test_what_this_machine_or_a_mistyped_name_stops_is_no_result(
    pairs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Machine:
        def close(self) -> None: ...

    def write(model: str, kind: str) -> tuple[Path, Path, tuple[int, ...]]:
        raise error

    monkeypatch.setattr(pairs, "connect", lambda spec: Machine())
    pairs.count_pairs([("a", "ncnn")], write, tmp_path / "arm.jsonl")
    assert pairs.read_pairs(tmp_path / "arm.jsonl") == []
