"""Tables and plots of made-up measurements."""

from __future__ import annotations

import csv
import io
import itertools
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.cli.console import print_rows
from mobile_export.bench.devices.device import DeviceInfo
from mobile_export.bench.plot import (
    Point,
    Series,
    family_of,
    make_figure,
    make_series,
    save_plot,
    svg_plot,
)
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
    assert len(make_rows([old, other], devices=["adb:1"])[0]) == 1


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


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [
        (0.00312, "0.0031"),
        (0.0996, "0.10"),
        (0.052, "0.052"),
        (3.14159, "3.14"),
        (1234.5, "1,234.50"),
    ],
)
def test_short_times_keep_two_digits(milliseconds: float, shown: str) -> None:
    summary = {"mean": milliseconds * 1e6, "count": 50}
    rows = make_rows([measurement(samples=(), blocks=(), summary=summary)])[0]
    assert f" {shown} " in as_markdown(rows).splitlines()[-1]


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


def test_plots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="PGF file needs LaTeX"):
        save_plot(series, tmp_path / "p.pgf")
    with pytest.raises(UsageError, match="Valid suffixes"):
        save_plot(series, tmp_path / "p.gif")
    with pytest.raises(UsageError, match="nothing to draw"):
        save_plot([], tmp_path / "q.png")


def test_published_points_have_colours_of_their_own() -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.collections import PathCollection
    from matplotlib.colors import to_hex, to_rgb

    series = make_series(ROWS)
    (axes,) = make_figure(series).axes
    drawn = (each for each in axes.collections if isinstance(each, PathCollection))  # points
    published = {to_hex(colour) for each in drawn for colour in each.get_edgecolors()}
    measured = {to_hex(bar[0].get_color()) for bar in axes.containers}
    assert published
    assert measured
    assert not published & measured
    for colour in published - {"#000000"}:  # the crosses of flagged points
        assert len(set(to_rgb(colour))) == 1  # grey
    for colour in measured:
        assert len(set(to_rgb(colour))) > 1


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
    plain = as_html(
        make_rows([in_every_column("x"), in_every_column("x", model="y")])[0], title="t"
    )
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


def measured_points(*made: Measurement, **own: float) -> set[tuple[str, float]]:
    """Names and accuracies in a plot."""
    rows, _ = make_rows(made)
    drawn = [one for one in make_series(rows, own=own) if one.measured]
    return {(point.name, point.accuracy) for one in drawn for point in one.points}


def of_images(model: str, side: int, **facts: Any) -> Measurement:
    return measurement(
        model=model, artifact=measurement().artifact | {"input_shape": [1, 3, side, side]} | facts
    )


def test_an_accuracy_is_of_images_as_large_and_as_many_classes_as_were_measured() -> None:
    """EdgeNeXt-S: FreeNet's Table 3 prints 79.4 of 256 pixels, EMO's Table 11 78.8 of 224."""
    edgenext = "timm/edgenext_small"
    assert measured_points(of_images(edgenext, 256)) == {("edgenext_small", 79.4)}
    assert measured_points(of_images(edgenext, 224)) == {("edgenext_small", 78.8)}
    assert measured_points(of_images("emo_2m", 224)) == {("emo_2m", 75.1)}
    assert measured_points(of_images("emo_2m", 64)) == set()
    assert measured_points(of_images("emo_2m", 224, classes=10)) == set()
    assert measured_points(of_images("emo_2m", 64), emo_2m=50.0) == {("emo_2m", 50.0)}


def test_a_model_of_two_papers_has_each_accuracy_with_its_paper(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unsized = tuple(replace(row, size=None) for row in published_rows())
    monkeypatch.setattr("mobile_export.bench.plot.published_rows", lambda: unsized)
    assert measured_points(of_images("timm/edgenext_small", 224)) == {
        ("edgenext_small (FreeNet)", 79.4), ("edgenext_small (EMO)", 78.8),
    }  # fmt: skip


def test_an_empty_report_says_so() -> None:
    assert "<p>All are &lt;flagged&gt;.</p>" in as_html([], title="t", empty="All are <flagged>")
    assert "There is no measurement" in as_html([], title="t")
    assert "There is no measurement" not in as_html(ROWS, title="t")


def test_a_metric_that_nobody_measured_on_a_phone_is_not_offered() -> None:
    with pytest.raises(UsageError, match="nothing to draw") as error:
        svg_plot(make_series((), metric="box AP"), metric="box AP")
    assert error.value.hint == "Published figures have the metrics mIoU, top-1."


def test_a_pgf_file_holds_names_as_text(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    latex = shutil.which("pdflatex")
    if latex is None:
        pytest.skip("no LaTeX here: apt-get install texlive-latex-recommended texlive-pictures")
    runner = measurement().runner | {"version": r"\\undefined_{x} 50 % $"}
    save_plot(make_series(make_rows([measurement(runner=runner)])[0]), tmp_path / "p.pgf")
    document = r"\documentclass{article}\usepackage{pgf,lmodern}\begin{document}\input{p.pgf}"
    (tmp_path / "d.tex").write_text(document + r"\end{document}")
    subprocess.run(
        [latex, "-halt-on-error", "-interaction=nonstopmode", "d.tex"],
        cwd=tmp_path, check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert (tmp_path / "d.pdf").read_bytes().startswith(b"%PDF")


def test_labels_cover_neither_each_other_nor_points() -> None:
    """Twelve models within a millimetre on the page, where names would lie on each other."""
    pytest.importorskip("matplotlib")
    points = [Point(f"model_{i}", 10 + i / 50, 75 + i / 100, family="model") for i in range(12)]
    far = (Point("fast", 2.0, 60.0), Point("slow", 90.0, 80.0))
    figure = make_figure([Series("measured: here", (*points, *far), True)])
    (axes,) = figure.axes
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert len(boxes) == 14
    for a, b in itertools.combinations(boxes, 2):
        assert not a.overlaps(b)
    places = axes.transData.transform([(p.ms, p.accuracy) for p in (*points, *far)])
    assert not any(box.contains(*place) for box in boxes for place in places)


def test_lines_join_families_and_crosses_are_flagged_points() -> None:
    pytest.importorskip("matplotlib")
    assert family_of("emo_2m") == family_of("emo_5m") != family_of("mobilenetv3_large_100")
    assert family_of("MobileNetV2") == family_of("mobilenetv3_large_100")
    made = [measurement(), measurement(model="emo_5m", flags=("contended",), median_ms=9.0)]
    (measured,) = (s for s in make_series(make_rows(made, flagged=True)[0]) if s.measured)
    assert {point.flags for point in measured.points} == {"", "contended"}
    figure = make_figure([measured])
    assert "flagged: contended" in [text.get_text() for text in figure.legends[0].get_texts()]
    joined = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2]
    assert any(list(line.get_ydata()) == [75.1, 78.4] for line in joined)


def test_an_own_accuracy_is_drawn_instead() -> None:
    (measured,) = (s for s in make_series(ROWS, own={"emo_2m": 70.0}) if s.measured)
    assert [point.accuracy for point in measured.points] == [70.0]
