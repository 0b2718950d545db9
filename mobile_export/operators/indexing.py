"""Choosing and placing elements, as plain PyTorch of the operators' own schemas."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .sums import along, prod_along

__all__ = [
    "diag",
    "diag_embed",
    "diagflat",
    "diagonal",
    "diagonal_scatter",
    "embedding_bag",
    "index_add",
    "index_copy",
    "index_fill",
    "index_put",
    "index_reduce",
    "masked_scatter",
    "nonzero_static",
    "put",
    "rot90",
    "scatter",
    "scatter_add",
    "scatter_reduce",
    "slice_scatter",
    "take",
    "take_along_dim",
    "unfold",
    "unpool",
]

LARGEST = 1 << 20
"""Elements of a comparison of every place with every index."""


def unfold(x: Tensor, dim: int, size: int, step: int) -> Tensor:
    """Windows along ``dim`` as a last axis: elements of stored indices."""
    if not x.ndim:
        return x.reshape(size)
    dim %= x.ndim
    count = (x.shape[dim] - size) // step + 1
    index = torch.tensor([i * step + j for i in range(count) for j in range(size)])
    rows = torch.index_select(x, dim, index)
    shape = [*x.shape[:dim], count, size, *x.shape[dim + 1 :]]
    return rows.reshape(shape).movedim(dim + 1, -1)


def diagonal(x: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """A diagonal of two axes as a last one: elements of stored indices."""
    a, b = dim1 % x.ndim, dim2 % x.ndim
    rest = [axis for axis in range(x.ndim) if axis not in (a, b)]
    rows, columns = x.shape[a], x.shape[b]
    places = [(i, i + offset) for i in range(rows) if 0 <= i + offset < columns]
    flat = x.permute([*rest, a, b]).reshape([*(x.shape[axis] for axis in rest), rows * columns])
    return torch.index_select(flat, -1, torch.tensor([i * columns + j for i, j in places]))


def diag_embed(x: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """The last axis on a diagonal of zeros."""
    size = x.shape[-1] + abs(offset)
    rank = x.ndim + 1
    before, behind = max(-offset, 0), max(offset, 0)
    line = torch.nn.functional.pad(x, (before, behind)) if offset else x
    rows = torch.arange(size)
    on = (rows.unsqueeze(1) + offset) == rows.unsqueeze(0)
    matrix = torch.where(on, line.unsqueeze(-1), torch.zeros((), dtype=x.dtype))
    return matrix.movedim((-2, -1), (dim1 % rank, dim2 % rank))


def diag(x: Tensor, diagonal_of: int = 0) -> Tensor:
    """A diagonal of a matrix, or a matrix of a diagonal."""
    return diag_embed(x, diagonal_of) if x.ndim == 1 else diagonal(x, diagonal_of)


def diagflat(x: Tensor, offset: int = 0) -> Tensor:
    """All elements on a diagonal of zeros."""
    return diag_embed(x.reshape(-1), offset)


def diagonal_scatter(x: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """x with ``src`` on a diagonal."""
    a, b = dim1 % x.ndim, dim2 % x.ndim
    rows, columns = x.shape[a], x.shape[b]
    moved = x.movedim((a, b), (-2, -1))
    start = max(-offset, 0)
    index = torch.tensor([min(max(i - start, 0), src.shape[-1] - 1) for i in range(rows)])
    line = torch.index_select(src, -1, index).unsqueeze(-1)
    on = (torch.arange(rows).unsqueeze(1) + offset) == torch.arange(columns).unsqueeze(0)
    return torch.where(on, line, moved).movedim((-2, -1), (a, b))


def rot90(x: Tensor, k: int = 1, dims: Any = (0, 1)) -> Tensor:
    """A quarter turn from the first of ``dims`` to the second, ``k`` times."""
    a, b = dims
    turns = k % 4
    if turns == 0:
        return x
    if turns == 2:
        return torch.flip(x, [a, b])
    return torch.flip(x, [b]).transpose(a, b) if turns == 1 else torch.flip(x.transpose(a, b), [b])


def take(x: Tensor, index: Tensor) -> Tensor:
    """Elements of all axes as one."""
    flat = torch.index_select(x.reshape(-1), 0, index.reshape(-1) % x.numel())
    return flat.reshape(index.shape)


def take_along_dim(x: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` of shapes that broadcast."""
    if dim is None:
        return take(x, indices.reshape(-1))
    dim %= x.ndim
    wanted = [max(a, b) for a, b in zip(x.shape, indices.shape, strict=True)]
    size = [
        n if axis == dim else w for axis, (n, w) in enumerate(zip(x.shape, wanted, strict=True))
    ]
    places = [
        n if axis == dim else w
        for axis, (n, w) in enumerate(zip(indices.shape, wanted, strict=True))
    ]
    return torch.gather(x.expand(size), dim, indices.expand(places))


def _rows(index: Tensor, size: int) -> Tensor:
    """(size, n): 1 where row r is ``index[i]``."""
    return torch.arange(size).unsqueeze(1) == (index.reshape(-1) % size).unsqueeze(0)


def index_fill(x: Tensor, dim: int, index: Tensor, value: Any) -> Tensor:
    """x with ``value`` at the places of ``index``."""
    if not x.ndim:
        return torch.full_like(x, value)
    hit = _rows(index, x.shape[dim]).any(1)
    mask = along(hit, x, dim)
    return torch.where(mask, value, x)


def index_add(x: Tensor, dim: int, index: Tensor, source: Tensor, *, alpha: Any = 1) -> Any:
    """x and a product of ``source`` with the 0-1 matrix of ``index``."""
    if not x.ndim or not source.ndim:
        return NotImplemented
    rows = _rows(index, x.shape[dim]).to(x.dtype)
    added = torch.matmul(source.movedim(dim, -1), rows.transpose(0, 1)).movedim(-1, dim)
    return x + (added if alpha == 1 else added * alpha)


def index_copy(x: Tensor, dim: int, index: Tensor, source: Tensor) -> Any:
    """x with rows of ``source`` at the places of ``index``, which are distinct."""
    if not x.ndim or not source.ndim:
        return NotImplemented
    rows = _rows(index, x.shape[dim])
    placed = torch.matmul(source.movedim(dim, -1), rows.to(x.dtype).transpose(0, 1))
    mask = along(rows.any(1), x, dim)
    return torch.where(mask, placed.movedim(-1, dim), x)


def index_put(x: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    """x with ``values`` at ``indices``: a mask, or whole numbers of axes that stand side by side.

    Of an index that is there twice, the last counts, as on PyTorch's CPU.
    """
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    chosen = [indices[axis] for axis in axes]
    if accumulate or axes != list(range(axes[0], axes[0] + len(axes))):
        return NotImplemented
    if all(index.dtype == torch.bool for index in chosen):
        return _put_mask(x, axes[0], chosen[0], values) if len(axes) == 1 else NotImplemented
    if any(index.dtype == torch.bool for index in chosen):
        return NotImplemented
    lead, sizes, rest = x.shape[: axes[0]], x.shape[axes[0] :][: len(axes)], x.shape[axes[-1] + 1 :]
    place = torch.zeros((), dtype=torch.int64)
    for index, size in zip(chosen, sizes, strict=True):
        place = place * size + torch.where(index < 0, index + size, index)
    rows, count = math.prod(sizes), place.numel()
    if not count or rows * count > LARGEST:
        return NotImplemented
    values = values.expand([*lead, *place.shape, *rest]).reshape([*lead, count, *rest])
    here = place.reshape(1, -1) == torch.arange(rows).unsqueeze(1)
    last = torch.where(here, torch.arange(count), -1).amax(1)
    row = torch.where(last < 0, torch.arange(rows), last + rows)
    both = torch.cat([x.reshape([*lead, rows, *rest]), values], axes[0])
    return torch.index_select(both, axes[0], row).reshape(x.shape)


def _put_mask(x: Tensor, axis: int, mask: Tensor, values: Tensor) -> Any:
    """x with ``values`` where a mask of the axes from ``axis`` on is true."""
    behind = x.ndim - axis - mask.ndim
    if not axis and not behind and values.numel() != 1:
        return masked_scatter(x, mask, values)
    shape = [*[1] * (axis + 1 + behind - values.ndim), *values.shape]
    if len(shape) != axis + 1 + behind or shape[axis] != 1:
        return NotImplemented
    values = values.reshape([*shape[:axis], *[1] * mask.ndim, *shape[axis + 1 :]])
    return torch.where(mask.reshape([*mask.shape, *[1] * behind]), values, x)


def slice_scatter(
    x: Tensor, src: Tensor, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Any:
    """x with ``src`` in every ``step``-th place of a part of an axis."""
    size = x.shape[dim]
    places = range(*slice(start, end, step).indices(size))
    if not places:
        return x
    if step == 1:
        first, last = places[0], places[-1] + 1
        parts = [x.narrow(dim, 0, first), src, x.narrow(dim, last, size - last)]
        kept = [part for part in parts if part.shape[dim]]
        return kept[0] if len(kept) == 1 else torch.cat(kept, dim)
    row = list(range(size))
    for number, place in enumerate(places):
        row[place] = size + number
    return torch.index_select(torch.cat([x, src], dim), dim, torch.tensor(row))


def masked_scatter(x: Tensor, mask: Tensor, source: Tensor) -> Tensor:
    """x with the elements of ``source``, in order, where ``mask`` is true."""
    mask = mask.expand(x.shape)
    order = torch.cumsum(mask.reshape(-1).to(torch.int64), 0) - 1
    taken = torch.index_select(source.reshape(-1), 0, order.clamp(0, source.numel() - 1))
    return torch.where(mask, taken.reshape(x.shape), x)


def unpool(x: Tensor, indices: Tensor, output_size: Any, *_: Any) -> Any:
    """Zeros with x at ``indices`` of each plane.

    The last of what has the same index, as on PyTorch's CPU.
    """
    axes = len(output_size)
    places = 1
    for size in output_size:
        places *= size
    lead = x.shape[:-axes]
    if x.numel() * places > LARGEST:
        return NotImplemented
    values = x.reshape([*lead, 1, -1])
    index = indices.reshape([*lead, 1, -1])
    here = index == torch.arange(places).reshape(-1, 1)
    return _last(here, values).sum(-1).reshape([*lead, *output_size])


def _last(here: Tensor, values: Tensor) -> Tensor:
    """(…, places, n): ``values`` (…, 1, n) where ``here`` is true last, else 0."""
    order = torch.arange(1, here.shape[-1] + 1, dtype=values.dtype)
    zero = torch.zeros_like(values)
    placed = torch.where(here, order, zero)
    last = placed.amax(-1, True)
    return torch.where(torch.logical_and(here, placed == last), values, zero)


# Scatter ----------------------------------------------------------------------------------------


def _lines(x: Tensor, dim: int, index: Tensor, source: Any) -> Any:
    """x (…, n), the index as a mask (…, n, m), the source (…, 1, m): with ``dim`` last."""
    dim %= x.ndim
    rest = [
        (a, b) for axis, (a, b) in enumerate(zip(x.shape, index.shape, strict=True)) if axis != dim
    ]
    if any(a != b for a, b in rest) or x.shape[dim] * index.numel() > LARGEST:
        return None
    if isinstance(source, Tensor):
        for axis, size in enumerate(index.shape):
            source = source.narrow(axis, 0, size) if source.shape[axis] != size else source
        source = source.movedim(dim, -1).unsqueeze(-2)
    else:
        source = torch.full_like(index, source, dtype=x.dtype).movedim(dim, -1).unsqueeze(-2)
    here = index.movedim(dim, -1).unsqueeze(-2) == torch.arange(x.shape[dim]).reshape(-1, 1)
    return x.movedim(dim, -1), here, source


def scatter_add(x: Tensor, dim: int, index: Tensor, src: Tensor) -> Any:
    """x and the sums of what has the index of a place."""
    return scatter_reduce(x, dim, index, src, "sum")


def scatter(x: Tensor, dim: int, index: Tensor, src: Any) -> Any:
    """x with the last of what has the index of a place."""
    lines = _lines(x, dim, index, src) if x.ndim else None
    if lines is None:
        return NotImplemented
    x, here, source = lines
    any_of = here.any(-1)
    return torch.where(any_of, _last(here, source).sum(-1), x).movedim(-1, dim)


def scatter_reduce(
    x: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """Sum, product, mean, largest or smallest of what has the index of a place, and of x itself."""
    lines = _lines(x, dim, index, src) if x.ndim else None
    if lines is None or not x.is_floating_point():
        return NotImplemented
    x, here, source = lines
    one, zero = torch.ones_like(source), torch.zeros_like(source)
    hit = here.any(-1)
    if reduce in ("sum", "mean"):
        y = torch.where(here, source, zero).sum(-1)
        count = torch.where(here, one, zero).sum(-1)
        y, count = (y + x, count + 1) if include_self else (y, count)
        y = y / count.clamp(min=1) if reduce == "mean" else y
    elif reduce == "prod":
        y = prod_along(torch.where(here, source, one), -1)
        y = y * x if include_self else y
    elif reduce == "amax":
        y = torch.where(here, source, source.reshape(-1).amin(0)).amax(-1)
        y = torch.maximum(x, y) if include_self else y
    else:
        y = torch.where(here, source, source.reshape(-1).amax(0)).amin(-1)
        y = torch.minimum(x, y) if include_self else y
    return torch.where(hit, y, x).movedim(-1, dim)


def index_reduce(
    x: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Any:
    """`scatter_reduce` of whole rows."""
    if not x.ndim:
        return NotImplemented
    places = along(index, x, dim).expand(source.shape)
    return scatter_reduce(x, dim, places, source, reduce, include_self=include_self)


def put(x: Tensor, index: Tensor, source: Tensor, accumulate: bool = False) -> Any:
    """`scatter` of all axes as one."""
    flat, places = x.reshape(-1), index.reshape(-1) % x.numel()
    function = scatter_add if accumulate else scatter
    y = function(flat, 0, places, source.reshape(-1))
    return y if y is NotImplemented else y.reshape(x.shape)


# Bags and places --------------------------------------------------------------------------------


def embedding_bag(
    weight: Tensor, indices: Tensor, offsets: Tensor, scale_grad_by_freq: bool = False,
    mode: int = 0, sparse: bool = False, per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False, padding_idx: int | None = -1,
) -> Any:  # fmt: skip
    """Sums, means or maxima of rows: by the 0-1 matrix of which bag an index is in.

    Bag b begins at ``offsets[b]``; mode 0 is the sum, 1 the mean, 2 the largest; of an empty bag 0.
    """
    if indices.ndim != 1:
        return NotImplemented
    if include_last_offset:
        offsets = offsets.narrow(0, 0, offsets.shape[0] - 1)
    places = torch.arange(indices.shape[0]).unsqueeze(0)
    begun = torch.where(places >= offsets.unsqueeze(1), torch.ones(()), torch.zeros(()))
    left = torch.cat([begun.narrow(0, 1, begun.shape[0] - 1), torch.zeros_like(begun[:1])])
    within = (begun - left).to(weight.dtype)
    if padding_idx is not None and padding_idx >= 0:
        within = within * (indices != padding_idx).to(weight.dtype).unsqueeze(0)
    rows = torch.index_select(weight, 0, indices)
    if mode == 2:
        if within.numel() * rows.shape[1] > LARGEST:
            return NotImplemented
        return (_largest_within(within, rows),)
    if mode == 1:
        within = within / within.sum(1, True).clamp(min=1)
    if per_sample_weights is not None:
        within = within * per_sample_weights.unsqueeze(0)
    return (torch.matmul(within, rows),)


def _largest_within(within: Tensor, rows: Tensor) -> Tensor:
    """(bags, width): the largest of the rows (n, width) that a bag has, by the mask (bags, n)."""
    least = rows.amin(0, keepdim=True)
    inside = within.unsqueeze(2) > 0
    largest = torch.where(inside, rows.unsqueeze(0), least.unsqueeze(0)).amax(1)
    return torch.where(within.sum(1, True) > 0, largest, torch.zeros_like(largest))


def nonzero_static(x: Tensor, *, size: int, fill_value: int = -1) -> Any:
    """The places of the first ``size`` elements that are not 0, then ``fill_value``."""
    if not x.ndim or x.numel() * size > LARGEST or not x.is_floating_point():
        return NotImplemented
    zero = torch.zeros_like(x).reshape(-1)
    counted = torch.where(x.reshape(-1) == 0, zero, torch.ones_like(zero))
    rank = torch.cumsum(counted, 0) * counted - 1
    slots = torch.arange(size, dtype=x.dtype).unsqueeze(1)
    here = rank.unsqueeze(0) == slots
    found = slots.squeeze(1) < counted.sum()
    axes, step = [], x.numel()
    for length in x.shape:
        step //= length
        place = torch.arange(x.numel()) // step % length
        value = torch.where(here, place.to(x.dtype), zero.unsqueeze(0)).sum(1)
        axes.append(torch.where(found, value, torch.full_like(value, fill_value)))
    return torch.stack(axes, 1).to(torch.int64)
