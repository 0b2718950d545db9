"""What `mobile-export list` prints: the built-in models, or those in the papers' tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..system.tables import plain_table
from ..system.terminal import escape, stdout_console
from .messages import said_of_options

if TYPE_CHECKING:
    from ..models.listing import CountedPaperRow, ZooRow
    from ..sources.facts import ModelFacts

__all__ = ["print_model", "print_papers", "print_zoo"]


def print_zoo(rows: list[ZooRow]) -> None:
    """Print the built-in models: our counts, and in brackets the papers'."""
    numbers = ("size", "params M", "MACs M", "accuracy")
    table = plain_table(
        "model", *numbers, "source", right=numbers, whole=("model",), spare=("size", "accuracy")
    )
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
    out.print(
        "Any timm model is there as timm/NAME, torchvision's as torchvision/NAME, transformers' as "
        "hf/ORG/NAME; your own code as package.module:factory."
    )


def print_papers(rows: list[CountedPaperRow]) -> None:
    """Print the models in the papers' tables: our counts, the printed figures, the name here."""
    from ..models.papers import PAPERS

    numbers = ("size", "params M", "MACs M", "accuracy")
    table = plain_table(
        "table", "model", *numbers, "here", right=numbers, spare=("size", "accuracy")
    )
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


def print_model(facts: ModelFacts) -> None:
    """Print what is known of a model by its name."""
    out = stdout_console()
    table = plain_table("", "", header=False)

    def add(name: str, value: str) -> None:
        if value:
            table.add_row(name, escape(value))

    add("model", facts.name)
    add("family", facts.family)
    add("task", facts.task or "")
    add("input", f"{'x'.join(map(str, facts.input_shape))}, {facts.channel_order}")
    add("heights and widths", facts.sizes)
    add("mean", ", ".join(f"{value:.4g}" for value in facts.mean))
    add("std", ", ".join(f"{value:.4g}" for value in facts.std))
    add("pictures", facts.recipe or "")
    add("classes", "" if facts.num_classes is None else str(facts.num_classes))
    for key, values in facts.options.items():
        typed = ", ".join(f"?{key}={value}" for value in values)
        add(f"option {key}", f"{typed} (the first is the default)")
    add("parameters", "" if facts.params_m is None else f"{facts.params_m:.3f} M")
    add("MACs", "" if facts.macs_m is None else f"{facts.macs_m:.0f} M")
    for place in facts.weights or ("not public, or not known here",):
        add("weights", said_of_options(place))
    add("others of it", ", ".join(facts.variants))
    out.print(table)
    if facts.printed:
        numbers = ("size", "params M", "MACs M", "accuracy")
        printed = plain_table("printed in", *numbers, right=numbers)
        for row in facts.printed:
            printed.add_row(
                escape(row.place),
                "" if row.size is None else _shown_size(row.size),
                "" if row.params_m is None else f"{row.params_m:g}",
                "" if row.macs_m is None else f"{row.macs_m:g}",
                "" if row.value is None else f"{row.value:g} {row.metric}",
            )
        out.print(printed)


def _model(counted: CountedPaperRow) -> str:
    row = counted.row
    return f"{row.model} + {row.head}" if row.head else row.model


def _shown_size(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _beside(ours: float | None, paper: float | None, digits: int) -> str:
    """ "1.361 (1.3)"; empty if there is neither."""
    parts = ("" if ours is None else f"{ours:.{digits}f}", "" if paper is None else f"({paper:g})")
    return " ".join(filter(None, parts))
