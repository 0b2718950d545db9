"""U²-Net† against the official code (xuebinqin/U-2-Net@ac7e1c8): the first output."""

from __future__ import annotations

import pytest
import torch

from mobile_export.errors import UsageError
from mobile_export.models import table
from tests.models.official import Official, same_weights

OFFICIAL = Official("u2net")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["u2netp"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_outputs_of_a_saliency_model() -> None:
    logits, mask, labels = same_weights(
        "u2netp", "output=logits", "output=probabilities", "output=labels", size=(33, 50)
    )
    torch.testing.assert_close(mask, logits.sigmoid())
    assert labels.dtype == torch.int64
    assert labels.shape == (1, 33, 50)
    assert torch.equal(labels, (mask[:, 0] > 0.5).long())


@pytest.mark.parametrize("size", [(1, 1), (33, 70)])
def test_any_input_size(size: tuple[int, int]) -> None:
    module = table.get("u2netp").build().eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
    assert torch.isfinite(output).all()
    assert output.shape == (1, 1, *size)


def test_an_output_that_is_refused() -> None:
    with pytest.raises(UsageError, match="output is 'mask'"):
        table.get("u2netp").build(output="mask")
