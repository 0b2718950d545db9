"""EMO's segmenters against the official code and Table 10; see `heads`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.errors import UsageError, WeightsError
from mobile_export.models import table
from mobile_export.sources.weights import load_weights
from tests.models.emo.heads import (
    GOLDEN,
    SEGMENTERS,
    SHAPES,
    assert_sampled,
    check_state_dict,
    mmcv_flops,
    run,
    values_of,
)

QUICK = ("emo_1m_deeplabv3", "emo_5m_pspnet")


@pytest.mark.parametrize("name", SEGMENTERS)
def test_state_dict_is_the_official_one(name: str) -> None:
    check_state_dict(name)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.matrix) for name in SEGMENTERS],
)
def test_logits_are_the_official_ones(name: str) -> None:
    assert_sampled(run(name), GOLDEN[name]["logits"])


@pytest.mark.parametrize("name", SEGMENTERS)
def test_flops_of_table_10(name: str) -> None:
    """mmcv prints two digits; Table 10 cuts the second (5.89 is 5.8 there)."""
    printed = table.get(name).published.macs_m
    assert printed is not None
    assert f"{mmcv_flops(name) / 1e9:.2f}"[:-1] == f"{printed / 1e3:.1f}"


@pytest.mark.parametrize("name", SEGMENTERS)
def test_parameters_of_table_10(name: str) -> None:
    """It counts the auxiliary head: a 3x3 convolution to 256 channels, and 150 classes."""
    with torch.device("meta"):
        count = sum(p.numel() for p in table.get(name).build().parameters())
    dim = SHAPES[name]["backbone.stage3.1.norm.norm.weight"][0]
    with_auxiliary = count + 9 * dim * 256 + 2 * 256 + 257 * 150
    assert with_auxiliary / 1e6 == pytest.approx(table.get(name).published.params_m, rel=0.02)


def test_the_auxiliary_head_of_a_checkpoint_is_left_out(tmp_path: Path) -> None:
    name = "emo_1m_pspnet"
    state = values_of(name) | {"auxiliary_head.conv_seg.bias": torch.zeros(150)}
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, tmp_path / "seg.pth")
    info = load_weights(table.get(name).build(), tmp_path / "seg.pth")
    assert any("1 tensors that only training uses" in note for note in info.notes)
    with pytest.raises(WeightsError, match="does not fit") as caught:
        load_weights(table.get("emo_2m_pspnet").build(), tmp_path / "seg.pth")
    assert caught.value.hint == "This checkpoint fits emo_1m_pspnet."


@pytest.mark.parametrize("options", [{"output": "masks"}, {"num_classes": 0}])
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"must be"):
        table.get("emo_1m_pspnet").build(**options)
