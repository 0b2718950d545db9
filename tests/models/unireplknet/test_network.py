"""UniRepLKNet against the official code (AILab-CVC/UniRepLKNet@b5677d8, unireplknet.py)."""

from __future__ import annotations

import pytest

from mobile_export.models import table
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("unireplknet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["unireplknet_a"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_counts_are_the_papers_when_branches_and_norms_are_merged() -> None:
    """The official code counts 4,437,300 parameters of its merged form (``deploy=True``)."""
    published, counted = table.get("unireplknet_a").published, cost_of("unireplknet_a")
    blocks = [(40, 2, 3), (80, 2, 13), (160, 6, 13), (320, 2, 13)]
    merged, macs = counted.parameters, counted.macs - counted.norm_macs
    for stage, (dim, depth, kernel) in enumerate(blocks):
        side = 56 // 2**stage
        # Gone: scale, two norms, the bias of the response norm; come: two biases.
        merged -= depth * (dim + 2 * 2 * dim + 4 * dim - 2 * dim)
        if kernel == 13:
            weights = dim * (5**2 + 7**2 + 3 * 3**2)
            merged -= depth * (weights + 6 * 2 * dim)
            macs -= depth * weights * side**2
    assert merged == 4_437_300
    assert published.params_m == pytest.approx(merged / 1e6, rel=0.01)
    assert published.macs_m is not None
    assert round(macs / 1e9, 1) == published.macs_m / 1e3, "printed with one digit"
