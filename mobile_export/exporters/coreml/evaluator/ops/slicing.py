"""MIL op reference: slice_by_index, slice_by_size, slice_update (iOS 18), crop."""

from __future__ import annotations

import torch

from ..table import Bools, Ints, Tensor, op

__all__: list[str] = []


def _indices(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Bools | None,
    end_mask: Bools | None,
    squeeze_mask: Bools | None,
) -> tuple[list[range], list[int]]:
    """What is taken of every axis, and the axes that disappear. Numpy's rules for negative numbers.

    A mask makes the begin or the end the extreme one for the direction of the stride.
    """
    none = (False,) * x.dim()
    begin_mask, end_mask = begin_mask or none, end_mask or none
    squeeze_mask = squeeze_mask or none
    ranges = []
    for axis, size in enumerate(x.shape):
        step = stride[axis] if stride is not None else 1
        if squeeze_mask[axis]:
            first = 0 if begin_mask[axis] else begin[axis]
            first += size if first < 0 else 0
            if not 0 <= first < size:
                raise IndexError(f"index {begin[axis]} is outside of axis {axis} of size {size}")
            ranges.append(range(first, first + 1))
            continue
        start = None if begin_mask[axis] else begin[axis]
        stop = None if end_mask[axis] else end[axis]
        ranges.append(range(*slice(start, stop, step).indices(size)))
    return ranges, [axis for axis, squeezed in enumerate(squeeze_mask) if squeezed]


def _take(x: Tensor, ranges: list[range]) -> Tensor:
    for axis, span in enumerate(ranges):
        if span.step == 1:
            x = x.narrow(axis, span.start, len(span)) if len(span) else x.narrow(axis, 0, 0)
        else:
            x = x.index_select(axis, torch.tensor(span, dtype=torch.int64))
    return x


def _end_is_open(
    x: Tensor,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    **_: object,
) -> str | None:
    """Whether a slice runs backwards from a masked begin, or to an end in front of the axis."""
    for axis, step in enumerate(stride or ()):
        masked = begin_mask is not None and begin_mask[axis]
        before = end[axis] < -x.shape[axis] and not (end_mask is not None and end_mask[axis])
        if step < 0 and (masked or before):
            return (
                "where a slice with a negative stride begins that has a begin mask (the reference:"
                " at 0; numpy: at the last), or ends in front of the axis"
            )
    return None


@op("slice_by_index", unsettled=_end_is_open)
def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """x[begin:end:stride] on every axis, axes of ``squeeze_mask`` indexed by ``begin``."""
    ranges, squeezed = _indices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    result = _take(x, ranges)
    return result.squeeze(squeezed) if squeezed else result


@op("slice_by_size")
def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """``size`` elements from ``begin`` on every axis, -1 for all that follow."""
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        length = x.shape[axis]
        first += length if first < 0 else 0
        x = x.narrow(axis, first, length - first if count == -1 else count)
    return x


@op("slice_update")
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """A copy of x in which the slice (as in ``slice_by_index``) is ``update``."""
    ranges, _ = _indices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    grid = torch.meshgrid(
        *(torch.tensor(span, dtype=torch.int64) for span in ranges), indexing="ij"
    )
    result = x.clone()
    result[grid] = update.reshape([len(span) for span in ranges])
    return result


@op("crop")
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """The last two axes without (before, after) elements."""
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]
