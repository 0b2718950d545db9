"""The commands that look at a store: table and compare."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import AsJson, Flagged, Force, Label, Store, Verbose

__all__ = ["chosen_papers", "compare", "table"]


def table(
    store: Store = Path("mobile-bench.jsonl"),
    as_: Annotated[
        str, typer.Option("--as", help="terminal, markdown, csv, latex or html.")
    ] = "terminal",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write there.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw accuracy over latency, measured and published: a .png, .svg or .pdf file.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Of the plot: top-1 or mIoU, as published.")
    ] = "top-1",
    paper: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this paper: FreeNet, EMO or SeaFormer++; may be given again.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        list[str] | None, typer.Option(hidden=True, help="Old --paper: 000, 001, 003.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("-d", "--device", help="Only this one.", show_default=False)
    ] = None,
    label: Label = None,
    history: Annotated[
        bool, typer.Option("--history", help="Every measurement, not the latest of each kind.")
    ] = False,
    flagged: Flagged = False,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Lay measurements out: terminal, Markdown, CSV, LaTeX, HTML, and a plot."""
    from ...errors import UsageError
    from ...system.files import require_free_file
    from ..journal import read_all
    from ..plot import make_series, save_plot, svg_plot
    from ..report import FORMATS, as_csv, as_html, as_latex, as_markdown
    from ..tables import make_rows
    from .console import print_notes, print_rows

    if as_ not in FORMATS:
        raise UsageError(f"There is no table as {as_!r}.", hint=f"Valid: {', '.join(FORMATS)}.")
    for file in (out, plot):
        if file is not None:
            require_free_file(file, force=force, error=UsageError)
    contents = read_all(store)
    if not contents.measurements:
        raise UsageError(
            f"{store} holds no measurement" + "".join(f"; {note}" for note in contents.notes) + ".",
            hint="Measure first: mobile-bench MODEL",
        )
    rows, left_out = make_rows(
        contents.measurements, flagged=flagged, history=history, device=device, label=label
    )
    print_notes(contents.notes)
    series = make_series(rows, metric=metric, papers=chosen_papers(paper, seed))
    if plot is not None:
        save_plot(series, plot, metric=metric)
    if as_json:
        _write(json.dumps([row.to_dict() for row in rows], indent=2) + "\n", out)
    elif as_ == "terminal" and out is None:
        print_rows(rows, left_out)
    elif as_ == "html":
        drawn = svg_plot(series, metric=metric) if _can_plot() else None
        _write(as_html(rows, title="Measured latencies", plot=drawn), out)
    else:
        writers: dict[str, Any] = {
            "markdown": as_markdown,
            "csv": as_csv,
            "latex": as_latex,
            "terminal": as_markdown,
        }
        _write(writers[as_](rows), out)
    if as_ != "terminal" and left_out:
        print_rows((), left_out)


_CANNOT_TELL = 3

_SEEDS = {"000": "FreeNet", "001": "EMO", "003": "SeaFormer++"}
"""What ``--seed`` called the papers."""


def chosen_papers(papers: list[str] | None, seeds: list[str] | None) -> list[str] | None:
    """Keys of `mobile_export.models.papers.PAPERS`; None for all of them.

    Raises:
        UsageError: there is no such paper.
    """
    from ...errors import UsageError
    from ..published import papers_with_latencies

    known = {name.lower(): name for name in papers_with_latencies()}
    asked = [*(papers or ()), *(_SEEDS.get(seed, seed) for seed in seeds or ())]
    for name in asked:
        if name.lower() not in known:
            raise UsageError(
                f"No latencies are known of a paper {name!r}.",
                hint=f"Valid: --paper {', '.join(known.values())}.",
            )
    return [known[name.lower()] for name in asked] or None


def _can_plot() -> bool:
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def _write(text: str, out: Path | None) -> None:
    from ...errors import StoreError
    from ...system.files import write_whole

    if out is None:
        typer.echo(text, nl=False)
        return
    write_whole(out, text.encode(), error=StoreError)


def compare(
    baseline: Annotated[
        str, typer.Argument(help="A store file, a label, or a model.", show_default=False)
    ],
    candidate: Annotated[str, typer.Argument(help="The same.", show_default=False)],
    store: Store = Path("mobile-bench.jsonl"),
    threshold: Annotated[
        float,
        typer.Option(
            help="Exit code 1 if the candidate is slower by more than this share, 0 if it is not, "
            "3 if the measurements cannot tell."
        ),
    ] = 0.05,
    flagged: Flagged = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Ratio of medians, candidate to baseline, with its 95 % interval, which decides."""
    from ...errors import UsageError
    from ..compare import compare_sides, select_side
    from .console import print_notes, print_pairs

    if threshold < 0:
        raise UsageError(f"--threshold {threshold:g} is negative.", hint="Valid: 0.05 for 5 %.")
    first, by_model, notes = select_side(baseline, store, flagged=flagged)
    second, also_by_model, more = select_side(candidate, store, flagged=flagged)
    print_notes(dict.fromkeys((*notes, *more)))
    pairs = compare_sides(first, second, by_model=by_model and also_by_model)
    answers = [pair.result.answer(threshold) for pair in pairs]
    if as_json:
        facts = [
            pair.to_dict() | {"answer": answer, "regressed": answer == "slower"}
            for pair, answer in zip(pairs, answers, strict=True)
        ]
        typer.echo(json.dumps(facts, indent=2))
    else:
        print_pairs(pairs, threshold)
    if "slower" in answers:
        raise typer.Exit(1)
    if "cannot tell" in answers:
        raise typer.Exit(_CANNOT_TELL)
