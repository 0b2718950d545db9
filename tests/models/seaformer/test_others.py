"""Other attentions in SeaFormer-T: the figures of SeaFormer++'s Table 9, and where they look."""

from __future__ import annotations

import pytest
import torch

from mobile_export.errors import UsageError
from mobile_export.models import table
from mobile_export.models.cost import measure_named
from mobile_export.models.seaformer.others import OTHERS

SPEC = "seaformer_tiny_seg?attention="


@pytest.mark.parametrize(
    ("attention", "params_m", "macs_g", "off"),
    [
        ("conv", 1.6, 0.59, 0.03),
        ("local", 1.3, 0.60, 0.04),
        ("axial", 1.6, 0.63, 0.03),
        ("global", 1.3, 0.61, 0.03),
        ("acmix", 1.3, 0.60, 0.03),
        ("mixformer", 1.3, 0.60, 0.042),
    ],
)
def test_counts_are_near_those_of_table_9(
    attention: str, params_m: float, macs_g: float, off: float
) -> None:
    """Parameters as printed with one digit; FLOPs within 3 %, or as far off as the remark says."""
    counted = measure_named(f"{SPEC}{attention}", (512, 512), 150)
    assert round(counted.parameters / 1e6, 1) == params_m
    assert counted.macs / 1e9 == pytest.approx(macs_g, rel=off)


@pytest.mark.parametrize(
    ("attention", "sees"),
    [
        # the column of pixel (0, 0), its row, its window of 4x4, any other window
        ("local", (False, False, True, False)),
        ("axial", (True, True, False, False)),
        ("global", (True, True, True, True)),
    ],
)
def test_what_a_pixel_sees(attention: str, sees: tuple[bool, ...]) -> None:
    torch.manual_seed(0)
    module = OTHERS[attention](32, 16, 4)
    x = torch.randn(1, 32, 8, 8)
    before = module(x)[0, :, 0, 0]
    for (row, column), expected in zip([(5, 0), (0, 5), (2, 2), (5, 5)], sees, strict=True):
        changed = x.clone()
        changed[:, :, row, column] += 1
        differs = bool((module(changed)[0, :, 0, 0] - before).abs().max() > 1e-6)
        assert differs == expected, (row, column)


def test_options_of_sea_attention_do_not_go_with_others() -> None:
    entry = table.get("seaformer_tiny_seg")
    with pytest.raises(UsageError, match="enhance is of SEA attention"):
        entry.build(attention="local", enhance="none")
