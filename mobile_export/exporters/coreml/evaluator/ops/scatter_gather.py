"""MIL op reference: scatter_gather.

Before iOS 17 a negative index counts from the end. From then on, where ``validate_indices`` exists,
it is out of bounds: an error when indices are validated, undefined otherwise; here it still counts
from the end, and is not settled. An index outside of [-size, size) is an error in every release.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..table import Tensor, op

__all__: list[str] = []

_UPDATES: dict[str, Callable[[Any, Any, Any], None]] = {
    "add": np.add.at,
    "sub": np.subtract.at,
    "mul": np.multiply.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
    "update": lambda array, where, values: array.__setitem__(where, values),
}


def _negative_is_open(
    indices: Tensor, validate_indices: bool | None = None, **_: object
) -> str | None:
    """Whether iOS 17 leaves the result undefined."""
    if validate_indices is None or not bool((indices < 0).any()):
        return None
    return "negative indices are out of bounds since iOS 17; before, they counted from the end"


_LAST_IS_OPEN = "which of several updates of one place stays: here the last"


def _scatter_is_open(
    data: Tensor,
    indices: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
    **_: object,
) -> str | None:
    places = indices.remainder(data.shape[axis]).flatten().tolist()
    if mode == "update" and len(set(places)) < len(places):
        return _LAST_IS_OPEN
    return _negative_is_open(indices, validate_indices)


def _scatter_along_is_open(
    data: Tensor,
    indices: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
    **_: object,
) -> str | None:
    places = indices.remainder(data.shape[axis]).sort(axis).values
    if mode == "update" and bool((places.diff(dim=axis) == 0).any()):
        return _LAST_IS_OPEN
    return _negative_is_open(indices, validate_indices)


def _scatter_nd_is_open(
    data: Tensor,
    indices: Tensor,
    mode: str = "add",
    validate_indices: bool | None = None,
    **_: object,
) -> str | None:
    depth = indices.shape[-1]
    places = indices.reshape(-1, depth).remainder(torch.tensor(data.shape[:depth])).tolist()
    if mode == "update" and len(set(map(tuple, places))) < len(places):
        return _LAST_IS_OPEN
    return _negative_is_open(indices, validate_indices)


@op("gather", unsettled=_negative_is_open)
def gather(
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool | None = None,
) -> Tensor:
    """Slices of x along ``axis``; the first ``batch_dims`` axes of both go together."""
    axis %= x.dim()
    index = _positive(indices, x.shape[axis], validate_indices)
    if batch_dims == 0:
        taken = x.index_select(axis, index.flatten())
        return taken.reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))
    batch = x.shape[:batch_dims]
    rows = x.reshape(-1, *x.shape[batch_dims:])
    picks = index.reshape(rows.shape[0], -1)
    taken = torch.stack(
        [row.index_select(axis - batch_dims, pick) for row, pick in zip(rows, picks, strict=True)]
    )
    return taken.reshape(
        *batch, *x.shape[batch_dims:axis], *index.shape[batch_dims:], *x.shape[axis + 1 :]
    )


@op("gather_along_axis", unsettled=_negative_is_open)
def gather_along_axis(
    x: Tensor, indices: Tensor, axis: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """result[p…, i, q…] = x[p…, indices[p…, i, q…], q…]."""
    return torch.gather(x, axis, _positive(indices, x.shape[axis], validate_indices))


@op("gather_nd", unsettled=_negative_is_open)
def gather_nd(
    x: Tensor, indices: Tensor, batch_dims: int = 0, validate_indices: bool | None = None
) -> Tensor:
    """The slices of x at the index vectors in the last axis of ``indices``."""
    depth = indices.shape[-1]
    batch = x.shape[:batch_dims]
    rows = x.reshape(math.prod(batch), *x.shape[batch_dims:])
    picks = indices.reshape(math.prod(batch), -1, depth)
    taken = torch.stack(
        [
            row[_vectors(pick, row.shape, validate_indices)]
            for row, pick in zip(rows, picks, strict=True)
        ]
    )
    return taken.reshape((*indices.shape[:-1], *x.shape[batch_dims + depth :]))


@op("scatter", unsettled=_scatter_is_open)
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """The slices data[…, indices[i], …] combined with updates[…, i, …]."""
    axis %= data.dim()
    where = (slice(None),) * axis + (
        _positive(indices, data.shape[axis], validate_indices).numpy(),
    )
    return _combine(data, where, updates, mode)


@op("scatter_along_axis", unsettled=_scatter_along_is_open)
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """data[p…, indices[p…, i, q…], q…] combined with updates[p…, i, q…]."""
    axis %= data.dim()
    where = list(np.indices(tuple(indices.shape), sparse=True))
    where[axis] = _positive(indices, data.shape[axis], validate_indices).numpy()
    return _combine(data, tuple(where), updates, mode)


@op("scatter_nd", unsettled=_scatter_nd_is_open)
def scatter_nd(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: bool | None = None,
) -> Tensor:
    """The slices of data at the index vectors in ``indices``' last axis, combined with updates."""
    vectors = _vectors(indices, data.shape, validate_indices)
    return _combine(data, tuple(vector.numpy() for vector in vectors), updates, mode)


def _combine(data: Tensor, where: Any, updates: Tensor, mode: str) -> Tensor:
    if mode not in _UPDATES:
        raise ValueError(f"mode {mode!r} is none of {', '.join(_UPDATES)}")
    result = data.clone()
    array = result.numpy()  # the same memory
    if mode == "div" and not result.is_floating_point():
        array = array.astype(np.float64)
        _UPDATES[mode](array, where, updates.numpy())
        return torch.from_numpy(array)
    _UPDATES[mode](array, where, updates.numpy())
    return result


def _positive(indices: Tensor, size: int, validated: bool | None) -> Tensor:
    wide = indices.to(torch.int64)
    low = 0 if validated else -size
    if wide.numel() and not low <= int(wide.min()) <= int(wide.max()) < size:
        raise IndexError(f"an index is outside of [{low}, {size})")
    return torch.where(wide < 0, wide + size, wide)


def _vectors(indices: Tensor, shape: torch.Size, validated: bool | None) -> tuple[Tensor, ...]:
    return tuple(_positive(indices[..., i], shape[i], validated) for i in range(indices.shape[-1]))
