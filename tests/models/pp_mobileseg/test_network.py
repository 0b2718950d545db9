"""PP-MobileSeg against the official code (PaddlePaddle/PaddleSeg@d7975e7, Paddle 3.3.1).

The official code is no module of PyTorch: each of its weights was found here under another name and
given the value of ``fill.py``; the golden outputs are Paddle's, in float64.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("pp_mobileseg")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.golden))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)
