"""What `mobile-export list` prints: the built-in models, or those in the papers' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.terminal import escape, plain_table, stdout_console

if TYPE_CHECKING:
    from ..models.listing import CountedPaperRow, ZooRow

__all__ = ["print_papers", "print_zoo"]


def print_zoo(rows: list[ZooRow]) -> None:
    """Print the built-in models: our counts, and in brackets the papers'."""
    numbers = ("size", "params M", "MACs M", "accuracy")
    table = plain_table("model", *numbers, "source", right=numbers)
    for row in rows:
        accuracies = (
            ("top-1", row.paper_top1),
            ("mIoU", row.paper_miou),
            ("box AP", row.paper_box_ap),
        )
        table.add_row(
            row.name,
            _shown_size(row.size),
            _beside(row.params_m, row.paper_params_m, 3),
            _beside(row.macs_m, row.paper_macs_m, 0),
            "".join(f"{value:.1f} {metric}" for metric, value in accuracies if value is not None),
            escape(row.source),
        )
    out = stdout_console()
    out.print(table)
    out.print("In brackets what the source prints; the accuracy is the source's, too.")
    out.print(
        "Papers print few digits, and some cut instead of rounding: EMO's Table 7 has 1.3 for 1.36."
    )
    out.print("Any timm model is there as timm/NAME; your own code as package.module:factory.")


def print_papers(rows: list[CountedPaperRow]) -> None:
    """Print the models in the papers' tables: our counts, the printed figures, the name here."""
    from ..models.papers import PAPERS

    numbers = ("size", "params M", "MACs M", "accuracy")
    table = plain_table("table", "model", *numbers, "here", right=numbers)
    for counted in rows:
        row = counted.row
        table.add_row(
            row.place,
            escape(_model(counted)),
            "" if row.size is None else _shown_size(row.size),
            _beside(counted.params_m, row.params_m, 2),
            _beside(counted.macs_m, row.macs_m, 0) + ("*" if counted.differs else " "),
            "" if row.value is None else f"{row.value:g} {row.metric}",
            escape(row.name or f"not available: {counted.reason}"),
        )
    out = stdout_console()
    out.print(table)
    out.print("In brackets what the table prints; the accuracy is the table's, too.")
    for short, full in PAPERS.items():
        out.print(f"{short}: {full}", soft_wrap=True)
    off = [counted for counted in rows if counted.differs]
    if off:
        out.print("* Our count is more than 5 % off the printed one:")
    for counted in off:
        row = counted.row
        line = f"  {row.place}, {_model(counted)}: {row.remark}"
        out.print(escape(line), soft_wrap=True)


def _model(counted: CountedPaperRow) -> str:
    row = counted.row
    return f"{row.model} + {row.head}" if row.head else row.model


def _shown_size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _beside(ours: float | None, paper: float | None, digits: int) -> str:
    """ "1.361 (1.3)"; empty if there is neither."""
    parts = ("" if ours is None else f"{ours:.{digits}f}", "" if paper is None else f"({paper:g})")
    return " ".join(filter(None, parts))
