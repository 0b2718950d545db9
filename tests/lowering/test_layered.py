"""Tests `exporters.row.LAYERED`: what ncnn and TNN take whole has a rule in the lowering."""

from __future__ import annotations

import mobile_export.lowering.lower
from mobile_export.exporters.row import LAYERED
from mobile_export.lowering.table import RULES


def test_every_operator_has_a_rule() -> None:
    assert mobile_export.lowering.lower
    known = {target._schema.name.split("::")[1] for target in RULES if hasattr(target, "_schema")}
    assert sorted(set(LAYERED) - known) == []
