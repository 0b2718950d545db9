"""Among equal elements, the one that stands first comes first; distances are of differences.

PyTorch leaves open which index `topk`, `sort`, `kthvalue` and `median` return where the compared
values are equal, and pictures of 8 bits have many equal values. ONNX (TopK) and TFLite (TOPK_V2)
say that the lower index comes first. So does every run that files are compared with: an index has
one right value, and another one is wrong.

`cdist` of many rows multiplies matrices, |a|² + |b|² - 2ab, and what is left of equal points is the
root of the rounding: 1e-8 in float64, 3e-4 in float32. Files have √Σ(a - b)².
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..system.torch_private import TorchDispatchMode

__all__ = ["TiesInOrder", "ties_in_order"]

aten = torch.ops.aten


class TiesInOrder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode under which equal elements are ordered by their index."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        return ties_in_order(func)(*args, **(kwargs or {}))


def ties_in_order(func: Any) -> Callable[..., Any]:
    """``func``, or what returns the same values and the lowest indices."""
    ordered: Callable[..., Any] = _ORDERED.get(func, func)
    return ordered


def _sort(x: torch.Tensor, dim: int = -1, descending: bool = False) -> Any:
    return aten.sort.stable(x, stable=True, dim=dim, descending=descending)


def _sort_stable(
    x: torch.Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    return _sort(x, dim, descending)


def _topk(x: torch.Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    if not x.ndim:
        return aten.topk.default(x, k, dim, largest, sorted)
    values, indices = _sort(x, dim, largest)
    return torch.return_types.topk((values.narrow(dim, 0, k), indices.narrow(dim, 0, k)))


def _kthvalue(x: torch.Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    if not x.ndim:
        return aten.kthvalue.default(x, k, dim, keepdim)
    return _ranked(x, k - 1, dim, keepdim)


def _median(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    if not x.ndim or bool(x.isnan().any()):  # then the NaN is the median
        return aten.median.dim(x, dim, keepdim)
    return _ranked(x, (x.shape[dim] - 1) // 2, dim, keepdim)


def _nanmedian(x: torch.Tensor, dim: int, keepdim: bool = False) -> Any:
    if not x.ndim or bool(x.isnan().any()):
        return aten.nanmedian.dim(x, dim, keepdim)
    return _ranked(x, (x.shape[dim] - 1) // 2, dim, keepdim)


def _ranked(x: torch.Tensor, rank: int, dim: int, keepdim: bool) -> Any:
    found = [part.narrow(dim, rank, 1) for part in _sort(x, dim)]
    return tuple(part if keepdim else part.squeeze(dim) for part in found)


def _euclidean(x: torch.Tensor, y: torch.Tensor) -> Any:
    return aten._cdist_forward.default(x, y, 2.0, _BY_DIFFERENCES)


_BY_DIFFERENCES = 2
"""PyTorch's ``compute_mode`` "donot_use_mm_for_euclid_dist"."""

_ORDERED: dict[Any, Callable[..., Any]] = {
    aten.sort.default: _sort,
    aten.sort.stable: _sort_stable,
    aten.topk.default: _topk,
    aten.kthvalue.default: _kthvalue,
    aten.median.dim: _median,
    aten.nanmedian.dim: _nanmedian,
    aten._euclidean_dist.default: _euclidean,
}
