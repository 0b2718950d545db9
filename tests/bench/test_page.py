"""`report.as_html` as a browser shows it; skipped where there is none.

Pages are looked at through frames of a given width, because a browser's window has a least one.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.paper import paper_grid, paper_lines
from mobile_export.bench.plot import make_series, svg_plot
from mobile_export.bench.report import as_html
from mobile_export.bench.tables import make_rows
from tests.bench.examples import INFO, measurement

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
WIDTHS = (1300, 400, 390)
PHONE = INFO.__class__(**vars(INFO) | {"spec": "adb:R5 (2)", "name": "Galaxy", "soc": "Exynos"})
PARITY = {
    "verdict": "passed", "max_rel": 1.8e-6, "tolerance": 1e-5, "runtime": "onnxruntime 1.31.1"
}  # fmt: skip
ROWS = make_rows(
    [
        measurement(parity=PARITY),
        measurement(
            parity=PARITY,
            model="timm/edgenext_small",
            device=PHONE,
            flags=("contended", "unsettled"),
        ),
    ],
    flagged=True,
)[0]

LOOK = """
<script>
onload = () => document.body.append(JSON.stringify([...document.querySelectorAll("iframe")].map(
  frame => {
    const page = frame.contentDocument, style = frame.contentWindow.getComputedStyle;
    const flags = [...page.querySelectorAll("td")].find(
      cell => cell.textContent.includes("contended"));
    const box = flags.getBoundingClientRect();
    return {
      left: box.left, right: box.right, frame: frame.clientWidth,
      page: page.documentElement.scrollWidth, text: page.body.innerText,
      flagged: style(flags.parentElement).backgroundColor,
      other: style(page.querySelector("tbody tr:not(.flagged)")).backgroundColor};
  })));
</script>
"""


@pytest.fixture
def browser() -> str:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"no browser here ({', '.join(BROWSERS)}): apt-get install chromium")
    return found


def look(browser: str, pages: list[str], folder: Path) -> list[dict[str, Any]]:
    """What a browser makes of every page at every width; a picture of all is ``pages.png``."""
    frames = [
        f'<iframe srcdoc="{html.escape(page)}" width="{width}" height="2000"></iframe><br>'
        for page in pages
        for width in WIDTHS
    ]
    file = folder / "frames.html"
    file.write_text(f"<!doctype html><body>{''.join(frames)}{LOOK}</body>", encoding="utf-8")
    words = [
        browser, "--headless", "--no-sandbox", "--disable-gpu",
        f"--user-data-dir={folder / 'profile'}", f"--window-size=1400,{2050 * len(frames)}",
    ]  # fmt: skip
    for task in (f"--screenshot={folder / 'pages.png'}", "--dump-dom"):
        done = subprocess.run(
            [*words, task, file.as_uri()], capture_output=True, text=True, timeout=120, check=True
        )
    assert (folder / "pages.png").read_bytes().startswith(b"\x89PNG")
    found = re.search(r"\[\{.*\}\]", html.unescape(done.stdout).rpartition("</script>")[2])
    assert found is not None, done.stdout[-500:]
    facts: list[dict[str, Any]] = json.loads(found[0])
    assert len(facts) == len(frames)
    return facts


def test_flags_and_facts_are_seen_without_scrolling_sideways(browser: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot = svg_plot(make_series(ROWS, papers=["EMO"]))
    pages = [
        as_html(ROWS, title="Measured", plot=plot, table=table)
        for table in (None, paper_grid(paper_lines(ROWS)))
    ]
    for seen in look(browser, pages, tmp_path):
        assert 0 <= seen["left"] < seen["right"] <= seen["frame"]
        assert seen["page"] <= seen["frame"]  # the page itself does not scroll sideways
        assert seen["flagged"] != seen["other"]
        for text in (
            "its threads did not have a core each, all the time",
            "the warm-up never became stable",
        ):
            assert text in seen["text"]
        for fact in (
            "Exynos",
            "Cortex-A55 1.80 GHz",
            "Linux 6",
            "2026-11-21",
            "passed in onnxruntime 1.31",
        ):
            assert fact in seen["text"]
