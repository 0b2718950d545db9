"""Tables that a model's code keeps between calls do not reach the float64 reference."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.graph.kept_results import fresh_caches


@functools.lru_cache
def steps(count: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.linspace(0, 1, count, dtype=dtype) / 3


class OfTheModule(nn.Module):
    """As many: a function of the file keeps the table."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2,)) * steps(x.shape[3], torch.float32)


class OfTheInstance(nn.Module):
    """As RT-DETR of transformers: the cache is made when it is needed, on the instance."""

    def table(self, count: int) -> torch.Tensor:
        return torch.linspace(0, 1, count) / 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling():
            return x.mean((2,)) * self.table(x.shape[3])
        if not hasattr(self, "_cached"):
            self._cached: Any = functools.lru_cache(self.table)
        return x.mean((2,)) * self._cached(x.shape[3])


class OfTheClass(nn.Module):
    """A decorated method."""

    @functools.lru_cache  # noqa: B019 - that is what is tested
    def table(self, count: int) -> torch.Tensor:
        return torch.linspace(0, 1, count) / 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2,)) * self.table(x.shape[3])


@pytest.mark.parametrize("kind", [OfTheModule, OfTheInstance, OfTheClass])
def test_a_kept_table_is_no_difference(kind: type[nn.Module], tmp_path: Path) -> None:
    """The eager run fills it in float32, before the reference."""
    model = kind().eval()
    model(torch.zeros(1, 3, 8, 8))
    report = mobile_export.export(model, "onnx", out_dir=tmp_path, size=8)
    assert report.artifacts[0].parity.status == "passed"


def test_caches_are_empty_on_both_sides() -> None:
    model = OfTheModule()
    model(torch.zeros(1, 3, 8, 8))
    assert steps.cache_info().currsize
    with fresh_caches(model):
        assert not steps.cache_info().currsize
        model(torch.zeros(1, 3, 8, 8))
    assert not steps.cache_info().currsize
