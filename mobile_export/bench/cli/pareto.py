"""``mobile-bench pareto``: which files of a model are worth shipping."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, Force, Layout, Out, Store, Verbose

if TYPE_CHECKING:
    from ..layout import Grid
    from ..pareto import Candidate
    from ..plot import Series

__all__ = ["pareto"]

_TITLE = "Files worth shipping"


def pareto(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...|FILE...|FOLDER...",
            help="Models: their files in the current folder and the folders in it; or files, or "
            "folders of files.",
            show_default=False,
        ),
    ],
    store: Store = Path("mobile-bench.jsonl"),
    by: Annotated[str, typer.Option(help="How near a file is: sqnr or agreement.")] = "sqnr",
    cost: Annotated[
        str | None,
        typer.Option(
            help="What a file costs: time or instructions; time where a file was timed.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "-d",
            "--device",
            help="Whose measurements; that which has most of the files.",
            show_default=False,
        ),
    ] = None,
    as_: Layout = "terminal",
    out: Out = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw it: a .png, .svg, .pdf or .pgf file.", show_default=False),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Name the files that are worth shipping: none other is as quick and as near to the model."""
    from ...errors import UsageError
    from ..journal import read_all
    from ..pareto import COSTS, NEARNESS, candidates, files_of, grid, series
    from ..plot import save_plot
    from ..report import FORMATS
    from .console import print_notes, print_parts, print_written
    from .tables import require_free, write_text

    for word, given, valid in (
        ("--by", by, tuple(NEARNESS)),
        ("--cost", cost, COSTS),
        ("--as", as_, FORMATS),
    ):
        if given is not None and given not in valid:
            raise UsageError(f"There is no {word} {given!r}.", hint=f"Valid: {', '.join(valid)}.")
    require_free([out, plot], force=force)
    contents = read_all(store)
    print_notes(contents.notes)
    kind = next((each for each in COSTS if each == cost), None)
    found, unit = candidates(
        files_of(models), contents.measurements, near=by, cost=kind, device=device
    )
    drawn = series(found, by=by)
    labels = (_COST_LABELS[unit], _NEAR_LABELS[by])
    if plot is not None:
        save_plot(drawn, plot, labels=labels)
        print_written(plot)
    table = grid(found, by=by, cost=unit)
    if as_json:
        write_text(json.dumps([each.to_dict() for each in found], indent=2) + "\n", out)
    elif as_ == "terminal" and out is None:
        from ..layout import terminal

        print_parts(terminal(table))
    else:
        write_text(_laid_out(as_, found, table, drawn, labels), out)


_COST_LABELS = {
    "time": "latency of one inference, ms (logarithmic)",
    "instructions": "instructions of one inference, millions (logarithmic)",
}
_NEAR_LABELS = {"sqnr": "SQNR, dB", "agreement": "best classes kept, %"}


def _laid_out(
    as_: str,
    found: Sequence[Candidate],
    table: Grid,
    drawn: Sequence[Series],
    labels: tuple[str, str],
) -> str:
    from .. import layout
    from ..plot import svg_plot
    from ..report import page
    from .tables import can_plot

    if as_ == "csv":
        return layout.csv_text([each.to_dict() for each in found])
    if as_ == "html":
        figure = svg_plot(drawn, labels=labels) if can_plot(drawn) else None
        return page(_TITLE, layout.html_table(table, _TITLE), figure)
    write = layout.latex_text if as_ == "latex" else layout.markdown_text_of
    return write(table)
