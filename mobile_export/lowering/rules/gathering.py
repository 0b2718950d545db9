"""Gathering elements along an axis by a stored index."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..builder import Builder
from ..view import View
from .linear import linear
from .moving import concat, narrow

__all__ = ["gather"]

_MAX_PIECES = 8
"""A gather of at most this many runs is written as slices, else as a product with a 0-1 matrix."""


def gather(builder: Builder, view: View, axis: int, index: Sequence[int]) -> View:
    """The elements ``index`` along ``axis``: slices where they are few, else a 0-1 matrix."""
    runs: list[tuple[int, int, int]] = []  # start, size, step
    position = 0
    while position < len(index):
        step = index[position + 1] - index[position] if position + 1 < len(index) else 1
        end = position + 1
        if step > 0:
            while end < len(index) and index[end] - index[end - 1] == step:
                end += 1
        if end - position == 2 and step != 1:  # two single ones, not a run
            end, step = position + 1, 1
        runs.append((index[position], end - position, max(step, 1)))
        position = end
    if len(runs) > _MAX_PIECES:
        choice = np.zeros((len(index), view.shape[axis]))
        choice[np.arange(len(index)), list(index)] = 1.0
        return linear(builder, view, axis, choice, None)
    parts = [narrow(builder, view, axis, start, size, step) for start, size, step in runs]
    shape = list(view.shape)
    shape[axis] = len(index)
    return parts[0] if len(parts) == 1 else concat(builder, parts, axis, tuple(shape))
