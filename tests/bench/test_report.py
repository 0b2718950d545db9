"""Tables and plots of made-up measurements."""

from __future__ import annotations

import csv
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mobile_export.bench.cli.console import print_rows
from mobile_export.bench.devices.device import DeviceInfo
from mobile_export.bench.plot import make_series, save_plot, svg_plot
from mobile_export.bench.published import rows as published_rows
from mobile_export.bench.record import Measurement
from mobile_export.bench.report import as_csv, as_html, as_latex, as_markdown
from mobile_export.bench.tables import Row, make_rows
from mobile_export.errors import UsageError
from tests.bench.examples import measurement


def test_doubtful_measurements_are_left_out_and_counted() -> None:
    made = [
        measurement(model="good"),
        measurement(model="hot", flags=("throttled",)),
        measurement(model="busy", flags=("contended", "wide_interval")),
        measurement(model="wide", flags=("wide_interval",)),
    ]
    rows, left_out = make_rows(made)
    assert [row.measurement.model for row in rows] == ["good", "wide"]
    assert left_out == {"throttled": 1, "contended": 1}
    assert len(make_rows(made, flagged=True)[0]) == 4


def test_the_latest_of_each_kind() -> None:
    old, new = measurement(median_ms=9.0), measurement(median_ms=3.0, time="2026-11-22")
    (row,) = make_rows([old, new])[0]
    assert row.median_ms == pytest.approx(3.0, rel=0.01)
    assert len(make_rows([old, new], history=True)[0]) == 2
    other = measurement(device=old.device.__class__(**vars(old.device) | {"spec": "adb:1"}))
    assert len(make_rows([old, other])[0]) == 2
    assert len(make_rows([old, other], device="adb:1")[0]) == 1


def test_a_printed_summary_stands_in_for_samples() -> None:
    (row,) = make_rows([measurement(samples=(), blocks=(), summary={"mean": 7e6, "count": 50})])[0]
    assert row.median_ms == 7.0
    assert row.to_dict()["low_ms"] is None


def test_instructions_are_never_milliseconds() -> None:
    (row,) = make_rows([measurement(unit="instructions", samples=(101_070_000,) * 3)])[0]
    facts = row.to_dict()
    assert row.median_ms is None
    assert all(facts[key] is None for key in facts if key.endswith("_ms") and key != "load_ms")
    assert "101.07" in as_markdown([row])
    assert "M instructions" in as_markdown([row])


ROWS = make_rows([measurement(), measurement(model="a&b_<c>", median_ms=1234.5)])[0]


def test_markdown() -> None:
    lines = as_markdown(ROWS).splitlines()
    assert len(lines) == 4
    assert len({line.count(" | ") for line in lines}) == 1
    assert "| emo_2m.onnx | fp32 | local | onnxruntime 1.31.1 | 1 | 5.0" in lines[3]


def test_lower_arithmetic_is_shown() -> None:
    made = measurement()
    half = measurement(runner={**made.runner, "precision": "fp16"})
    rows = make_rows([made, half])[0]
    assert len(rows) == 2
    assert "| fp32 in fp16 |" in as_markdown(rows)


def test_csv_has_every_digit() -> None:
    first, second = csv.DictReader(io.StringIO(as_csv(ROWS)))
    assert float(second["median_ms"]) == pytest.approx(ROWS[1].median_ms, abs=1e-6)
    assert first["model"] == "a&b_<c>"


def test_latex_escapes() -> None:
    made = measurement()
    made.artifact["file"] = "a&b_c%.onnx"  # type: ignore[index]
    text = as_latex(make_rows([made])[0])
    assert r"a\&b\_c\%.onnx" in text
    assert text.count(r"\\") == 2
    columns = text.split("}{")[1].split("}")[0]
    assert all(line.count(" & ") == len(columns) - 1 for line in text.splitlines()[2:5:2])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "use", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_whole_and_needs_no_other_file() -> None:
    made = measurement(model="<script>", label="x")
    made.artifact["file"] = "<script>.onnx"  # type: ignore[index]
    text = as_html(make_rows([made])[0], title="A & B")
    parser = Tags()
    parser.feed(text)
    assert parser.open == []
    names = [tag for tag, _ in parser.seen]
    assert "script" not in names
    assert "caption" in names
    assert ("html", {"lang": "en"}) in parser.seen
    headers = [attributes for tag, attributes in parser.seen if tag == "th"]
    assert headers
    assert all(attributes["scope"] == "col" for attributes in headers)
    assert not any({"src", "href"} & set(attributes) for _, attributes in parser.seen)


def test_measured_points_lie_beside_the_published_ones() -> None:
    series = make_series(ROWS)
    measured = [one for one in series if one.measured]
    assert [(p.name, p.accuracy) for p in measured[0].points] == [("emo_2m", 75.1)]  # EMO
    published = {p.ms for one in series if not one.measured for p in one.points}
    assert published <= {row.latency_ms for row in published_rows()}
    assert not any("2080" in one.title or "V100" in one.title for one in series)
    assert [one.title for one in make_series((), papers=["EMO"]) if "iPhone 14" in one.title]


def test_plots(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    series = make_series(ROWS)
    save_plot(series, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    save_plot(series, tmp_path / "p.svg")
    ET.parse(tmp_path / "p.svg")
    svg = ET.fromstring(svg_plot(series))
    assert svg.get("role") == "img"
    save_plot(series, tmp_path / "p.pdf")
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")
    with pytest.raises(UsageError, match="Valid suffixes"):
        save_plot(series, tmp_path / "p.gif")
    with pytest.raises(UsageError, match="nothing to draw"):
        save_plot([], tmp_path / "q.png")


HOSTILE = "=cmd|'/C calc'!A1\n| x | <b> \\ & % \x1b[31m\u202e"
"""A formula, a new row, markup, and what a terminal obeys."""


def test_a_cell_of_text_is_no_formula() -> None:
    names = ("=1+1", "+1", "-1", "@x", "plain")
    made = [measurement(model=name, label=HOSTILE) for name in names]
    rows = list(csv.DictReader(io.StringIO(as_csv(make_rows(made)[0]))))
    assert sorted(row["model"] for row in rows) == sorted(["'=1+1", "'+1", "'-1", "'@x", "plain"])
    for row in rows:
        assert row["label"].startswith("'=cmd")
        assert row["label"].isprintable()
        assert float(row["median_ms"]) > 0


def test_a_name_cannot_add_rows_or_cells() -> None:
    artifact = measurement().artifact | {"file": HOSTILE}
    rows, _ = make_rows([measurement(artifact=artifact)])
    titles, rule, line = as_markdown(rows).splitlines()
    cells_of = [len(re.findall(r"(?<!\\)\|", text)) for text in (titles, rule)]
    ends = re.sub(r"\\.", "", line).count("|")
    assert cells_of == [ends, ends]
    assert "<" not in re.sub(r"\\.", "", line)
    table = as_latex(rows).splitlines()
    (body,) = (text for text in table if "cmd" in text)
    assert body.endswith(r" \\")
    assert "\x1b" not in as_html(rows, title="t") + as_latex(rows) + as_markdown(rows)


HOSTILE_NAMES = [
    "=1+1", " =1+1", "@x", "\uff1d1", "[2pt] x", "*x", r"\input{/etc/passwd}", r"a\\ \hline",
    "$\\frac{$", "x|y | z", "a\nb\r\nc", "<script>alert(1)</script>", "<!-- &lt; -->",
    "[a](javascript:b)", "`x`", "\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "a\u202eb\u2066",
    "z\u200bw\ufeff", "[bold]x[/]", "[/no]", "a&b_c%d#e{f}g~h^i", "\u2028x", "\ud800", "x" * 1000,
]  # fmt: skip


def in_every_column(text: str, model: str = "emo_2m") -> Measurement:
    """A measurement with ``text`` in every field that is text, but the model's name."""
    made = measurement()
    names = ("spec", "name", "soc", "arch", "os")
    return measurement(
        model=model, label=text, run=text, flags=(text,), notes=(text,),
        artifact=made.artifact | dict.fromkeys(("file", "format", "precision", "sha256"), text),
        runner=made.runner | dict.fromkeys(("name", "version", "backend", "precision"), text),
        device=DeviceInfo(**vars(made.device) | dict.fromkeys(names, text)),
    )  # fmt: skip


@pytest.fixture(params=HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def hostile_rows(request: pytest.FixtureRequest) -> Sequence[Row]:
    text: str = request.param
    return make_rows([in_every_column(text), in_every_column(text, model=text)])[0]


def test_hostile_names_in_csv(hostile_rows: Sequence[Row]) -> None:
    lines = list(csv.reader(io.StringIO(as_csv(hostile_rows))))
    assert len(lines) == 3
    assert {len(line) for line in lines} == {len(lines[0])}
    for cell in lines[1] + lines[2]:
        assert cell.isprintable()
        formula = cell.lstrip().startswith(tuple("=+-@\uff1d\uff0b\uff0d\uff20"))
        assert not formula or re.fullmatch(r"-?[\d.e-]+", cell)


def test_hostile_names_in_markdown(hostile_rows: Sequence[Row]) -> None:
    lines = as_markdown(hostile_rows).split("\n")
    assert len(lines) == 5
    bare = [re.sub(r"\\.", "", line) for line in lines[:4]]
    assert {line.count("|") for line in bare} == {bare[0].count("|")}
    assert not re.search(r"[<>`\[\]*\\]", "".join(bare))
    assert all(line.isprintable() for line in lines)


def test_hostile_names_in_latex(hostile_rows: Sequence[Row]) -> None:
    lines = as_latex(hostile_rows).split("\n")
    assert len(lines) == 9
    assert all(line.isprintable() for line in lines)
    for line in lines[4:6]:
        assert line.endswith(r" \\")
        assert line[0] not in "[*"  # of \midrule and of \\
        known = (
            r"\\text(backslash|asciitilde|asciicircum|less|greater|bar)\{\}|\\[&%$#_{}]|\{[\[*]\}"
        )
        left = re.sub(known, "", line.removesuffix(r"\\").replace(r"$\pm$", ""))
        assert not re.search(r"[\\$#%_{}~^\[*]", left), left
        assert left.count("&") == lines[2].count("&")


def test_hostile_names_in_html(hostile_rows: Sequence[Row]) -> None:
    text = as_html(hostile_rows, title="t")
    plain = as_html(make_rows([in_every_column("x"), measurement(model="y")])[0], title="t")
    seen = []
    for page in (text, plain):
        parser = Tags()
        parser.feed(page)
        seen.append([tag for tag, _ in parser.seen if tag not in ("th", "td")])
    assert seen[0] == seen[1]
    assert all(line.isprintable() for line in text.split("\n"))


def test_hostile_names_in_the_terminal(
    hostile_rows: Sequence[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    print_rows(hostile_rows, {"\x1b[31m[/x]": 1})
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert text
        assert all(line.isprintable() for line in text.split("\n"))


def test_hostile_names_in_a_plot(hostile_rows: Sequence[Row]) -> None:
    pytest.importorskip("matplotlib")
    svg = svg_plot(make_series(hostile_rows, papers=["EMO"]))
    assert all(node.tag.rpartition("}")[2] != "script" for node in ET.fromstring(svg).iter())
    assert len(svg) < 10**7


def test_a_model_of_two_papers_has_each_accuracy_with_its_paper() -> None:
    """EdgeNeXt-S: FreeNet's Table 3 prints 79.4, EMO's Table 11 (as its Table 5) 78.8."""
    rows, _ = make_rows([measurement(model="timm/edgenext_small"), measurement(model="emo_2m")])
    (series,) = (one for one in make_series(rows) if one.measured)
    found = {(point.name, point.accuracy) for point in series.points}
    assert found == {
        ("edgenext_small (FreeNet)", 79.4), ("edgenext_small (EMO)", 78.8), ("emo_2m", 75.1),
    }  # fmt: skip


def test_an_empty_report_says_so() -> None:
    assert "No measurement can be shown" in as_html([], title="t")
    assert "No measurement can be shown" not in as_html(ROWS, title="t")


def test_a_metric_that_nobody_measured_on_a_phone_is_not_offered() -> None:
    with pytest.raises(UsageError, match="nothing to draw") as error:
        svg_plot(make_series((), metric="box AP"), metric="box AP")
    assert error.value.hint == "Published figures have the metrics mIoU, top-1."
