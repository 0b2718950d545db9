"""The transcribed latencies against independent copies: typed by hand, and the papers' text."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from mobile_export.bench import published
from mobile_export.bench.published import PublishedLatency, rows
from mobile_export.models.papers import PAPERS, paper_rows

DATA = Path(__file__).parent / "data"

# Typed by hand from the papers: paper, line of its text, table, column, model, head, figure.
TYPED = [
    ("FreeNet", 187, "3", "mobile-cpu", "EdgeNeXt-XXS", "", 6.9),
    ("FreeNet", 187, "3", "mobile-gpu", "EdgeNeXt-XXS", "", None),
    ("FreeNet", 212, "3", "throughput", "SwiftFormer-L1", "", 1211),
    ("FreeNet", 213, "3", "mobile-gpu", "FreeNet-S4", "", 12.6),
    ("FreeNet", 235, "4", "gpu", "FastViT-SA12", "Mask R-CNN", 133.8),
    ("FreeNet", 236, "4", "gpu", "MobileOne-S3", "Semantic FPN", 99.4),
    ("EMO", 251, "11", "iphone", "EMO-1M", "", 4.5),
    ("EMO", 255, "11", "cpu", "EMO-5M", "", 106.5),
    ("EMO", 255, "11", "iphone", "EMO-5M", "", 6.8),
    ("EMO", 278, "stages", "iphone", "EMO-5M, MHSA in S4", "", 4.9),
    ("EMO", 281, "stages", "gpu", "EMO-5M, MHSA in S1-S4", "", 886.8),
    ("FreeNet", 127, "2", "latency", "5 FFN, 48 channels", "", 297.7),
    ("FreeNet", 133, "2", "throughput", "5 7x7 Conv, 2048 channels", "", 56.6),
    ("FreeNet", 150, "2", "latency", "5 ShiftFFN, 48 channels", "", 272.3),
    ("FreeNet", 156, "2", "throughput", "5 S2-Mixer, 2048 channels", "", 13963.7),
    ("FreeNet", 141, "2", "latency", "5 7x7 DWConv, 2048 channels", "", 7.8),
    ("FreeNet", 145, "2", "latency", "5 Linear MHSA, 192 channels", "", 56.3),
    ("FreeNet", 252, "5", "gpu", "ConvNeXt-T", "", 44.0),
    ("FreeNet", 265, "5", "gpu", "PVTv2-b2-li with both in the last stage", "", 43.2),
    ("FreeNet", 266, "5", "gpu", "PVTv2-b2-li with both and depth 3-3-8-4", "", 47.9),
    ("SeaFormer++", 228, "3", "cpu", "MobileNetV2", "FCN", 24190),
    ("SeaFormer++", 234, "3", "cpu", "MobileNetV3-S", "LR-ASPP", 211),
    ("SeaFormer++", 240, "3", "cpu", "SeaFormerS++", "Light Head(f)", 521),
    ("SeaFormer++", 244, "3", "cpu", "SeaFormerB++", "Light Head(f)", 825),
    ("SeaFormer++", 354, "6", "cpu", "SeaFormer-T enhanced by upconv(x) and Mul", "Light Head", 41),
    ("SeaFormer++", 374, "8", "cpu", "Swin w/ Global attention", "segmentation head", 14642),
    ("SeaFormer++", 375, "8", "cpu", "Swin w/ SeaFormer attention", "segmentation head", 2278),
    ("SeaFormer++", 391, "9", "cpu", "SeaFormer-T with ACmix attention", "Light Head", 54),
    ("SeaFormer++", 405, "10", "cpu", "SeaFormer++", "Light Head", 369),
    (
        "SeaFormer++",
        429,
        "12",
        "cpu",
        "SeaFormer-B with embedding dimensions 192-256",
        "Light Head",
        121,
    ),
    (
        "SeaFormer++",
        614,
        "17",
        "cpu",
        "SeaFormer-T++(KD) with standard convolutions",
        "Light Head",
        30,
    ),
    ("SeaFormer++", 194, "2", "cpu", "HRNet-W18-Small", "HRNetW18S", 639),
    ("SeaFormer++", 221, "2", "cpu", "MiT-B1", "SegFormer", 1300),
    ("SeaFormer++", 225, "2", "cpu", "SeaFormer-L++(KD)", "Light Head", 177),
    ("SeaFormer++", 451, "13", "cpu", "SeaFormer-Base*", "Simple head", 108),
    ("SeaFormer++", 484, "14", "cpu", "MobileNetV3-Small", "", 5),
    ("SeaFormer++", 586, "16", "cpu-fp16", "SeaFormer-L++", "Light Head", 187),
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


def figures(paper: str, table: str) -> list[PublishedLatency]:
    return [row for row in rows() if (row.paper, row.table) == (paper, table)]


def test_the_tables_are_complete() -> None:
    counts = Counter((row.paper, row.table, row.column) for row in rows())
    assert counts == {
        **{("FreeNet", "3", c): 28 for c in ("throughput", "gpu", "mobile-gpu", "mobile-cpu")},
        **{("FreeNet", "2", c): 4 * 7 * 2 for c in ("latency", "throughput")},
        ("FreeNet", "4", "gpu"): 5,
        ("FreeNet", "5", "gpu"): 8,
        **{("EMO", "11", c): 6 for c in ("cpu", "gpu", "iphone")},
        **{("EMO", "stages", c): 4 for c in ("cpu", "gpu", "iphone")},
        ("SeaFormer++", "2", "cpu"): 35,
        **{
            ("SeaFormer++", table, "cpu"): count
            for table, count in (
                ("3", 17),
                ("6", 6),
                ("7", 3),
                ("8", 10),
                ("9", 7),
                ("10", 5),
                ("12", 5),
                ("17", 3),
            )
        },
        ("SeaFormer++", "13", "cpu"): 15,
        ("SeaFormer++", "14", "cpu"): 32,
        ("SeaFormer++", "16", "cpu"): 11,
        ("SeaFormer++", "16", "cpu-fp16"): 11,
    }


@pytest.mark.parametrize("typed", TYPED, ids=lambda typed: f"{typed[0]}-line-{typed[1]}-{typed[3]}")
def test_a_sample_typed_by_hand(typed: tuple[str, int, str, str, str, str, float | None]) -> None:
    paper, _, table, column, model, head, value = typed
    (found,) = [
        row
        for row in figures(paper, table)
        if (row.column, row.model, row.head) == (column, model, head)
    ]
    assert found.value == value


@pytest.mark.parametrize(
    ("file", "paper", "table", "pattern"),
    [
        ("freenet_table3.txt", "FreeNet", "3", FREENET),
        ("emo_table11.txt", "EMO", "11", EMO),
        ("seaformer_table14.txt", "SeaFormer++", "14", SEAFORMER),
        ("seaformer_table16.txt", "SeaFormer++", "16", SEAFORMER_PRECISIONS),
    ],
)
def test_the_papers_own_text(file: str, paper: str, table: str, pattern: re.Pattern[str]) -> None:
    read: dict[tuple[str, str], float | None] = {}
    for line in (DATA / file).read_text("utf-8").splitlines()[2:]:
        match = pattern.match(line)
        assert match, line
        for column in pattern.groupindex.keys() - {"model"}:
            printed = match[column]
            key = (match["model"], column.replace("_", "-"))
            assert key not in read
            read[key] = None if printed == "—" else float(printed)
    assert read == {(row.model, row.column): row.value for row in figures(paper, table)}


def test_tables_of_one_paper_agree_where_they_repeat_each_other() -> None:
    def milliseconds(table: str, column: str = "cpu") -> dict[str, float | None]:
        return {
            row.name: row.latency_ms
            for row in figures("SeaFormer++", table)
            if row.name is not None and row.column == column
        }

    whole = milliseconds("2")
    for table in ("13", "16"):
        repeated = {name: ms for name, ms in milliseconds(table).items() if name in whole}
        assert len(repeated) >= 6
        assert repeated.items() <= whole.items()
    for column in ("cpu", "gpu", "iphone"):
        stages = {
            r.value for r in figures("EMO", "stages") if r.name == "emo_5m" and r.column == column
        }
        table = {
            r.value for r in figures("EMO", "11") if r.model == "EMO-5M" and r.column == column
        }
        assert stages == table


def test_what_the_papers_rows_say_of_the_same_line_is_the_same() -> None:
    printed = {(row.paper, row.table, row.model, row.head): row for row in paper_rows()}
    compared = 0
    for row in rows():
        line = printed.get((row.paper, row.table, row.model, row.head))
        if line is None:
            assert (row.paper, row.table) in {("EMO", "stages"), ("FreeNet", "2")}
            continue
        if (row.paper, row.table) in {("EMO", "11"), ("SeaFormer++", "16")}:
            continue  # they print latencies; the rest comes from the paper's other tables
        compared += 1
        assert (row.params_m, row.macs_m) == (line.params_m, line.macs_m)
        inferred = "FLOPs: those of images of" in line.remark
        assert line.size in (None, row.size) or (inferred and row.size is None)
        assert (row.metric, row.accuracy) == (line.metric, line.value)
    assert compared == 28 * 4 + 5 + 8 + 35 + 17 + 6 + 3 + 10 + 7 + 5 + 5 + 15 + 32 + 3


def test_a_line_of_the_papers_is_named_in_one_place() -> None:
    lines = {(row.paper, row.table, row.model, row.head) for row in paper_rows()}
    text = (Path(published.__file__).parent / "latencies.csv").read_text("utf-8")
    for record in csv.DictReader(text.splitlines()):
        known = (record["paper"], record["table"], record["model"], record["head"]) in lines
        assert bool(record["name"] or record["reason"]) != known, record
    (row,) = [r for r in figures("SeaFormer++", "16") if r.model == "TopFormer-T"][:1]
    assert row.name == "topformer_tiny_seg"


def test_every_figure_has_a_name_or_a_reason_and_says_where_it_was_measured() -> None:
    for row in rows():
        assert (row.name is None) == bool(row.reason), row
        assert row.device
        assert row.unit in ("ms", "images/s")
        assert row.value is not None or "dash" in row.note
        assert row.citation.startswith(PAPERS[row.paper])


def test_a_throughput_is_not_a_latency() -> None:
    (row,) = [r for r in figures("EMO", "11") if (r.model, r.column) == ("EMO-2M", "gpu")]
    assert (row.value, row.unit, row.latency_ms) == (2509.8, "images/s", None)


def test_what_a_paper_does_not_state_is_not_stated() -> None:
    """No paper states the batch on a phone; EMO states 256 elsewhere, SeaFormer++ never one."""
    for row in rows():
        facts = row.to_dict()
        if row.paper != "EMO" or row.column == "iphone":
            assert (row.batch, facts["batch"]) == (None, "not stated")
        if row.paper != "SeaFormer++" or row.table == "14":
            assert facts["precision"] == "not stated"
    assert {row.batch for row in rows()} == {None, 256}
