"""docs/models.md is what scripts/models_page.py writes, and tells what the matrix says."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from mobile_export.models import table
from tests.conftest import load_script

SCRIPT = Path(__file__).parents[2] / "scripts" / "models_page.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script(SCRIPT)


def test_the_page_is_fresh(script: ModuleType) -> None:
    written = script.PAGE.read_text("utf-8")
    assert written == script.models_page(script.read_rows()), "run: python scripts/models_page.py"


def test_every_model_has_a_row(script: ModuleType) -> None:
    page = script.models_page([])
    for entry in table.entries():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{entry.name}` |")]
        assert "| not measured |" in row
        assert row.endswith(f"| {entry.published.source} |")


def test_formats_are_the_matrixs(script: ModuleType) -> None:
    rows = [
        {"model": "emo_1m", "size": None, "precision": None, "format": "a", "status": "passed"},
        {"model": "emo_1m", "size": None, "precision": None, "format": "b", "status": "timeout"},
        {"model": "emo_1m", "size": "64x64", "precision": None, "format": "c", "status": "passed"},
        {"model": "emo_2m", "format": "a", "status": "refused", "error": None, "reason": "x"},
        {"model": "emo_5m", "size": "64", "precision": None, "format": "a", "status": "passed"},
        {"model": "emo_5m", "size": "64", "precision": None, "format": "b", "status": "crashed"},
    ]
    page = script.models_page(rows).splitlines()
    (first,) = [line for line in page if line.startswith("| `emo_1m` |")]
    (second,) = [line for line in page if line.startswith("| `emo_2m` |")]
    assert "| a (b: timeout) |" in first
    assert "| none (a: refused) |" in second
    (third,) = [line for line in page if line.startswith("| `emo_5m` |")]
    assert "| a at 64 (b: crashed at 64) |" in third


def test_no_matrix_is_no_rows(script: ModuleType, tmp_path: Path) -> None:
    assert script.read_rows(tmp_path / "matrix.json") == []


def test_accuracies_are_the_papers(script: ModuleType) -> None:
    """SeaFormer++, Tables 2 (ADE20K), 4 (Pascal Context) and 5 (COCO-Stuff); EMO, Table 7."""
    page = script.models_page([]).splitlines()
    (tiny,) = [line for line in page if line.startswith("| `seaformerpp_tiny_seg` |")]
    assert (
        "| mIoU 36.8; mIoU 38.61 (SeaFormer++, Table 4, 60 classes); "
        "mIoU 30.76 (SeaFormer++, Table 5, 171 classes) |"
    ) in tiny
    (emo,) = [line for line in page if line.startswith("| `emo_2m` |")]
    assert "| top-1 75.1 |" in emo
