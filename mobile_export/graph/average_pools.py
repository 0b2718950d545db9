"""Average pools, axis by axis: which elements each window reads, and which it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from .editor import shape_of
from .ops import argument, as_list, source_of

__all__ = ["AVERAGE_POOLS", "PoolAxis", "pool_axes"]

aten = torch.ops.aten

AVERAGE_POOLS: dict[Any, int] = {
    aten.avg_pool1d.default: 1,
    aten.avg_pool2d.default: 2,
    aten.avg_pool3d.default: 3,
}
"""How many axes each pools."""


@dataclass(frozen=True)
class PoolAxis:
    """One axis of a pool: sizes in elements, and how many windows there are."""

    size: int
    kernel: int
    stride: int
    padding: int
    windows: int

    @property
    def past(self) -> int:
        """Elements of the last window that lie past the padded input; below 0 when it ends before.

        Windows are dropped, not cut, where ``ceil_mode`` is off: then it is never above 0.
        """
        return (self.windows - 1) * self.stride + self.kernel - self.size - 2 * self.padding

    @property
    def pads(self) -> tuple[int, int]:
        """What to lay before and behind the input, so that the windows fit in."""
        return self.padding, max(self.padding + self.past, 0)

    def inside(self) -> list[int]:
        """Of each window, how many elements lie in the padded input."""
        return self._elements(self.padding)

    def real(self) -> list[int]:
        """Of each window, how many elements lie in the input itself."""
        return self._elements(0)

    def _elements(self, around: int) -> list[int]:
        """Of each window, how many elements lie in the input with ``around`` more on each side."""
        starts = (window * self.stride - self.padding for window in range(self.windows))
        return [
            min(start + self.kernel, self.size + around) - max(start, -around) for start in starts
        ]


def pool_axes(node: Node) -> list[PoolAxis]:
    """The axes of a call of `AVERAGE_POOLS`."""
    rank = AVERAGE_POOLS[node.target]
    kernel = as_list(argument(node, "kernel_size"), rank)
    stride = as_list(argument(node, "stride") or kernel, rank)
    padding = as_list(argument(node, "padding"), rank)
    sizes, windows = shape_of(source_of(node))[-rank:], shape_of(node)[-rank:]
    return [PoolAxis(*n) for n in zip(sizes, kernel, stride, padding, windows, strict=True)]
