"""The zoo as a table: what we count beside what the paper prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cost import Cost
    from .entry import ModelEntry

__all__ = ["ZooRow", "list_zoo"]


@dataclass(frozen=True)
class ZooRow:
    """One model of the zoo; parameters and MACs (at ``size``) in millions, accuracy in percent."""

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
        """JSON-ready."""
        return {**vars(self), "size": list(self.size)}


def list_zoo() -> list[ZooRow]:
    """One row per model of the zoo, sorted by name."""
    from . import table
    from .stored_costs import stored_cost

    rows = []
    for entry in table.entries():
        counted = stored_cost(entry.name, entry.size, entry.num_classes) or _measured(entry)
        rows.append(
            ZooRow(
                name=entry.name,
                family=entry.family,
                size=entry.size,
                params_m=counted.parameters / 1e6,
                macs_m=counted.macs / 1e6,
                paper_params_m=entry.published.params_m,
                paper_macs_m=entry.published.macs_m,
                paper_top1=entry.published.top1,
                paper_miou=entry.published.miou,
                paper_box_ap=entry.published.box_ap,
                source=entry.published.source,
            )
        )
    return rows


def _measured(entry: ModelEntry) -> Cost:
    from .cost import measure_entry

    return measure_entry(entry)
