"""SparseNet against the official code (Lyken17/SparseNet@9744862, src/pytorch/denselink.py)."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from mobile_export.models.sparsenet.network import aggregated
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("sparsenet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["sparsenet_bc_100_24"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_papers() -> None:
    published = table.get("sparsenet_bc_100_24").published.params_m
    assert cost_of("sparsenet_bc_100_24").parameters / 1e6 == pytest.approx(published, rel=0.01)


def test_what_is_aggregated() -> None:
    """Figure 1 of the paper: 1, 2, 4, 8, … before."""
    assert aggregated([0, 1]) == [1, 0]
    assert aggregated(list(range(9))) == [8, 7, 5, 1]
