"""SeaFormer++ against the tables of its paper (arXiv 2301.13156) and Equation 4 written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mobile_export.models.seaformer.network import SeaAttention
from mobile_export.models.seaformerpp.network import (
    AdaptiveSeaAttention,
    seaformerpp_tiny,
    seaformerpp_tiny_seg,
)
from tests.models.costs import cost_of


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g"),
    [
        ("seaformerpp_tiny_seg", 1.8, 0.61),  # Table 2; FLOPs of Table 13
        ("seaformerpp_small_seg", 4.1, 1.11),
        ("seaformerpp_base_seg", 8.7, 1.83),
        ("seaformerpp_large_seg", 14.1, 6.5),  # not in Table 13
    ],
)
def test_segmentation_agrees_with_tables_2_and_13(
    name: str, params_m: float, macs_g: float
) -> None:
    cost = cost_of(name)
    assert cost.parameters / 1e6 == pytest.approx(params_m, rel=0.03)
    assert cost.macs / 1e9 == pytest.approx(macs_g, rel=0.03)


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g"),
    [
        ("seaformerpp_tiny", 1.9, 0.1),
        ("seaformerpp_small", 4.2, 0.2),
        ("seaformerpp_base", 8.8, 0.3),
        ("seaformerpp_large", 14.1, 1.2),
    ],
)
def test_classification_agrees_with_table_14(name: str, params_m: float, macs_g: float) -> None:
    cost = cost_of(name)
    assert cost.parameters / 1e6 == pytest.approx(params_m, rel=0.03)
    assert round(cost.macs / 1e9, 1) == macs_g, "Table 14 prints one digit"


def test_masks_of_one_are_seaformer() -> None:
    torch.manual_seed(0)
    adaptive = AdaptiveSeaAttention(8, 3, 2).double().eval()
    plain = SeaAttention(8, 3, 2).double().eval()
    state = {k: v for k, v in adaptive.state_dict().items() if k in plain.state_dict()}
    plain.load_state_dict(state)
    for attention in (adaptive, plain):
        for module in attention.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.weight, 0.7)
    for name, module in adaptive.named_children():
        if name.startswith(("mask_", "expand_")):
            nn.init.zeros_(module.c.weight)
            nn.init.ones_(module.bn.bias)
    x = torch.randn(2, 8, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(adaptive(x), plain(x), rtol=1e-12, atol=1e-12)


def test_squeeze_and_expand_by_hand() -> None:
    """Equation 4 by loops over channels and rows; expansion as the product of token and weight."""
    torch.manual_seed(0)
    attention = AdaptiveSeaAttention(8, 3, 2).double().eval()
    seen: dict[str, list[torch.Tensor]] = {}

    def rows(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen["rows"] = [q, k, v]
        return v.unsqueeze(-1)

    def columns(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        seen["columns"] = [q, k, v]
        return v.unsqueeze(-2)

    attention.attend_rows = rows  # type: ignore[method-assign]
    attention.attend_columns = columns  # type: ignore[method-assign]
    x = torch.randn(1, 8, 4, 5, dtype=torch.float64)
    with torch.no_grad():
        q, v = attention.to_q(x), attention.to_v(x)
        got = attention.axial(x, q, attention.to_k(x), v)
        mask_q, mask_v = attention.mask_rowq(x), attention.mask_columnv(x)
        for channel in range(6):
            for row in range(4):
                weighted = q[0, channel, row] * mask_q[0, channel % 3, row]
                torch.testing.assert_close(seen["rows"][0][0, channel, row], weighted.sum() / 5)
        for channel in range(12):
            for column in range(5):
                weighted = v[0, channel, :, column] * mask_v[0, channel % 6, :, column]
                torch.testing.assert_close(
                    seen["columns"][2][0, channel, column], weighted.sum() / 4
                )
        spread_rows = attention.expand_row(x)[0, 0]
        spread_columns = attention.expand_column(x)[0, 0]
        expected = (
            seen["rows"][2][0, 2, 3] * spread_rows[3, 1]
            + seen["columns"][2][0, 2, 1] * spread_columns[3, 1]
        )
        torch.testing.assert_close(got[0, 2, 3, 1], expected)


def test_any_input_size_and_output() -> None:
    image = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        assert seaformerpp_tiny(num_classes=5).eval()(image).shape == (1, 5)
        labels = seaformerpp_tiny_seg(num_classes=5, output="labels").eval()(image)
    assert labels.shape == (1, 65, 97)


def test_captures_as_one_static_graph() -> None:
    module = seaformerpp_tiny_seg().eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
