"""The commands that look at a store: table and compare."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ...system.options import Range
from ...system.typed import number
from .options import AsJson, Flagged, Force, Label, Layout, Out, Store, Verbose

if TYPE_CHECKING:
    from ..paper import PaperLine
    from ..plot import Series
    from ..record import Measurement
    from ..tables import Row

__all__ = [
    "ALL_PAPERS",
    "PaperCommand",
    "can_plot",
    "chosen_papers",
    "compare",
    "require_free",
    "table",
    "write_text",
]


def table(
    store: Store = Path("mobile-bench.jsonl"),
    as_: Layout = "terminal",
    out: Out = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw accuracy over latency, measured and published: a .png, .svg, .pdf or .pgf "
            "file.",
            show_default=False,
        ),
    ] = None,
    metric: Annotated[
        str, typer.Option(help="Of the plot: top-1 or mIoU, as published.")
    ] = "top-1",
    paper: Annotated[
        list[str] | None,
        typer.Option(
            help="A table for a paper: size, accuracy and our figure beside the published rows. Of "
            "all papers, or with a name, of FreeNet, EMO or SeaFormer++; may be given again.",
            metavar="[NAME]",
            show_default=False,
        ),
    ] = None,
    accuracy: Annotated[
        Path | None,
        typer.Option(
            help="Your own figures, for --paper and --plot: a CSV file with the columns model, "
            "accuracy (percent), and if you like metric, params_m, macs_m.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        list[str] | None, typer.Option(hidden=True, help="Old --paper: 000, 001, 003.")
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "-d", "--device", help="Only this one; may be given again.", show_default=False
        ),
    ] = None,
    label: Label = None,
    operators: Annotated[
        bool,
        typer.Option(
            "--operators", help="The time of every kind of operator; measure with run --operators."
        ),
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Every measurement, not the latest of each kind.")
    ] = False,
    flagged: Flagged = False,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Lay measurements out, also for a paper: terminal, Markdown, CSV, LaTeX, HTML, and a plot."""
    from ...errors import UsageError
    from ..journal import read_all
    from ..paper import accuracies_of, paper_lines, read_own
    from ..plot import make_series, require_metric
    from ..report import FORMATS
    from ..tables import make_rows, why_empty
    from .console import print_notes, print_rows

    if as_ not in FORMATS:
        raise UsageError(f"There is no table as {as_!r}.", hint=f"Valid: {', '.join(FORMATS)}.")
    require_free([out, plot], force=force)
    papers = chosen_papers([name for name in paper or () if name != ALL_PAPERS], seed)
    own = read_own(accuracy) if accuracy is not None else {}
    require_metric(metric, [one.metric for one in own.values()])
    contents = read_all(store)
    if not contents.measurements:
        raise UsageError(
            f"{store} holds no measurement" + "".join(f"; {note}" for note in contents.notes) + ".",
            hint="Measure first: mobile-bench MODEL",
        )
    _require_measured(device, contents.measurements)
    rows, left_out = make_rows(
        contents.measurements, flagged=flagged, history=history, devices=device, label=label
    )
    empty = () if rows else (why_empty(contents.measurements, left_out, label),)
    print_notes([*contents.notes, *_unknown(own, rows), *empty])
    series = make_series(rows, metric=metric, papers=papers, own=accuracies_of(own, metric))
    if plot is not None:
        _draw(plot, series, rows, metric)
    if operators:
        _lay_out_operators(as_, rows, out)
        return
    lines = paper_lines(rows, papers=papers, own=own) if paper else None
    if as_json:
        shown = rows if lines is None else lines
        write_text(json.dumps([one.to_dict() for one in shown], indent=2) + "\n", out)
    elif as_ == "terminal" and out is None and lines is None:
        print_rows(rows, left_out)
    else:
        _lay_out(as_, rows, lines, series, metric, out, *empty)
    if as_ != "terminal" and left_out:
        print_rows((), left_out)


def require_free(files: Sequence[Path | None], *, force: bool) -> None:
    """What will be written does not exist, or may be overwritten."""
    from ...errors import UsageError
    from ...system.files import require_free_file

    for file in files:
        if file is not None:
            require_free_file(file, force=force, error=UsageError)


def _draw(plot: Path, series: Sequence[Series], rows: Sequence[Row], metric: str) -> None:
    """Write the plot, and say so; also why nothing that was measured is in it."""
    from ..plot import save_plot, unmeasured_note
    from .console import print_notes, print_written

    save_plot(series, plot, metric=metric)
    print_written(plot)
    print_notes(unmeasured_note(series, rows, metric))


ALL_PAPERS = "all"
"""What ``--paper`` without a name stands for."""


class PaperCommand(TyperCommand):
    """A command whose option ``--paper`` may stand without a name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        following = [*args[1:], "-"]
        bare = [
            f"--paper={ALL_PAPERS}" if word == "--paper" and rest.startswith("-") else word
            for word, rest in zip(args, following, strict=False)
        ]
        return super().parse_args(ctx, bare)


def _require_measured(devices: list[str] | None, made: Sequence[Measurement]) -> None:
    """Raise UsageError where one of ``devices`` has no measurement."""
    from ...errors import UsageError
    from ...system.terminal import printable

    known = {m.device.spec for m in made} | {m.device.kind for m in made}
    for device in devices or ():
        if device not in known:
            specs = dict.fromkeys(printable(m.device.spec) for m in made)
            raise UsageError(
                f"The store has no measurement of {device!r}.", hint=f"It has: {', '.join(specs)}."
            )


def _unknown(own: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Notes on models of ``--accuracy`` that nobody measured."""
    from ...artifacts.names import artifact_stem

    known = {
        name for r in rows for name in (r.measurement.model, artifact_stem(r.measurement.model))
    }
    return [
        f"--accuracy names {name}, which is not in the table" for name in own if name not in known
    ]


def _lay_out_operators(as_: str, rows: Sequence[Row], out: Path | None) -> None:
    """Write the times of operators.

    Raises:
        UsageError: no measurement has any.
    """
    from ...errors import UsageError
    from .. import layout
    from ..report import as_html, operators_grid
    from .console import print_parts

    table = operators_grid(rows)
    if not table.lines:
        raise UsageError(
            "No measurement here has the times of its operators.",
            hint="Measure with: mobile-bench run --operators --binary benchmark_model MODEL",
        )
    titles = [column.title for column in table.columns]
    writers: dict[str, Any] = {
        "markdown": lambda: layout.markdown_text_of(table),
        "latex": lambda: layout.latex_text(table),
        "csv": lambda: layout.csv_text(
            [dict(zip(titles, line, strict=True)) for line in table.lines]
        ),
        "html": lambda: as_html(
            rows, title="Operators", table=table, caption="Time of every kind of operator"
        ),
    }
    if as_ == "terminal" and out is None:
        print_parts(layout.terminal(table))
    else:
        write_text(writers.get(as_, writers["markdown"])(), out)


def _lay_out(
    as_: str,
    rows: Sequence[Row],
    lines: Sequence[PaperLine] | None,
    series: Sequence[Series],
    metric: str,
    out: Path | None,
    empty: str | None = None,
) -> None:
    """Write a table to a file or to stdout.

    Args:
        lines: of the table for a paper, instead of that of ``rows``.
        empty: why there are no rows, if there are none.
    """
    from .. import layout
    from ..paper import paper_grid
    from ..plot import svg_plot
    from ..report import as_csv, as_html, grid
    from .console import print_parts

    if as_ == "csv":
        write_text(
            as_csv(rows) if lines is None else layout.csv_text([o.to_dict() for o in lines]), out
        )
        return
    table = grid(rows) if lines is None else paper_grid(lines)
    if as_ == "html":
        drawn = svg_plot(series, metric=metric) if can_plot(series) else None
        says = {} if lines is None else {"caption": "Our latencies beside the published figures"}
        page = as_html(
            rows, title="Measured latencies", plot=drawn, table=table, empty=empty, **says
        )
        write_text(page, out)
    elif as_ == "terminal" and out is None:
        print_parts(layout.terminal(table))
    else:
        write = layout.latex_text if as_ == "latex" else layout.markdown_text_of
        write_text(write(table), out)


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


def can_plot(series: Sequence[Series]) -> bool:
    """Whether there are points, and matplotlib to draw them."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None and any(one.points for one in series)


def write_text(text: str, out: Path | None) -> None:
    """To stdout, or to a file, and say so."""
    from ...errors import StoreError
    from ...system.files import write_whole
    from .console import print_written

    if out is None:
        typer.echo(text, nl=False)
        return
    write_whole(out, text.encode(), error=StoreError)
    print_written(out)


def compare(
    baseline: Annotated[
        str, typer.Argument(help="A store file, a label, or a model.", show_default=False)
    ],
    candidate: Annotated[str, typer.Argument(help="The same.", show_default=False)],
    store: Store = Path("mobile-bench.jsonl"),
    threshold: Annotated[
        float,
        number(
            within=Range(0, 1000),
            help="Exit code 1 if the candidate is slower by more than this share, 0 if it is not, "
            "3 if the measurements cannot tell.",
        ),
    ] = 0.05,
    flagged: Flagged = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Ratio of medians, candidate to baseline, with its 95 % interval, which decides."""
    from ..compare import compare_sides, select_side
    from .console import print_notes, print_pairs

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
