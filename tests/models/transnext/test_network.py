"""TransNeXt against the official code (DaiShiResearch/TransNeXt@c8a9974, its PyTorch path).

Images of 64x64, positions scaled as in training at 224x224.
"""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.cost import measure
from tests.models.official import Official

OFFICIAL = Official("transnext")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["transnext_micro"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize("name", sorted(OFFICIAL.shapes))
def test_counts_are_the_papers(name: str) -> None:
    """What is printed has the networks of positions in it, which a second image does not add."""
    entry = table.get(name)
    with torch.device("meta"):
        counted = measure(entry.build(), entry.input_shape())
    published = entry.published
    assert published.params_m is not None
    assert published.macs_m is not None
    assert counted.parameters / 1e6 == pytest.approx(published.params_m, rel=0.01)
    assert counted.macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)
