"""What people see: a progress line while work goes on, one table at the end, one error message.

Progress and messages go to stderr, results to stdout. In a pipe there is no progress and no colour.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import MobileExportError
from ..system.tables import plain_table
from ..system.terminal import (
    escape,
    print_error,
    printable,
    stderr_console,
    stdout_console,
)
from .messages import said_of_options, typed_error

if TYPE_CHECKING:
    from pathlib import Path

    from ..api import VerifyReport
    from ..parity.report import ParityReport
    from ..passes import PassReport
    from ..pipeline import ArtifactReport, ExportReport, Failure
    from ..sweep.cell import Cell, Row
    from ..sweep.store import Matrix
    from ..system.tables import PlainTable

__all__ = [
    "export_table",
    "finished_line",
    "matrix_progress",
    "parity_cells",
    "print_diagnosis",
    "print_export",
    "print_facts",
    "print_matrix",
    "print_passes",
    "print_verification",
]


_VERDICT_STYLE = {"passed": "green", "failed": "bold red", "inconclusive": "yellow"}


def parity_cells(parity: ParityReport) -> list[str]:
    """Runtime, error, tolerance, PyTorch's own float32 error, top-1 agreement, verdict."""
    runtime = parity.runtime + (" (emulated)" if parity.emulated else "")
    style = _VERDICT_STYLE[parity.status]
    top1 = "" if parity.top1 is None else f"{parity.top1:.0%}"
    return [
        runtime,
        f"{parity.max_abs:.1e}",
        f"{parity.max_rel:.1e}",
        f"{parity.tolerance:.0e}",
        f"{parity.float32_error:.0e}",
        top1,
        f"[{style}]{parity.words}[/]",
    ]


PARITY_COLUMNS = (
    "runs in",
    "max abs",
    "max rel",
    "allowed",
    "PyTorch fp32",
    "top-1",
    "parity",
)


_PARITY_NUMBERS = ("max abs", "max rel", "allowed", "PyTorch fp32", "top-1")


def export_table(report: ExportReport) -> PlainTable:
    """One row per artifact: file, size, time, parity."""
    numbers = ("MB", "seconds", *_PARITY_NUMBERS)
    spare = ("max abs", "PyTorch fp32", "seconds", "top-1", "MB")
    titles = ("file", "MB", "type", "seconds", *PARITY_COLUMNS)
    table = plain_table(*titles, right=numbers, names=("file",), spare=spare)
    for artifact in report.artifacts:
        table.add_row(
            escape(str(artifact.path)) if artifact.path else f"({artifact.format}: removed)",
            f"{artifact.bytes / 1e6:.1f}",
            artifact.precision,
            f"{sum(artifact.seconds.values()):.1f}",
            *parity_cells(artifact.parity),
        )
        for other in artifact.parity.variants:
            table.add_row("", "", other.precision, "", *parity_cells(other))
    return table


def finished_line(
    result: ArtifactReport | Failure, said: MutableMapping[str, str] | None = None
) -> str:
    """What became of one format, while others are still to come.

    Args:
        said: the format of each refusal of this run that was told already; one more is added. A
            refusal that is in it is not told again.
    """
    from ..pipeline import Failure

    if not isinstance(result, Failure):
        parity = result.parity.deciding
        name = str(result.path) if result.path else f"{result.format}, not kept"
        style = _VERDICT_STYLE[parity.status]
        seconds = sum(result.seconds.values())
        return f"[{style}]{parity.status}[/] {escape(name)} {parity.max_rel:.1e} ({seconds:.0f} s)"
    message = typed_error(result.error).message
    first = result.format if said is None else said.setdefault(message, result.format)
    told = escape(message) if first == result.format else f"as for {first}"
    return f"[bold red]error[/] {result.format}: {told}"


def print_export(report: ExportReport) -> None:
    """The parity table on stdout; warnings, failures and skipped formats on stderr."""
    out, err = stdout_console(), stderr_console()
    style = "bold yellow" if report.weights_kind == "random" else "default"
    taken = escape(report.taken)
    out.print(f"{escape(report.source)} at {taken}, [{style}]{escape(report.weights)}[/]")
    if report.artifacts:
        out.print(export_table(report))
    for artifact in report.artifacts:
        _print_qualities(artifact.parity, f"{artifact.format}: ")
        for note in artifact.parity.notes:
            err.print(f"[yellow]note:[/] {artifact.format}: {escape(said_of_options(note))}")
        if not artifact.parity.passed:
            _print_verdict(artifact.parity, escape(str(artifact.path)) if artifact.path else None)
    for note in report.notes:
        err.print(f"[yellow]note:[/] {escape(said_of_options(note))}")
    for name, reason in report.skipped.items():
        err.print(f"[yellow]skipped:[/] {name}: {escape(said_of_options(reason))}")
    for error in _refusals(report):
        print_error(error)


def _refusals(report: ExportReport) -> Iterator[MobileExportError]:
    """Each refusal once, with the formats that it is of where the run had several."""
    formats: dict[tuple[str, str | None], list[str]] = {}
    for failure in report.failures:
        error = typed_error(failure.error)
        formats.setdefault((error.message, error.hint), []).append(failure.format)
    several = len(report.failures) + len(report.artifacts) > 1
    for (message, hint), names in formats.items():
        before = f"{', '.join(names)}: " if several else ""
        yield MobileExportError(before + message, hint=hint)


def print_passes(reports: Iterable[PassReport]) -> None:
    """What every pass rewrote and what it refused, node by node, with the reason."""
    out = stdout_console()
    for report in reports:
        counts = f"{len(report.changes)} changes, {len(report.refusals)} refusals"
        formats = f" ({', '.join(report.formats)})" if report.formats else ""
        out.print(f"[bold]{report.name}[/]{formats}: {counts}")
        for change in report.changes:
            out.print(f"  {escape(change.node)}: {escape(change.what)}", soft_wrap=True)
        for refusal in report.refusals:
            line = f"  [yellow]refused[/] {escape(refusal.node)}: {escape(refusal.reason)}"
            out.print(line, soft_wrap=True)


def _print_qualities(report: ParityReport, before: str = "") -> None:
    """How well a file of less than float32 serves, under all options of its runtime."""
    for each in (report, *report.variants):
        if each.precision == "fp32" or not each.qualities:
            continue
        said = "; ".join(map(str, each.qualities[:_QUALITIES]))
        more = len(each.qualities) - _QUALITIES
        said += f"; and {more} more" if more > 0 else ""
        verdict = "good" if each.useful else "not good"
        line = f"{before}{each.runtime}, {each.precision}, {verdict}: {said}"
        stdout_console().print(escape(line))


_QUALITIES = 6
"""As many are shown; ``--json`` has all."""


def _print_verdict(report: ParityReport, kept: str | None) -> None:
    from ..parity.report import NOT_GOOD

    err = stderr_console()
    parity = report.deciding
    fate = f"kept as {kept}" if kept else "not kept (--keep-failed keeps it)"
    if report.only_some:
        err.print(
            f"[bold yellow]right in {escape(report.runtime)} only:[/] {parity.status} in "
            f"{escape(parity.runtime)} ({parity.max_rel:.1e} of the output range, allowed is "
            f"{parity.tolerance:.1e}); the note above says what to set. The file was {fate}."
        )
        return
    if parity.status == "inconclusive":
        err.print(f"[yellow]inconclusive:[/] see the note above; the file was {fate}.")
        return
    if parity.words == NOT_GOOD:
        err.print(
            f"[bold red]{NOT_GOOD}:[/] the note above says in what; the file was {fate}. "
            "--precision fp32 writes float32 (docs/parity.md)."
        )
        return
    err.print(
        f"[bold red]parity failed:[/] {parity.max_rel:.1e} of the output range, allowed is "
        f"{parity.tolerance:.1e} (worst at {escape(parity.worst)}{list(parity.worst_index)}); the "
        f"file was {fate}. Keep it and run: mobile-export verify FILE --layers"
    )
    if report.precision == "fp16":
        err.print(
            "Float16 may be too coarse for these weights, above all if they are random: "
            "--precision fp32 writes float32 (docs/parity.md)."
        )


def print_verification(report: VerifyReport) -> None:
    """The parity of a file and, if asked for, the layers where it diverges."""
    out = stdout_console()
    spare = ("max abs", "PyTorch fp32", "top-1")
    columns = ("file", "type", *PARITY_COLUMNS)
    table = plain_table(*columns, right=_PARITY_NUMBERS, names=("file",), spare=spare)
    table.add_row(escape(str(report.file)), report.stored, *parity_cells(report.parity))
    for other in report.parity.variants:
        table.add_row("", other.precision, *parity_cells(other))
    out.print(table)
    _print_qualities(report.parity)
    out.print(f"Allowed is the error of {escape(said_of_options(report.allowed_by))}.")
    for note in report.parity.notes:
        stderr_console().print(f"[yellow]note:[/] {escape(said_of_options(note))}")
    _print_unlike(report)
    if report.layers is None:
        return
    layers = report.layers
    out.print(f"{layers.good} of {layers.tensors} tensors of the file equal one of the model's.")
    if not layers.errors:
        out.print("Nothing diverges: no tensor's error passes the tolerance.")
        return
    heads = ("first tensors that differ", "module", "compared with", "shape", "max rel")
    rows = plain_table(*heads, right=("max rel",))
    for error in layers.errors:
        rows.add_row(
            escape(error.tensor),
            escape(error.module),
            escape(error.counterpart or "nothing of its size"),
            "x".join(map(str, error.shape)),
            "" if error.max_rel is None else f"{error.max_rel:.1e}",
        )
    out.print(rows)


def _print_unlike(report: VerifyReport) -> None:
    """Which of file and model is not what the manifest names; of a failure, also that both are."""
    for each in report.unlike or ():
        stderr_console().print(f"[yellow]not as in the manifest:[/] {escape(each)}")
    if report.unlike == () and not report.parity.passed:
        stderr_console().print(
            "File, model and weights are those that the manifest names; the model computes what "
            "the manifest expects of it, and the file does not."
        )


def print_facts(facts: dict[str, Any]) -> None:
    """What ``inspect`` found in a file."""
    out = stdout_console()
    said = f"{facts['file']}: {facts['format']}, {facts['bytes'] / 1e6:.2f} MB"
    out.print(escape(said))
    for key in ("version", "precision", "parameters", "highest_rank", "gpu_delegate"):
        if facts.get(key) is not None:
            value = f"{facts[key]:,}" if isinstance(facts[key], int) else str(facts[key])
            out.print(f"{key.replace('_', ' ')}: {escape(value)}")
    for kind in ("inputs", "outputs"):
        for item in facts[kind]:
            shape = "x".join("?" if n is None else str(n) for n in item.get("shape", ()))
            line = f"{kind[:-1]}: {item['name']} {shape} {item.get('dtype', '')}"
            out.print(escape(line))
    table = plain_table("op", "count", right=("count",))
    for op, count in facts["ops"].items():
        table.add_row(escape(op), str(count))
    out.print(table)


def print_diagnosis(facts: dict[str, Any]) -> None:
    """What ``doctor`` found."""
    out = stdout_console()
    out.print(f"Python {facts['python']} on {facts['system']}")
    table = plain_table("library", "installed", "tested", "")

    def add(check: dict[str, Any]) -> None:
        installed = check["installed"] or "not installed"
        verdict = "[green]ok[/]" if check["ok"] else f"[yellow]{escape(check['fix'])}[/]"
        table.add_row(check["distribution"], installed, escape(check["tested"]), verdict)

    for check in facts["core"]:
        add(check)
    for target in facts["targets"]:
        for check in target["checks"]:
            add(check)
    out.print(table)
    rows = plain_table("format", "exports here", "runs here in", "to install")
    for target in facts["targets"]:
        ready = "[green]yes[/]" if target["export"] else "[red]no[/]"
        runs = target["runs_in"] if target["run"] else "-"
        rows.add_row(target["title"], ready, escape(runs), escape(target["fix"] or ""))
    out.print(rows)
    extras = plain_table("optional", "for", "installed", "to install")
    for extra in facts["optional"]:
        names = ", ".join(check["distribution"] for check in extra["checks"])
        versions = (check["installed"] or "no" for check in extra["checks"])
        fix = escape(extra["fix"] or "")
        extras.add_row(names, escape(extra["purpose"]), ", ".join(versions), fix)
    out.print(extras)
    for tool in facts["tools"]:
        out.print(f"{tool['name']}, for {escape(tool['purpose'])}")
        for found in tool["found"]:
            build = found["build"] or "no build that is known here"
            out.print(f"  {escape(found['path'])}: SHA-256 {found['sha256']}, {escape(build)}")
        for way in tool["ways"]:
            out.print(f"  to get one: {escape(way)}", soft_wrap=True)
    lacking = [each for each in facts["apps"] if each["found"] is None]
    names = ", ".join(each["name"] for each in facts["apps"]) or "the sources are not installed"
    out.print(f"mobile-export app android --build, with {names}", soft_wrap=True)
    if lacking:
        packages = " ".join(sorted({each["package"] for each in lacking}))
        out.print(f"  to install: apt-get install {packages}", soft_wrap=True)


@contextlib.contextmanager
def matrix_progress(
    cells: Sequence[Cell], matrix: Matrix, *, enabled: bool
) -> Iterator[Callable[[Row], None]]:
    """A bar over the cells on a terminal's stderr, with the last result; nothing in a pipe."""
    if not enabled or not sys.stderr.isatty():
        yield lambda row: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=stderr_console(), transient=True) as progress:
        before = sum(matrix.find(cell) is not None for cell in cells)
        task = progress.add_task("", total=len(cells), completed=before, last="")

        def finished(row: Row) -> None:
            last = f"{row.model} {row.cell.column} {row.status}"
            progress.update(task, advance=1, last=printable(last))

        yield finished


def print_matrix(rows: Sequence[Row], file: Path) -> None:
    """How many cells of each format passed, and every cell that did not."""
    out = stdout_console()
    titles = ("model", "size", "format", "status", "max rel", "seconds", "reason")
    table = plain_table(*titles, right=("max rel", "seconds"), spare=("seconds",))
    for row in rows:
        if row.status != "passed":
            style = _VERDICT_STYLE.get(row.status, "bold red")
            error = "" if row.error is None else f"{row.error:.1e}"
            status = f"[{style}]{row.status}[/]"
            reason = escape((row.reason or "")[:120])
            names = map(escape, (row.model, row.size or "", row.cell.column))
            table.add_row(*names, status, error, f"{row.seconds:.0f}", reason)
    if table.row_count:
        out.print(table)
    for name in dict.fromkeys(row.cell.column for row in rows):
        of_format = [row for row in rows if row.cell.column == name]
        passed = sum(row.status == "passed" for row in of_format)
        without = sum(bool(row.left_out) for row in of_format)
        noted = f", {without} of them with a pass left out: please report" if without else ""
        out.print(f"{escape(name)}: {passed} of {len(of_format)} passed{noted}")
    out.print(f"{escape(str(file))} and {escape(str(file.with_suffix('.md')))} hold every cell.")
