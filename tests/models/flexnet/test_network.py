"""FlexNet against the official code (rjbruin/flexconv@0f355d1, models/ckresnet.py)."""

from __future__ import annotations

import pytest
import torch

from mobile_export.models import table
from mobile_export.models.flexnet.network import LARGEST, FlexConv
from tests.models.official import Official

OFFICIAL = Official("flexnet")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked([]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec, constants="mask_threshold")


def test_parameters_are_the_papers() -> None:
    published = table.get("flexnet_7").published.params_m
    assert OFFICIAL.golden["flexnet_7"]["params"] / 1e6 == pytest.approx(published, rel=0.01)


def test_kernels_are_as_large_as_the_mask_says() -> None:
    """§3.1: cropped where the Gaussian is below a tenth, both ends alike."""
    module = FlexConv(3, 4)
    with torch.no_grad():
        module.mask_params.copy_(torch.tensor([[0.1, 0.1], [0.0, 0.5]]))
    assert module.kernel().shape == (4, 3, LARGEST, LARGEST)
    module.eval()
    line = torch.linspace(-1, 1, LARGEST)
    far = 0.1 + 0.1 * (2 * torch.log(torch.tensor(10.0))) ** 0.5
    rows = int((line.abs() < far).sum())
    assert 1 < rows < LARGEST
    assert module.kernel().shape == (4, 3, rows, LARGEST)
