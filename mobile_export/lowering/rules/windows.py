"""Lowerings of pools that runtimes lack: three spatial axes, dilation, the places of maxima."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from ...graph.ops import as_list
from ..builder import Builder
from ..table import Call, lowers
from ..view import View
from .comparing import above
from .elementwise import LARGEST, binary
from .gathering import gather
from .linear import linear
from .moving import narrow, pad

__all__ = ["adaptive_max_by_taps", "max_by_taps"]

aten = torch.ops.aten

_TAPS = 256
"""Elements of a window whose largest is found one by one."""

Taps = Sequence[Callable[[View], View]]
"""For each position in a window, what takes the elements there of all windows along one axis."""


@lowers(aten.avg_pool3d.default)
def _avg_pool3d(call: Call) -> View:
    """A product with a stored matrix along each axis."""
    x, builder = call.x, call.builder
    kernel, padding = (as_list(call.get(n), 3) for n in ("kernel_size", "padding"))
    stride = as_list(call.get("stride") or kernel, 3)
    divisor = call.get("divisor_override")
    counted = bool(call.get("count_include_pad"))
    for i in range(3):
        axis = len(x.shape) - 3 + i
        size, count = x.shape[axis], call.shape[axis - len(x.shape)]
        matrix = np.zeros((count, size))
        for row in range(count):
            start = row * stride[i] - padding[i]
            end = min(start + kernel[i], size + padding[i])
            low, high = max(start, 0), min(end, size)
            elements = end - start if counted else high - low
            matrix[row, low:high] = 1.0 if divisor else 1.0 / elements
        x = linear(builder, x, axis, matrix, None)
    return binary(builder, "mul", x, 1.0 / divisor, call.shape) if divisor else x


_MAX_POOLS: dict[Any, int] = {
    aten.max_pool3d.default: 3,
    aten.max_pool3d_with_indices.default: 3,
}


@lowers(*_MAX_POOLS)
def _max_pool3d(call: Call) -> View | tuple[View, ...]:
    return max_by_taps(call, 3)


def max_by_taps(call: Call, rank: int) -> View | tuple[View, ...]:
    """A max pool of any rank and dilation as the maximum of strided slices; with places if used."""
    kernel, padding, dilation = (
        as_list(call.get(n), rank) for n in ("kernel_size", "padding", "dilation")
    )
    stride = as_list(call.get("stride") or kernel, rank)
    x, first = call.x, len(call.x.shape) - rank
    pairs: dict[int, tuple[int, int]] = {}
    taps: list[Taps] = []
    places = []
    for i in range(rank):
        count, size = call.shape[first + i], x.shape[first + i]
        end = (count - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1
        pairs[first + i] = (padding[i], end - size - padding[i])
        starts = np.arange(count) * stride[i] - padding[i]
        offsets = [k * dilation[i] for k in range(kernel[i])]
        places.append([starts + offset for offset in offsets])
        taps.append([_strided(call, first + i, offset, count, stride[i]) for offset in offsets])
    padded = pad(call.builder, x, pairs, "constant", -LARGEST)
    if not isinstance(call.node.meta["val"], list | tuple):
        return _largest(call, padded, taps)
    if call.items == {0}:
        return (_largest(call, padded, taps),)
    return _placed(call, padded, taps, places, x.shape[first:])


def _strided(call: Call, axis: int, start: int, count: int, step: int) -> Callable[[View], View]:
    return lambda x: narrow(call.builder, x, axis, start, count, step)


@lowers(aten.adaptive_max_pool3d.default)
def _adaptive_max_pool3d(call: Call) -> View | tuple[View, ...]:
    return adaptive_max_by_taps(call, 3)


def adaptive_max_by_taps(call: Call, rank: int) -> View | tuple[View, ...]:
    """Windows of several sizes: the last element of a short one is taken again."""
    x, first = call.x, len(call.x.shape) - rank
    taps: list[Taps] = []
    places = []
    for i in range(rank):
        size, count = x.shape[first + i], call.shape[first + i]
        low = np.arange(count) * size // count
        high = -(-(np.arange(count) + 1) * size // count)
        found = [np.minimum(low + k, high - 1) for k in range(int((high - low).max()))]
        places.append(found)
        taps.append([_gathered(call, first + i, index.tolist()) for index in found])
    if call.items == {0}:
        return (_largest(call, x, taps),)
    return _placed(call, x, taps, places, x.shape[first:])


def _gathered(call: Call, axis: int, index: list[int]) -> Callable[[View], View]:
    return lambda x: gather(call.builder, x, axis, index)


def _largest(call: Call, x: View, taps: Sequence[Taps]) -> View:
    """Axis by axis."""
    for mine in taps:
        parts = [tap(x) for tap in mine]
        x = functools.reduce(
            lambda a, b: binary(call.builder, "max", a, b, a.shape), parts[1:], parts[0]
        )
    return x


def _placed(
    call: Call,
    x: View,
    taps: Sequence[Taps],
    places: Sequence[Sequence[np.ndarray]],
    sizes: Sequence[int],
) -> tuple[View, View]:
    """The largest of each window, and where in the image its first occurrence is.

    Args:
        places: for each axis and tap, the positions along that axis.
        sizes: of the image.
    """
    if math.prod(len(mine) for mine in taps) > _TAPS:
        raise call.refuse(f"the places of maxima of more than {_TAPS} elements are used")
    builder: Builder = call.builder
    best: View | None = None
    place: Any = None
    for choice in itertools.product(*[range(len(mine)) for mine in taps]):
        part = x
        flat: Any = 0
        for axis, tap in enumerate(choice):
            part = taps[axis][tap](part)
            shape = [-1 if i == axis else 1 for i in range(len(taps))]
            flat = flat * sizes[axis] + places[axis][tap].reshape(shape)
        if best is None:
            best, place = part, np.broadcast_to(flat.astype(np.float64), part.shape)
            continue
        better = above(builder, part, best, part.shape)
        apart = (
            flat - place
            if isinstance(place, np.ndarray)
            else binary(builder, "sub", flat.astype(np.float64), place, part.shape)
        )
        moved = binary(builder, "mul", better, apart, part.shape)
        place = binary(builder, "add", place, moved, part.shape)
        best = binary(builder, "max", best, part, part.shape)
    assert best is not None
    return best, call.view(place)
