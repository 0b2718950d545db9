"""Context Cluster against the official code (ma-xu/Context-Cluster@be9a03b, context_cluster.py).

The positions, which that makes in PyTorch's default type, were made in float64.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("coc")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["coc_tiny"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)
