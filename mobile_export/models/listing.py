"""The rows of `mobile-export list`: what we count for a model beside what is printed about it.

`list_zoo` has the built-in models, `list_papers` (`list --papers`) every model in the tables of
`papers`. Neither imports torch while the stored counts (`cost.stored_cost`) suffice.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError, summary
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


def list_zoo(pattern: str | None = None) -> list[ZooRow]:
    """One row per built-in model, sorted by name.

    Args:
        pattern: of the names, as a shell has it; None: all. A word without ``*?[`` may stand
            anywhere in the name.

    Raises:
        UsageError: no name is like that.
    """
    chosen = [entry for entry in table.entries() if _like(pattern, entry.name)]
    if not chosen:
        raise _none_like(pattern)
    return [_zoo_row(entry) for entry in chosen]


def _like(pattern: str | None, *names: str | None) -> bool:
    """Whether a pattern is that of one of the names, in any case."""
    if pattern is None:
        return True
    whole = pattern.lower() if set(pattern) & set("*?[") else f"*{pattern.lower()}*"
    return any(fnmatch.fnmatchcase(name.lower(), whole) for name in names if name)


def _none_like(pattern: str | None) -> UsageError:
    return UsageError(
        f"No name is like {pattern!r}.",
        hint="Give a name, a part of one, or a pattern such as 'emo*'; without it, all are listed.",
    )


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


def list_papers(
    pattern: str | None = None, stage: Callable[[str], None] = lambda _: None
) -> list[CountedPaperRow]:
    """Every row of the papers' tables with our count at the table's input size.

    Args:
        pattern: as in `list_zoo`, of the table's names and ours; None: all.
        stage: told each network that is being counted.

    Raises:
        UsageError: no name is like that.
    """
    counted: dict[tuple[object, ...], Cost | str] = {}
    rows = []
    chosen = [row for row in paper_rows() if _like(pattern, row.model, row.name)]
    if not chosen:
        raise _none_like(pattern)
    for row in chosen:
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
    if stored := cost.stored_cost(name, size, classes or cost.default_classes(name)):
        return stored
    try:
        return cost.measure_named(name, size, classes)
    except ImportError:
        library = "torchvision" if name.startswith(cost.TORCHVISION) else "timm"
        return f"{library} is not installed; run: {install_command(library)}"
    except RuntimeError as error:  # timm's, for an unknown model
        return summary(error)


def _count_built_in(entry: ModelEntry, size: tuple[int, int], classes: int | None) -> Cost:
    """The stored count, or a new one for a size or a number of classes that is not stored."""
    stored = cost.stored_cost(entry.name, size, classes or entry.num_classes)
    return stored or cost.measure_entry(entry, size, classes)
