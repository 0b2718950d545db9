"""InternImage and FlashInternImage against their official code.

OpenGVLab/InternImage@31c962d with its own operator of PyTorch, whose grid was made in float64; of
OpenGVLab/DCNv4@4b848f7 the operator exists for CUDA alone: the reference follows the kernel
(dcnv4_im2col_cuda.cuh), every corner of every point by itself.
"""

from __future__ import annotations

import pytest

from tests.models.official import Official

OFFICIAL = Official("internimage")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", sorted(OFFICIAL.golden))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)
