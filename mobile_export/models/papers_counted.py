"""The seeds' tables as a table: every model that they name, and what we count for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .papers import SeedRow, seed_rows
from .stored_costs import StoredCost, stored_cost

if TYPE_CHECKING:
    from .cost import Cost

__all__ = ["CountedSeedRow", "list_seeds"]


@dataclass(frozen=True)
class CountedSeedRow:
    """A row of a seed with our own count: parameters and MACs in millions.

    Where there is no count, ``reason`` says why.
    """

    row: SeedRow
    params_m: float | None
    macs_m: float | None
    reason: str

    @property
    def differs(self) -> bool:
        """Our parameters or MACs are more than 5 % off the printed ones; the remark says why."""
        pairs = ((self.params_m, self.row.params_m), (self.macs_m, self.row.macs_m))
        return any(ours and paper and abs(ours / paper - 1) > 0.05 for ours, paper in pairs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; the printed figures have ``paper_`` in front."""
        row = self.row
        return {
            "seed": row.seed,
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


def list_seeds(stage: Callable[[str], None] = lambda _: None) -> list[CountedSeedRow]:
    """Every row of the seeds' tables with our count at the table's input size.

    Args:
        stage: told each network that is being counted; counting timm's takes a minute.
    """
    counted: dict[tuple[object, ...], Cost | StoredCost | str] = {}
    rows = []
    for row in seed_rows():
        if row.name is None or row.size is None:
            rows.append(CountedSeedRow(row, None, None, row.reason or "the input size is not told"))
            continue
        key = (row.name, row.size, row.classes)
        if key not in counted:
            stage(f"counting {row.name}")
            counted[key] = _count(row.name, row.size, row.classes)
        cost = counted[key]
        if isinstance(cost, str):
            rows.append(CountedSeedRow(row, None, None, cost))
        else:
            rows.append(CountedSeedRow(row, cost.parameters / 1e6, cost.macs / 1e6, ""))
    return rows


def _count(name: str, size: tuple[int, int], classes: int | None) -> Cost | StoredCost | str:
    """The cost of a network, or why it cannot be told."""
    if not name.startswith("timm/"):
        return _count_zoo(name, size, classes)
    try:
        import timm
        from timm.utils import reparameterize_model
    except ImportError:
        return "timm is not installed; run: pip install 'mobile-export[timm]'"
    model_name = name.removeprefix("timm/")
    if model_name not in timm.list_models():
        return f"the installed timm {timm.__version__} does not have it"
    # Papers count the branches of MobileOne, FastViT and their like merged, as they run on phones.
    from .cost import measure

    return measure(reparameterize_model(timm.create_model(model_name).eval()), (1, 3, *size))


def _count_zoo(name: str, size: tuple[int, int], classes: int | None) -> Cost | StoredCost:
    from . import table

    entry = table.get(name)
    stored = stored_cost(name, size, classes or entry.num_classes)
    if stored is not None:
        return stored
    from .cost import measure_entry

    return measure_entry(entry, size, classes)
