"""Counted parameters and MACs against the papers' and against arithmetic."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export.models import table
from mobile_export.models.cost import (
    Cost,
    default_classes,
    measure,
    measure_entry,
    measure_named,
    stored_cost,
)
from mobile_export.models.papers import paper_rows
from tests.models.costs import cost_of

# The fvcore tables at the head of the official training logs (resources/EMO_*/log_train.txt).
LOGGED_PARAMS_M = {"emo_1m": 1.361, "emo_2m": 2.377, "emo_5m": 5.109, "emo_6m": 6.168}


@pytest.mark.parametrize("name", sorted(LOGGED_PARAMS_M))
def test_emo_agrees_with_table_7(name: str) -> None:
    published = table.get(name).published
    cost = measure_entry(table.get(name))
    assert cost.macs / 1e6 == pytest.approx(published.macs_m, rel=0.02)
    assert round(cost.macs / 1e6) == published.macs_m, "to the last digit"
    # Table 7 cuts parameters off after one decimal (1.361 M is printed as 1.3).
    assert math.floor(cost.parameters / 1e5) / 10 == published.params_m
    assert cost.parameters / 1e6 == pytest.approx(LOGGED_PARAMS_M[name], rel=1e-3)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        # out · H · W · in · k · k
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (1, 3, 16, 20), 8 * 8 * 10 * 3 * 9),
        (nn.Conv2d(8, 8, 5, padding=2, groups=8), (1, 8, 7, 9), 8 * 7 * 9 * 25),
        (nn.ConvTranspose2d(4, 6, 2, stride=2), (1, 4, 5, 5), 4 * 5 * 5 * 6 * 4),
        (nn.Linear(12, 7), (1, 12), 12 * 7),
        (nn.Linear(12, 7), (1, 5, 12), 5 * 12 * 7),
        (nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1)), (1, 3, 8, 8), 0),
    ],
)
def test_products(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert measure(module, shape).macs == macs


@pytest.mark.parametrize(
    ("module", "shape", "norm"),
    [
        (nn.BatchNorm2d(4), (1, 4, 3, 5), 2 * 60),
        (nn.LayerNorm(6), (1, 7, 6), 5 * 42),
        (nn.LayerNorm(6, elementwise_affine=False), (1, 7, 6), 4 * 42),
        (nn.GroupNorm(2, 4), (1, 4, 3, 5), 5 * 60),
    ],
)
def test_norms_as_fvcore_counts_them(module: nn.Module, shape: tuple[int, ...], norm: int) -> None:
    cost = measure(module, shape)
    assert (cost.macs, cost.norm_macs) == (norm, norm)


class Attention(nn.Module):
    """softmax(x xᵀ) x, written out or through PyTorch's fused function."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.fused:
            return F.scaled_dot_product_attention(x, x, x)
        return (x @ x.transpose(-2, -1)).softmax(-1) @ x


@pytest.mark.parametrize("fused", [False, True])
def test_attention_products_count(fused: bool) -> None:
    heads, tokens, width = 3, 10, 8
    cost = measure(Attention(fused), (1, heads, tokens, width))
    assert cost == Cost(parameters=0, macs=2 * heads * tokens * tokens * width, norm_macs=0)


def test_the_module_is_left_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    cost = measure(module, (1, 3, 8, 8))
    assert cost.parameters == 3 * 4 + 4 + 4 + 4
    assert module.training
    for key, value in module.state_dict().items():
        assert value.device.type == "cpu"
        torch.testing.assert_close(value, before[key])


def test_a_module_with_hidden_tensors_is_run_for_real() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tables = [torch.ones(4, 4)]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.tables[0]

    assert measure(Hidden(), (1, 4)).macs == 16


def test_refused_shape_is_the_modules_own_error() -> None:
    with pytest.raises(RuntimeError):
        measure(nn.Conv2d(3, 4, 1), (1, 5, 8, 8))


@pytest.mark.parametrize("entry", table.entries(), ids=lambda entry: entry.name)
def test_stored_counts_are_fresh(entry: table.ModelEntry) -> None:
    """If not: python scripts/count_models.py"""
    stored = stored_cost(entry.name, entry.size, entry.num_classes)
    assert stored == cost_of(entry.name)


def test_stored_counts_hold_every_size_of_the_papers() -> None:
    names = set(table.names())
    rows = [row for row in paper_rows() if row.name in names and row.size is not None]
    assert len(rows) > 100
    for row in rows:
        assert row.name is not None
        assert row.size is not None
        classes = row.classes or table.get(row.name).num_classes
        assert stored_cost(row.name, row.size, classes) is not None
    module = table.get("seaformer_small_seg").build(num_classes=19)
    counted = measure(module, (1, 3, 512, 1024))
    assert stored_cost("seaformer_small_seg", (512, 1024), 19) == counted


NAMED = [
    (row.name, row.size, row.classes or default_classes(row.name))
    for row in paper_rows()
    if row.name and row.size
]
OF_LIBRARIES = sorted({each for each in NAMED if "/" in each[0]}, key=str)
COMPOSED = sorted({each for each in NAMED if "+" in each[0] and "/" not in each[0]}, key=str)


@pytest.mark.parametrize(
    ("name", "size", "classes"),
    [
        pytest.param(*each, marks=() if index % 10 == 3 else (pytest.mark.matrix,))
        for index, each in enumerate(OF_LIBRARIES + COMPOSED)
    ],
)
def test_stored_counts_of_the_papers_rows_are_fresh(
    name: str, size: tuple[int, int], classes: int | None
) -> None:
    """If not: python scripts/count_models.py"""
    for library in ("timm", "torchvision"):
        if name.startswith(f"{library}/"):
            pytest.importorskip(library)
    assert stored_cost(name, size, classes) == measure_named(name, size, classes)


def test_timms_mobilenet_is_as_its_paper_prints() -> None:
    """MobileNetV3-Large: 5.4 M parameters, 219 M MACs (Howard et al. 2019, Table 3)."""
    stored = stored_cost("timm/mobilenetv3_large_100", (224, 224), None)
    assert stored is not None
    assert stored.parameters / 1e6 == pytest.approx(5.4, rel=0.02)
    assert (stored.macs - stored.norm_macs) / 1e6 == pytest.approx(219, rel=0.02)


def test_what_was_never_counted_is_not_stored() -> None:
    assert stored_cost("emo_1m", (1, 1), 3) is None
    assert stored_cost("emo_1m", (224, 224), 999) is None
