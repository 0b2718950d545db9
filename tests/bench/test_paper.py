"""The table for a paper, against what the papers print."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.layout import csv_text, latex_text, markdown_text_of
from mobile_export.bench.paper import Own, PaperLine, paper_grid, paper_lines, read_own
from mobile_export.bench.tables import Row, make_rows
from mobile_export.errors import UsageError
from tests.bench.examples import measurement


def rows_of(model: str, size: int = 224, **facts: Any) -> list[Row]:
    artifact = {**measurement().artifact, "input_shape": [1, 3, size, size], **facts}
    return make_rows([measurement(model=model, artifact=artifact)])[0]


def accuracies(lines: list[PaperLine]) -> set[tuple[float | None, str]]:
    return {(line.accuracy.value, line.place) for line in lines}


def test_a_model_of_two_papers_has_a_line_for_each() -> None:
    """FreeNet's Table 3 prints 79.4 for images of 256 pixels, EMO's Table 7 78.8 for 224."""
    lines = paper_lines(rows_of("timm/edgenext_small", 256))
    assert accuracies(lines) == {
        (79.4, "FreeNet, Table 3"), (78.8, "EMO, Table 11, at 224x224"),
    }  # fmt: skip
    first = lines[0]
    assert (first.printed.paper, first.params_m.value, first.macs_m.value) == ("FreeNet", 5.6, 1260)
    assert (first.params_m.source, first.printed.milliseconds) == ("printed", 30.1)
    assert all(line.macs_m.value is None for line in lines if line.other_size)
    assert accuracies(paper_lines(rows_of("timm/edgenext_small", 256), papers=["EMO"])) == {
        (78.8, "EMO, Table 11, at 224x224")
    }


def test_a_built_in_model_is_counted() -> None:
    """EMO's Table 7: 2.3 M parameters, 439 M MACs, 75.1; Table 11: 5.1 ms on an iPhone 14."""
    lines = paper_lines(rows_of("emo_2m"))
    (phone,) = (line for line in lines if line.printed.milliseconds is not None)
    assert phone.printed.milliseconds == 5.1
    assert "iPhone 14" in phone.printed.device
    assert phone.params_m.source == phone.macs_m.source == "counted"
    assert phone.params_m.value == pytest.approx(2.3, rel=0.05)
    assert phone.macs_m.value == pytest.approx(439, rel=0.01)
    assert (phone.accuracy.value, phone.metric) == (75.1, "top-1")


def test_a_model_with_an_accuracy_only() -> None:
    """EMO prints no latency of EMO-6M; its Table 7 has 79.0."""
    (line,) = paper_lines(rows_of("emo_6m"))
    assert (line.accuracy.value, line.place, line.printed.latency) == (79.0, "EMO, Table 7", "")


def test_another_number_of_classes_is_another_network() -> None:
    (line,) = paper_lines(rows_of("emo_2m", classes=10))
    assert line.accuracy.value is None
    assert line.params_m.value is None
    assert line.place == ""


def test_the_users_figures_come_first(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text("model,accuracy,metric,params_m,macs_m\nme/net,71.5,mIoU,3.25,\nemo_2m,74,,,\n")
    own = read_own(file)
    assert own["me/net"] == Own(71.5, "mIoU", 3.25)
    (mine,) = paper_lines(rows_of("me/net"), own=own)
    assert (mine.accuracy.value, mine.metric, mine.params_m.value) == (71.5, "mIoU", 3.25)
    facts = [line.to_dict() for line in paper_lines(rows_of("emo_2m"), own=own)]
    assert {fact["accuracy"] for fact in facts} == {74.0}
    assert {fact["accuracy_from"] for fact in facts} == {"own"}
    assert {fact["metric"] for fact in facts} == {"top-1"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty file"),
        ("name,top\nx,1\n", "name, top"),
        ("model,accuracy\nx,1\nx,2\n", "names 'x' again"),
        ("model,accuracy\nx,high\n", "'high' is no number from 0 to 100"),
        ("model,accuracy\nx,101\n", "'101' is no number"),
        ("model,accuracy\nx,nan\n", "'nan' is no number"),
        ("model,accuracy\n,1\n", "names no model"),
        ("model,accuracy\nx,1,2\n", "Line 2"),
        ("model,accuracy\n\x1b[31m,1e9\n", "no number"),
    ],
)
def test_a_bad_file_of_figures_is_one_message(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        read_own(file)
    assert says in error.value.message
    assert error.value.message.isprintable()


def test_layouts() -> None:
    lines = paper_lines([*rows_of("timm/edgenext_small", 256), *rows_of("me/net")])
    grid = paper_grid(lines)
    assert {len(line) for line in grid.lines} == {len(grid.columns)}
    latex = latex_text(grid)
    assert r"\toprule" in latex
    assert latex.count(r"\\") == len(lines) + 1
    assert "% Papers: FreeNet (AAAI 2025); EMO (ICCV 2023, arXiv 2301.01146)." in latex
    text = markdown_text_of(grid)
    assert "FreeNet (AAAI 2025)" in text
    assert text.count("±") == 2  # the measured part is not repeated for every paper
    records = list(csv.DictReader(io.StringIO(csv_text([line.to_dict() for line in lines]))))
    assert len(records) == len(lines)
    assert all(float(record["median_ms"]) > 0 for record in records)


@pytest.mark.parametrize("shape", [[], [7], [1, 3]])
def test_a_store_with_an_odd_shape_is_laid_out(shape: list[int]) -> None:
    rows = rows_of("emo_2m", input_shape=shape)
    assert all(len(line.size) == 2 for line in paper_lines(rows))
    assert paper_grid(paper_lines(rows)).lines
