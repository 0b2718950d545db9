"""SeaFormer++ (KD) against Table 2 of its paper and its upsampler written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mobile_export.models.seaformerpp.distilled import Upsampler, seaformerpp_tiny_kd_seg
from tests.models.costs import cost_of


@pytest.mark.parametrize(
    ("name", "params_m", "macs_g"),
    [
        ("seaformerpp_tiny_kd_seg", 2.3, 0.3),
        ("seaformerpp_small_kd_seg", 5.0, 0.5),
        ("seaformerpp_base_kd_seg", 10.2, 0.9),
        ("seaformerpp_large_kd_seg", 17.1, 2.9),
    ],
)
def test_agrees_with_table_2(name: str, params_m: float, macs_g: float) -> None:
    cost = cost_of(name)
    assert cost.parameters / 1e6 == pytest.approx(params_m, rel=0.03)
    assert round(cost.macs / 1e9, 1) == macs_g, "Table 2 prints one digit"


def test_upsampler_by_hand() -> None:
    torch.manual_seed(0)
    module = Upsampler(4, 3).double().eval()
    x = torch.randn(1, 4, 3, 4, dtype=torch.float64)
    guide = torch.randn(1, 3, 6, 8, dtype=torch.float64)
    with torch.no_grad():
        wide = F.interpolate(module.expand(x), scale_factor=2, mode="bilinear")
        weights = module.gate.c.weight[:, :, 0, 0]
        scores = torch.einsum("oi,bihw->bohw", weights, guide) / (1 + 1e-5) ** 0.5
        expected = module.refine(wide * ((scores + 3).clamp(0, 6) / 6))
        torch.testing.assert_close(module(x, guide), expected)
    assert module.expand.conv[0].c.weight.shape == (16, 4, 1, 1)
    assert module.refine.conv[0].c.weight.shape == (8, 4, 1, 1)


@pytest.mark.parametrize("size", [(1, 1), (64, 96), (65, 97)])
def test_any_input_size(size: tuple[int, int]) -> None:
    height, width = size
    image = torch.randn(1, 3, height, width)
    module = seaformerpp_tiny_kd_seg(num_classes=5).eval()
    with torch.no_grad():
        logits = module(image)
        module.output = "labels"
        labels = module(image)
    assert logits.shape == (1, 5, -(-height // 8), -(-width // 8))
    assert labels.shape == (1, height, width)


def test_refuses_what_it_cannot_build() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        seaformerpp_tiny_kd_seg(num_classes=0)


def test_captures_as_one_static_graph() -> None:
    module = seaformerpp_tiny_kd_seg().eval()
    x = torch.randn(1, 3, 128, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
