"""The transcribed latencies against independent copies: typed by hand, and the papers' text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from mobile_export.bench.published import PublishedLatency, rows
from mobile_export.models.papers import paper_rows

DATA = Path(__file__).parent / "data"

# Typed by hand from the seeds: seed, line of its text, table, column, model, head, figure.
TYPED = [
    ("000", 187, "3", "mobile-cpu", "EdgeNeXt-XXS", "", 6.9),
    ("000", 187, "3", "mobile-gpu", "EdgeNeXt-XXS", "", None),
    ("000", 212, "3", "throughput", "SwiftFormer-L1", "", 1211),
    ("000", 213, "3", "mobile-gpu", "FreeNet-S4", "", 12.6),
    ("000", 235, "4", "gpu", "FastViT-SA12", "Mask R-CNN", 133.8),
    ("000", 236, "4", "gpu", "MobileOne-S3", "Semantic FPN", 99.4),
    ("001", 251, "11", "iphone", "EMO-1M", "", 4.5),
    ("001", 255, "11", "cpu", "EMO-5M", "", 106.5),
    ("001", 255, "11", "iphone", "EMO-5M", "", 6.8),
    ("001", 278, "stages", "iphone", "EMO-5M, MHSA in S4", "", 4.9),
    ("001", 281, "stages", "gpu", "EMO-5M, MHSA in S1-S4", "", 886.8),
    ("003", 194, "2", "cpu", "HRNet-W18-Small", "HRNetW18S", 639),
    ("003", 221, "2", "cpu", "MiT-B1", "SegFormer", 1300),
    ("003", 225, "2", "cpu", "SeaFormer-L++(KD)", "Light Head", 177),
    ("003", 451, "13", "cpu", "SeaFormer-Base*", "Simple head", 108),
    ("003", 484, "14", "cpu", "MobileNetV3-Small", "", 5),
    ("003", 586, "16", "cpu-fp16", "SeaFormer-L++", "Light Head", 187),
]

FREENET = re.compile(
    r"(?P<model>[\w-]+)[*]?(?: \\dagger)?(?: \(.*\))?\t\d+\t[\d.]+\t[\d.]+"
    r"\t(?P<throughput>\S+)\t(?P<gpu>\S+)\t(?P<mobile_gpu>\S+)\t(?P<mobile_cpu>\S+)\t"
)
EMO = re.compile(
    r"(?P<model>\S+) \d+M (?P<cpu>[\d.]+) (?P<gpu>[\d.]+) (?P<iphone>\d+\.\d)(?:\d\.\d\W.*)?$"
)
SEAFORMER = re.compile(r"(?P<model>[\w.+-]+)[*]?\s.* (?P<cpu>\d+)ms$")
SEAFORMER_PRECISIONS = re.compile(r"(?P<model>\S+) [\d.]+ (?P<cpu>\d+)ms (?P<cpu_fp16>\d+)ms$")


def figures(seed: str, table: str) -> list[PublishedLatency]:
    return [row for row in rows() if (row.seed, row.table) == (seed, table)]


def test_the_tables_are_complete() -> None:
    counts = Counter((row.seed, row.table, row.column) for row in rows())
    assert counts == {
        **{("000", "3", c): 28 for c in ("throughput", "gpu", "mobile-gpu", "mobile-cpu")},
        ("000", "4", "gpu"): 5,
        **{("001", "11", c): 6 for c in ("cpu", "gpu", "iphone")},
        **{("001", "stages", c): 4 for c in ("cpu", "gpu", "iphone")},
        ("003", "2", "cpu"): 35,
        ("003", "13", "cpu"): 15,
        ("003", "14", "cpu"): 32,
        ("003", "16", "cpu"): 11,
        ("003", "16", "cpu-fp16"): 11,
    }


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: f"{typed[0]}-line-{typed[1]}-{typed[3]}")
def test_a_sample_typed_by_hand(typed: tuple[str, int, str, str, str, str, float | None]) -> None:
    seed, _, table, column, model, head, value = typed
    (found,) = [
        row
        for row in figures(seed, table)
        if (row.column, row.model, row.head) == (column, model, head)
    ]
    assert found.value == value


@pytest.mark.parametrize(
    ("file", "seed", "table", "pattern"),
    [
        ("freenet_table3.txt", "000", "3", FREENET),
        ("emo_table11.txt", "001", "11", EMO),
        ("seaformer_table14.txt", "003", "14", SEAFORMER),
        ("seaformer_table16.txt", "003", "16", SEAFORMER_PRECISIONS),
    ],
)
def test_the_papers_own_text(file: str, seed: str, table: str, pattern: re.Pattern[str]) -> None:
    read: dict[tuple[str, str], float | None] = {}
    for line in (DATA / file).read_text("utf-8").splitlines()[2:]:
        match = pattern.match(line)
        assert match, line
        for column in pattern.groupindex.keys() - {"model"}:
            printed = match[column]
            key = (match["model"], column.replace("_", "-"))
            assert key not in read
            read[key] = None if printed == "—" else float(printed)
    assert read == {(row.model, row.column): row.value for row in figures(seed, table)}


def test_tables_of_one_paper_agree_where_they_repeat_each_other() -> None:
    def milliseconds(table: str, column: str = "cpu") -> dict[str, float | None]:
        return {
            row.name: row.latency_ms
            for row in figures("003", table)
            if row.name is not None and row.column == column
        }

    for table in ("13", "16"):
        assert milliseconds(table).items() <= milliseconds("2").items()
    for column in ("cpu", "gpu", "iphone"):
        stages = {r.value for r in figures("001", "stages") if r.name and r.column == column}
        table = {
            r.value for r in figures("001", "11") if r.model == "EMO-5M" and r.column == column
        }
        assert stages == table


def test_what_the_papers_rows_say_of_the_same_line_is_the_same() -> None:
    names = {"000": "FreeNet", "001": "EMO", "003": "SeaFormer++"}
    printed = {(row.paper, row.table, row.model, row.head): row for row in paper_rows()}
    compared = 0
    for row in rows():
        line = printed.get((names[row.seed], row.table, row.model, row.head))
        if line is None:
            assert (row.seed, row.table) == ("001", "stages")
            continue
        assert (row.name, row.reason) == (line.name, line.reason)
        if (row.seed, row.table) in {("001", "11"), ("003", "16")}:
            continue  # they print latencies; the rest comes from the paper's other tables
        compared += 1
        assert (row.params_m, row.macs_m) == (line.params_m, line.macs_m)
        assert line.size in (None, row.size)
        assert (row.metric, row.accuracy) == (line.metric, line.value)
    assert compared == 28 * 4 + 5 + 35 + 15 + 32


def test_every_figure_has_a_name_or_a_reason_and_says_where_it_was_measured() -> None:
    for row in rows():
        assert (row.name is None) == bool(row.reason), row
        assert row.device
        assert row.unit in ("ms", "images/s")
        assert row.value is not None or "dash" in row.note
        assert row.citation.startswith(f"seed {row.seed}, ")


def test_a_throughput_is_not_a_latency() -> None:
    (row,) = [r for r in figures("001", "11") if (r.model, r.column) == ("EMO-2M", "gpu")]
    assert (row.value, row.unit, row.latency_ms) == (2509.8, "images/s", None)
