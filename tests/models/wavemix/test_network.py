"""WaveMix against the official code (pranavphoenix/WaveMix@ba3d1b4, wavemix/classification.py).

The wavelet's filters, which that makes in PyTorch's default type, were made in float64.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("wavemix")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["wavemix_256_16"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)
