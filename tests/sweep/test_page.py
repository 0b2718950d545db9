"""The page of a run as a browser shows it (skipped where there is none), and evil texts in it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mobile_export.sweep.job import Measured, Result, StepResult
from mobile_export.sweep.ledger import Entry, Sweep, _facts_of
from mobile_export.sweep.page import as_html
from tests.bench.test_page import BROWSERS
from tests.sweep.jobs import make_job

WIDTHS = (1300, 390)
ABOUT = Sweep("nightly", "2026-11-29T00:00:00+00:00", "1.0+abc")


def entry(model: str, status: Any, error: float | None = None, **changes: Any) -> Entry:
    job = make_job(model, **{name: changes.pop(name) for name in ("format",) if name in changes})
    step = StepResult("export", status, 1.0, error=error, tolerance=1e-5, bytes=1000, **changes)
    result = Result(job.cell, 0, status, (step,), 1.0, "host:1", "2026-11-29T00:00:00+00:00")
    return Entry(job.cell, _facts_of(job), result)


def missing(model: str) -> Entry:
    job = make_job(model)
    return Entry(job.cell, _facts_of(job), None)


LONG = "timm/a_model_with_a_name_that_is_longer_than_most_names_of_models_are_and_has_a_tag.in1k"
ENTRIES = [
    entry("b", "passed", 2e-6),
    entry("a", "failed", 5e-1, reason="error 5.0e-01 of the output range in noise-0:logits"),
    entry("c", "passed", 1e-6, emulated=True, runtime="onnxruntime 1.32.0"),
    entry(LONG, "crashed", reason="killed by signal SIGSEGV"),
    entry("c", "passed", format="tflite", measured=(Measured("x", "ms", 1.5, 1.4, 1.6),)),
    missing("d"),
]


class Seen(HTMLParser):
    """Tags and what could run."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_texts_of_a_store_are_texts() -> None:
    evil = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;\x1b[2J\u202e</table>"
    job = msgspec.structs.replace(make_job("m"), model=evil, size=evil, precision=evil, format=evil)
    step = StepResult(
        evil, "failed", 1.0, reason=evil, error=1.0, tolerance=1.0, runtime=evil, left_out=(evil,),
        measured=(Measured(evil, evil, 1.0, 1.0, 1.0, evil, (evil,)),),
    )  # fmt: skip
    result = Result(job.cell, 0, "failed", (step,), 1.0, evil, evil)
    page = as_html(Sweep(evil, evil, evil), 1, [Entry(job.cell, _facts_of(job), result)])
    seen = Seen(page)
    plain = Seen(as_html(ABOUT, 1, ENTRIES[1:2]))
    assert seen.tags == plain.tags
    assert seen.attributes == plain.attributes
    assert not any(name.startswith("on") for name in seen.attributes)
    assert all(character.isprintable() or character == "\n" for character in page)
    assert not re.search(r"https?:|//[a-z]", page), "it needs no other file"


def test_a_run_without_cells() -> None:
    assert "No cells" in as_html(ABOUT, 1, [])


LOOK = """
<script>
onload = () => document.body.append(JSON.stringify([...document.querySelectorAll("iframe")].map(
  frame => {
    const page = frame.contentDocument, rows = () => [...page.querySelectorAll("tbody tr")].map(
      row => row.children[0].textContent);
    const shown = () => page.body.innerText;
    const before = shown(), first = rows();
    const buttons = page.querySelectorAll("thead button");
    buttons[0].click(); const up = rows();
    buttons[0].click(); const down = rows();
    buttons[1].click(); const status = rows();
    const failed = page.querySelector("td.failed summary"); failed.click();
    const box = failed.getBoundingClientRect();
    return {
      first, up, down, status, before, after: shown(), left: box.left, right: box.right,
      frame: frame.clientWidth, page: page.documentElement.scrollWidth};
  })));
</script>
"""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here ({', '.join(BROWSERS)}): apt-get install chromium")
    return found


def look(browser: str, page: str, folder: Path) -> list[dict[str, Any]]:
    """What a browser makes of the page at every width; ``pages.png`` is a picture."""
    frames = "".join(
        f'<iframe srcdoc="{html.escape(page)}" width="{width}" height="1100"></iframe><br>'
        for width in WIDTHS
    )
    file = folder / "frames.html"
    file.write_text(f"<!doctype html><body>{frames}{LOOK}</body>", encoding="utf-8")
    words = [
        browser, "--headless", "--no-sandbox", "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1400,2300",
    ]  # fmt: skip
    for task in (f"--screenshot={folder / 'pages.png'}", "--dump-dom"):
        done = subprocess.run(
            [*words, task, file.as_uri()], capture_output=True, text=True, timeout=240, check=True
        )
    found = re.search(r"\[\{.*\}\]", html.unescape(done.stdout).rpartition("</script>")[2])
    assert found is not None, done.stdout[-500:]
    facts: list[dict[str, Any]] = json.loads(found[0])
    return facts


def test_the_grid_is_sorted_and_a_reason_is_one_click_away(browser: str, tmp_path: Path) -> None:
    names = ["b", "a", "c", LONG, "d"]
    seen = look(browser, as_html(ABOUT, 3, ENTRIES), tmp_path)
    assert len(seen) == len(WIDTHS)
    for each in seen:
        assert each["first"] == names
        assert each["up"] == sorted(names)
        assert each["down"] == sorted(names, reverse=True)
        assert each["status"] == ["c", "b", "a", LONG, "d"]  # by status, then by error
        reason = "error 5.0e-01 of the output range in noise-0:logits"
        assert reason not in each["before"]
        assert reason in each["after"]
        assert "6 cells: 3 passed, 1 failed, 1 crashed, 1 no result" in each["before"]
        for text in ("2e-06", "1e-06*", "1.5 ms"):
            assert text in each["before"]
        assert 0 <= each["left"] < each["right"] <= each["frame"]
        assert each["page"] <= each["frame"], "the page itself does not scroll sideways"
