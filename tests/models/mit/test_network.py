"""MiT against the official code (NVlabs/SegFormer@65fa8cf, mix_transformer.py).

Its head is commented out there; the official files have one, and the reference averages the last
map and applies it.
"""

from __future__ import annotations

import pytest

from mobile_export.models.cost import measure_named
from tests.models.official import Official

OFFICIAL = Official("mit")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["mit_b0", "mit_b1"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


@pytest.mark.parametrize(
    ("name", "params_m", "macs_m"), [("mit_b0", 3.8, 8400), ("mit_b1", 13.7, 15900)]
)
def test_counts_of_segformer_are_the_papers(name: str, params_m: float, macs_m: float) -> None:
    """SegFormer's own Table 1, which SeaFormer++ repeats, at 512x512 with 150 classes."""
    counted = measure_named(f"{name}+segformer", (512, 512), None)
    assert round(counted.parameters / 1e6, 1) == params_m
    assert counted.macs / 1e6 == pytest.approx(macs_m, rel=0.01)
