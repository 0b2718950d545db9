"""View: an ATen tensor as a rearrangement of a value that exists.

An ATen tensor of any rank is kept as a value of the layer graph plus the reshapes and permutes that
lead from there to the tensor, none of which is executed until a layer needs the elements in some
order. They are one `Rearrangement`, whose factors are each a part of one axis of the tensor. Axes
of size 1, the batch among them, have no factor. So

* reshapes and permutes cost nothing, chains of them compose, and pairs cancel;
* an elementwise layer works on the value itself, in whatever order that is;
* a tensor of rank above 4 never has to exist: only what `Builder.place` puts in order is written,
  as permutes and reshapes of rank 4 or less.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from ..graph.rearrange import Factor, Rearrangement, common_cut
from .ir import Shape, Value

__all__ = ["Factor", "View", "common_factors"]


@dataclass(frozen=True)
class View:
    """The tensor that ``pending`` makes of ``value``.

    Attributes:
        pending: from the shape of ``value`` to that of the tensor, of any rank; each factor is a
            part of one axis of the tensor.
    """

    value: Value
    pending: Rearrangement

    @classmethod
    def of(cls, value: Value, shape: Sequence[int]) -> View:
        """``value`` reshaped to ``shape``."""
        sizes = tuple(size for size in shape if size != 1)
        return cls(value, Rearrangement(value.shape, sizes, tuple(range(len(sizes))), tuple(shape)))

    @classmethod
    def of_factors(cls, value: Value, shape: Sequence[int], factors: Iterable[Factor]) -> View:
        """The tensor of ``shape`` whose ``factors`` lie in this order in the memory of ``value``.

        They stay as they are; see `joined`.
        """
        return cls(value, Rearrangement.of_factors(value.shape, factors, shape))

    @property
    def shape(self) -> Shape:
        """As ATen has it, any rank."""
        return self.pending.after

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @functools.cached_property
    def factors(self) -> tuple[Factor, ...]:
        """In the memory order of ``value``."""
        return self.pending.named()

    def of_axes(self, axes: Iterable[int]) -> tuple[Factor, ...]:
        """The factors of ``axes``, axis after axis, the most significant first."""
        return tuple(f for axis in axes for f in sorted(self.factors) if f.axis == axis)

    def without(self, axes: Iterable[int]) -> tuple[Factor, ...]:
        """The factors of all other axes, in memory order."""
        left = set(axes)
        return tuple(factor for factor in self.factors if factor.axis not in left)

    def groups(self) -> list[tuple[Factor, ...]] | None:
        """The factors that each axis of the value holds; None when an axis holds part of one."""
        groups: list[tuple[Factor, ...]] = []
        start = 0
        for size in self.value.shape:
            end = start
            while math.prod(factor.size for factor in self.factors[start:end]) < size:
                end += 1
            if math.prod(factor.size for factor in self.factors[start:end]) != size:
                return None
            groups.append(self.factors[start:end])
            start = end
        return groups

    # New ones -----------------------------------------------------------------------------------

    def on(self, value: Value) -> View:
        """The same rearrangement of another value of the same shape."""
        return View(value, self.pending)

    def joined(self) -> View:
        """The same tensor with neighbours in memory that are neighbours in one axis joined."""
        pending = self.pending.simplified().cut()
        assert pending is not None  # its factors were parts of one axis each
        return View(self.value, pending)

    def reshape(self, shape: Sequence[int]) -> View | None:
        """None when an axis of ``shape`` would hold a part of a factor that lies apart."""
        pending = replace(self.pending.simplified(), after=tuple(shape)).cut()
        return None if pending is None else View(self.value, pending)

    def permute(self, order: Sequence[int]) -> View:
        """Axis i of the result is axis ``order[i]``."""
        pending = self.pending.then(Rearrangement.permute(self.shape, order))
        assert pending is not None  # every factor is a part of one axis
        return View(self.value, pending)

    def rearranged(self, wanted: Sequence[Factor], shape: Sequence[int]) -> Rearrangement:
        """From the value to an array of ``shape`` with the factors in the order ``wanted``."""
        order = tuple(self.factors.index(factor) for factor in wanted)
        factors = self.pending.factors
        return Rearrangement(self.value.shape, factors, order, tuple(shape)).simplified()

    def refined(self, sizes: dict[int, list[int]]) -> View:
        """With the factors of each axis in ``sizes`` cut to these sizes, which refine them."""
        parts: list[int] = []
        for axis in range(len(self.shape)):
            parts += sizes.get(axis, [factor.size for factor in self.of_axes([axis])])
        fine = replace(self.pending.inverse, after=(self.size,)).cut(parts)
        assert fine is not None  # the sizes refine the factors
        return View(self.value, replace(fine.inverse, before=self.value.shape))


def common_factors(views: Sequence[View], but: Collection[int] = ()) -> tuple[View, ...] | None:
    """The views, of equal rank and equal or unit axes, with equal factors on every axis.

    Args:
        but: axes that may differ, and stay as they are.

    Returns:
        None when two views cut an axis at places that do not fit together.
    """
    sizes: dict[int, list[int]] = {}
    for view in views:
        for axis in {factor.axis for factor in view.factors} - set(but):
            mine = [factor.size for factor in view.of_axes([axis])]
            fine = common_cut(sizes.get(axis, [view.shape[axis]]), mine)
            if fine is None:
                return None
            sizes[axis] = fine
    return tuple(
        view.refined({axis: fine for axis, fine in sizes.items() if view.shape[axis] != 1})
        for view in views
    )
