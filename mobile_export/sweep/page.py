"""A run as one HTML page that needs no other file: the grid, sortable, each reason one click away.

Texts come from a store, which somebody else may have written: all of them are escaped, and the page
forbids itself every script but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections import Counter
from collections.abc import Sequence

from .. import __version__
from ..system.terminal import printable
from .cell import STATUSES
from .job import Measured, Result, StepResult
from .ledger import Entry, Sweep

__all__ = ["as_html"]

_NO_RESULT = "no result"
_MOST_REASON = 2000

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 90rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
h1 { overflow-wrap: anywhere } table { border-collapse: collapse; font-size: 14px }
.scroll { overflow-x: auto; margin: 1rem 0 }
caption { text-align: left; padding-bottom: .5rem; font-weight: 600; font-size: 16px }
th, td { padding: .3rem .5rem; border-bottom: 1px solid #ccc; text-align: left;
  vertical-align: top; overflow-wrap: anywhere }
th button { font: inherit; font-weight: 600; border: 0; padding: 0; background: none;
  color: inherit; cursor: pointer; text-align: left }
th button::after { content: " \\2195"; color: #888 }
th[aria-sort=ascending] button::after { content: " \\2191" }
th[aria-sort=descending] button::after { content: " \\2193" }
tbody th { font-weight: 400 } summary { cursor: pointer; white-space: nowrap }
details p { margin: .2rem 0; max-width: 40rem }
.passed summary { color: #176d2c } .inconclusive summary { color: #7a5b00 }
.failed summary, .refused summary, .crashed summary, .timeout summary { color: #b3261e;
  font-weight: 600 }
.none { color: #666 }
@media (max-width: 40rem) {
  thead { display: none } table, caption, tbody, tr, td, tbody th { display: block }
  tr { border-bottom: 2px solid #888; padding: .5rem 0 } td:empty { display: none }
  tbody th { font-weight: 600; border: 0; padding: 0 }
  td { border: 0; padding: 0 0 0 9rem; position: relative; min-height: 1.5em }
  td::before { content: attr(data-title); position: absolute; left: 0; width: 8.5rem } }
@media (prefers-color-scheme: dark) {
  body { color: #e8e8e8; background: #161616 } .passed summary { color: #7bd88f }
  .inconclusive summary { color: #e6c35c } .none { color: #aaa }
  .failed summary, .refused summary, .crashed summary, .timeout summary { color: #ff8a80 } }
"""
_SCRIPT = """
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), body = document.querySelector("tbody");
    const column = [...head.parentElement.children].indexOf(head);
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = row => row.children[column].dataset.key || "";
    const rows = [...body.children].sort(
      (a, b) => key(a).localeCompare(key(b), "en", {numeric: true}));
    body.append(...(down ? rows.reverse() : rows));
  });
}
"""


def as_html(about: Sweep, run: int, entries: Sequence[Entry]) -> str:
    """The page of one run.

    Args:
        entries: the cells that it wanted, each with its latest result.
    """
    title = f"{about.name}, run {run}"
    columns = list(dict.fromkeys(entry.facts.column for entry in entries))
    rows: dict[str, dict[str, Entry]] = {}
    for entry in entries:
        rows.setdefault(entry.facts.row, {})[entry.facts.column] = entry
    body = "\n".join(_row(name, found, columns) for name, found in rows.items())
    heads = "".join(
        f'<th scope="col"><button>{_text(name)}</button></th>' for name in ("model", *columns)
    )
    policy = f"default-src 'none'; style-src '{_hash(_STYLE)}'; script-src '{_hash(_SCRIPT)}'"
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{_text(title)}</title>
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head>
<body>
<h1>{_text(title)}</h1>
<p>{_text(_counts(entries))}. Begun {_text(about.started)} with mobile-export \
{_text(about.mobile_export)}. A click on a cell shows its steps and its reason.</p>
<div class="scroll" tabindex="0" role="region" aria-label="Cells">
<table><caption>Every model in every format</caption>
<thead><tr>{heads}</tr></thead>
<tbody>
{body}
</tbody></table></div>
<footer>Written by mobile-export {__version__}.</footer>
<script>{_SCRIPT}</script>
</body></html>
"""


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _text(text: str) -> str:
    return html.escape(printable(text))


def _counts(entries: Sequence[Entry]) -> str:
    counts = Counter(_NO_RESULT if e.result is None else e.result.status for e in entries)
    parts = [f"{counts[name]:,} {name}" for name in (*STATUSES, _NO_RESULT) if counts[name]]
    return f"{len(entries):,} cells: {', '.join(parts)}" if entries else "No cells"


def _row(name: str, found: dict[str, Entry], columns: Sequence[str]) -> str:
    cells = "".join(_cell(found.get(column), column) for column in columns)
    return f'<tr><th scope="row" data-key="{_text(name)}">{_text(name)}</th>{cells}</tr>'


def _cell(entry: Entry | None, column: str) -> str:
    title = f' data-title="{_text(column)}"'
    if entry is None:
        return f'<td{title} data-key="9"></td>'
    result = entry.result
    if result is None:
        return f'<td{title} data-key="8" class="none">{_NO_RESULT}</td>'
    steps = "".join(f"<p>{_text(line)}</p>" for line in map(_step, result.steps))
    ran = f"<p>{_text(f'{result.seconds:.1f} s on {result.worker}, {result.ended}')}</p>"
    key = f"{STATUSES.index(result.status)} {_figure(result) or 0:.9f}"
    return (
        f'<td{title} data-key="{key}" class="{result.status}"><details>'
        f"<summary>{_text(_shown(result))}</summary>{steps}{ran}</details></td>"
    )


def _figure(result: Result) -> float | None:
    """What a column is sorted by: milliseconds where it was measured, else the error."""
    measured = [m.value for step in result.steps for m in step.measured if m.better == "low"]
    values = [value for value in measured if value is not None]
    if values:
        return values[0]
    return next((step.error for step in result.steps if step.error is not None), None)


def _shown(result: Result) -> str:
    """What stands in the cell: the status, and the figure of one that passed."""
    if result.status != "passed":
        return result.status
    for step in result.steps:
        for figure in step.measured:
            if step.step != "placement":  # a share of the nodes; the error says more
                return _measured(figure)
    error = _figure(result)
    emulated = "*" if any(step.emulated for step in result.steps) else ""
    return result.status if error is None else f"{error:.0e}{emulated}"


def _measured(figure: Measured) -> str:
    return "none" if figure.value is None else f"{figure.value:.4g} {figure.unit}"


def _step(step: StepResult) -> str:
    """One step in words."""
    parts = [f"{step.step}: {step.status}"]
    if step.reason:
        parts.append(step.reason[:_MOST_REASON])
    if step.error is not None and step.tolerance is not None:
        parts.append(f"error {step.error:.1e} of the output range, {step.tolerance:.1e} allowed")
    if step.runtime:
        parts.append(f"in {step.runtime}" + (" (emulated)" if step.emulated else ""))
    if step.bytes is not None:
        parts.append(f"{step.bytes:,} bytes")
    if step.left_out:
        parts.append(f"without {', '.join(step.left_out)}: please report")
    for figure in step.measured:
        exact = figure.low is None or figure.low == figure.high
        around = "" if exact else f" ({figure.low:.4g} to {figure.high or 0:.4g})"
        flags = f" [{', '.join(figure.flags)}]" if figure.flags else ""
        parts.append(f"{figure.name} {_measured(figure)}{around}{flags}")
    return "; ".join(parts)
