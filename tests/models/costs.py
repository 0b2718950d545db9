"""Counts of zoo models at their default size, each made once in a test process."""

from __future__ import annotations

from functools import cache

from mobile_export.models import table
from mobile_export.models.cost import Cost, measure_entry

__all__ = ["cost_of"]


@cache
def cost_of(name: str) -> Cost:
    """What `mobile_export.models.cost` counts for a model of the zoo."""
    return measure_entry(table.get(name))
