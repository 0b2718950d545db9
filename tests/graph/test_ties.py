"""Equal elements are ordered by their index: NumPy's stable sort is the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.graph.float64 import run_float64
from mobile_export.graph.ties import TiesInOrder
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import Sample

X = torch.randint(0, 4, (3, 40), generator=torch.Generator().manual_seed(0)).float()
UP = np.argsort(X.numpy(), axis=1, kind="stable")
DOWN = np.argsort(-X.numpy(), axis=1, kind="stable")


@pytest.mark.parametrize(
    ("function", "indices"),
    [
        (lambda x: x.sort(1), UP),
        (lambda x: torch.sort(x, dim=1, descending=True, stable=False), DOWN),
        (lambda x: x.argsort(1), UP),
        (lambda x: x.topk(7, 1), DOWN[:, :7]),
        (lambda x: x.T.topk(7, 0, largest=False, sorted=False), UP.T[:7]),
        (lambda x: x.kthvalue(11, 1), UP[:, 10]),
        (lambda x: x.kthvalue(11, 1, keepdim=True), UP[:, 10:11]),
        (lambda x: x.median(1), UP[:, 19]),
        (lambda x: x.nanmedian(1), UP[:, 19]),
    ],
)
def test_the_lowest_index_comes_first(
    function: Callable[[torch.Tensor], Any], indices: np.ndarray
) -> None:
    for result in (run_float64(function, X), _ordered(function)):
        got = result if isinstance(result, torch.Tensor) else result[1]
        assert np.array_equal(got.numpy(), indices)
        if not isinstance(result, torch.Tensor):
            assert torch.equal(result[0].float(), function(X)[0])


def _ordered(function: Callable[[torch.Tensor], Any]) -> Any:
    with TiesInOrder():  # type: ignore[no-untyped-call]
        return function(X)


@pytest.mark.parametrize("rows", [20, 30])  # beyond 25, PyTorch multiplies matrices
def test_distances_are_of_differences(rows: int) -> None:
    x = torch.randn(rows, 6, generator=torch.Generator().manual_seed(0))
    y = x.double().numpy()
    exact = np.sqrt(((y[:, None] - y[None, :7]) ** 2).sum(-1))
    got = run_float64(lambda x: torch.cdist(x, x[:7]), x).numpy()
    assert np.abs(got - exact).max() < 1e-14
    single = _ordered(lambda _: torch.cdist(x, x[:7])).numpy()
    assert np.abs(single - exact).max() < 1e-5


def test_a_nan_is_the_median() -> None:
    x = X.clone()
    x[1, 5] = torch.nan
    values, places = run_float64(lambda y: y.median(1), x)
    assert values.isnan().tolist() == [False, True, False]
    assert places[1] == 5
    assert torch.equal(run_float64(lambda y: y.nanmedian(1)[0], x).float(), x.nanmedian(1)[0])


def test_one_number_is_its_own_largest() -> None:
    assert [part.item() for part in run_float64(lambda x: x[0, 0].topk(1), X)] == [X[0, 0], 0]


class _Largest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).topk(9).indices


def test_float32_agrees_with_float64_where_elements_are_equal() -> None:
    image = X.reshape(1, 1, 3, 40)
    reference = make_reference(_Largest(), [Sample("pixels", image)])
    assert reference.float32_error == 0
    expected = np.argsort(-image.reshape(1, -1).numpy(), axis=1, kind="stable")[:, :9]
    assert np.array_equal(reference.outputs[0][0], expected)
