"""The rows of `mobile-export list`: what we count for a model beside what is printed about it.

`list_zoo` has the built-in models, `list_papers` (`list --papers`) every model in the tables of
`papers`. Neither imports torch while the stored counts (`cost.stored_cost`) suffice; timm's models,
which only the papers' tables name, are counted anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..system.install import install_command
from . import cost, table
from .cost import Cost
from .entry import ModelEntry
from .papers import PaperRow, paper_rows

__all__ = ["CountedPaperRow", "ZooRow", "list_papers", "list_zoo"]


@dataclass(frozen=True)
class ZooRow:
    """One built-in model.

    Attributes:
        size: (height, width) in pixels for which MACs are counted.
        params_m: our count of parameters in millions; ``paper_params_m`` is the printed one.
        macs_m: our count of multiply-accumulates in millions; ``paper_macs_m`` the printed one.
        paper_top1, paper_miou, paper_box_ap: printed accuracy in percent; None: none of its kind.
        source: where the printed figures stand.
    """

    name: str
    family: str
    size: tuple[int, int]
    params_m: float
    macs_m: float
    paper_params_m: float | None
    paper_macs_m: float | None
    paper_top1: float | None
    paper_miou: float | None
    paper_box_ap: float | None
    source: str

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return {**vars(self), "size": list(self.size)}


@dataclass(frozen=True)
class CountedPaperRow:
    """A row of a paper's table with our own count.

    Attributes:
        row: what is printed.
        params_m, macs_m: our count in millions; None if there is none.
        reason: why there is no count; empty if there is one.
    """

    row: PaperRow
    params_m: float | None
    macs_m: float | None
    reason: str

    @property
    def differs(self) -> bool:
        """Our parameters or MACs are more than 5 % off the printed ones; the remark says why."""
        pairs = ((self.params_m, self.row.params_m), (self.macs_m, self.row.macs_m))
        return any(ours and paper and abs(ours / paper - 1) > 0.05 for ours, paper in pairs)

    def to_dict(self) -> dict[str, Any]:
        """The row as JSON has it; the printed figures have ``paper_`` in front."""
        row = self.row
        return {
            "paper": row.paper,
            "table": row.table,
            "model": row.model,
            "head": row.head,
            "size": None if row.size is None else list(row.size),
            "classes": row.classes,
            "paper_params_m": row.params_m,
            "paper_macs_m": row.macs_m,
            "metric": row.metric,
            "paper_value": row.value,
            "name": row.name,
            "params_m": self.params_m,
            "macs_m": self.macs_m,
            "reason": self.reason,
            "remark": row.remark,
        }


def list_zoo() -> list[ZooRow]:
    """One row per built-in model, sorted by name."""
    return [_zoo_row(entry) for entry in table.entries()]


def _zoo_row(entry: ModelEntry) -> ZooRow:
    counted = _count_built_in(entry, entry.size, None)
    published = entry.published
    return ZooRow(
        name=entry.name,
        family=entry.family,
        size=entry.size,
        params_m=counted.parameters / 1e6,
        macs_m=counted.macs / 1e6,
        paper_params_m=published.params_m,
        paper_macs_m=published.macs_m,
        paper_top1=published.top1,
        paper_miou=published.miou,
        paper_box_ap=published.box_ap,
        source=published.source,
    )


def list_papers(stage: Callable[[str], None] = lambda _: None) -> list[CountedPaperRow]:
    """Every row of the papers' tables with our count at the table's input size.

    Args:
        stage: told each network that is being counted; counting timm's takes a minute.
    """
    counted: dict[tuple[object, ...], Cost | str] = {}
    rows = []
    for row in paper_rows():
        if row.name is None or row.size is None:
            reason = row.reason or "the input size is not told"
            rows.append(CountedPaperRow(row, None, None, reason))
            continue
        key = (row.name, row.size, row.classes)
        if key not in counted:
            stage(f"counting {row.name}")
            counted[key] = _count(row.name, row.size, row.classes)
        found = counted[key]
        if isinstance(found, str):
            rows.append(CountedPaperRow(row, None, None, found))
        else:
            rows.append(CountedPaperRow(row, found.parameters / 1e6, found.macs / 1e6, ""))
    return rows


def _count(name: str, size: tuple[int, int], classes: int | None) -> Cost | str:
    """The cost of a network, or why it cannot be told."""
    if not name.startswith("timm/"):
        return _count_built_in(table.get(name), size, classes)
    try:
        import timm
        from timm.utils import reparameterize_model
    except ImportError:
        return f"timm is not installed; run: {install_command('timm')}"
    model_name = name.removeprefix("timm/")
    if model_name not in timm.list_models():
        return f"the installed timm {timm.__version__} does not have it"
    # Papers count the branches of MobileOne, FastViT and their like merged, as they run on phones.
    module = reparameterize_model(timm.create_model(model_name).eval())
    return cost.measure(module, (1, 3, *size))


def _count_built_in(entry: ModelEntry, size: tuple[int, int], classes: int | None) -> Cost:
    """The stored count, or a new one for a size or a number of classes that is not stored."""
    stored = cost.stored_cost(entry.name, size, classes or entry.num_classes)
    return stored or cost.measure_entry(entry, size, classes)
