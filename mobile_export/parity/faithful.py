"""How far a file may be from the model before it computes something else: what rounding explains.

A float16 file is as far off as the model amplifies rounding, a thousandth of its outputs' size or a
twentieth. So the model itself says how far: PyTorch's own run of it, rounded where the file rounds
(`parity.rounding`), on the same samples. A file may be off by `FACTOR` times that, in every output,
both relative to its size and to what changes with the sample; float32 files have had the same
factor of PyTorch's float32 error from the start (`exporters.row.Tolerance`). docs/parity.md has the
figures that the constants come from.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..exporters.row import LOOSEST, Precision
from .compare import compare
from .parts import Part
from .reference import Reference
from .report import SPREAD_ALWAYS, SPREAD_LIMIT
from .rounding import Rounding, rounding_of
from .spread import relative_spread, spread_error

__all__ = [
    "HALF_STEP",
    "Bound",
    "bound_of",
    "doubtful_spread",
    "faithful_size",
    "wrong_part",
]

FACTOR = 4.0
"""Multiples of PyTorch's own rounding error that a file may be off."""

COARSE_FACTOR = 2.0
"""Multiples that a float16 file may be off where they are more than `LOOSEST`, which is plenty for
any but coarse models. The largest of whole files are 1.4 (docs/parity.md)."""

DOUBTFUL = {16: COARSE_FACTOR, 32: FACTOR}
"""By the bits of a weight: multiples of the spread error of PyTorch's own run above which nobody
can tell rounding from a fault."""

HALF_STEP = 2.0**-11
"""Largest relative error of rounding to float16 (IEEE 754: 11 significant bits)."""

LEAST = {"float16 weights": 2 * HALF_STEP, "float16": 4 * HALF_STEP}
"""What is always allowed, of an output's size: in a network of one layer the weights are rounded,
and where arithmetic is, too, also the input, the layer's result and the output. Less would judge
small models by luck: some are within a hundredth of a half-step in PyTorch's run."""


@dataclass(frozen=True)
class Bound:
    """What one output of a file may be off.

    Attributes:
        rounding: what the file rounds.
        rounding_error: PyTorch's own with that rounding, relative to the output's size, of the
            worst sample; None where that run is not needed or not possible.
        size: the largest error allowed, relative to the output's size.
        spread: the largest error of what changes with the sample, relative to that change; a file
            that is further off computes something else.
        doubtful: likewise, above which nobody can tell.
        step: the absolute error of the runtime's own code for the operator that it ends with, which
            ``size`` allows, too.
        plain: ``size`` without it.
        rounding_spread: what ``rounding_error`` is of the output's size, of what changes with the
            sample.
    """

    rounding: Rounding
    rounding_error: float | None
    size: float
    spread: float
    doubtful: float
    step: float = 0.0
    plain: float = 0.0
    rounding_spread: float | None = None

    @property
    def spread_allowed(self) -> float:
        """The largest error of what changes with the sample that passes."""
        return min(self.spread, self.doubtful)


def bound_of(
    reference: Reference, index: int, error: float | None, precision: Precision, arithmetic: str
) -> Bound:
    """What output ``index`` may be off.

    Args:
        error: the file's error of what changes with the sample, if anything does. A float32 run of
            the model is made only where it would not be allowed without.
        precision: that the file was asked to have.
        arithmetic: that it was executed in, ``fp32`` or ``fp16``.
    """
    rounding = rounding_of(precision.bits, arithmetic)
    if rounding == "float32":
        small = error is None or error <= SPREAD_ALWAYS
        alone = None if small else _alone(reference, index, rounding)
        doubtful = SPREAD_ALWAYS if alone is None else doubtful_spread(alone[1], precision.bits)
        size = precision.tolerance.allowed(reference.float32_error)
        own = None if alone is None else alone[1]
        return Bound(rounding, None, size, math.inf, doubtful, rounding_spread=own)
    alone = _alone(reference, index, rounding)
    if alone is None:
        return Bound(rounding, None, LOOSEST, math.inf, SPREAD_ALWAYS)
    size, spread = alone
    exact = [arrays[index] for arrays in reference.outputs]
    least = LEAST[rounding] if np.issubdtype(exact[0].dtype, np.floating) else LOOSEST
    moved = relative_spread(exact)
    return Bound(
        rounding,
        size,
        faithful_size(size, least),
        math.inf if moved == 0 else max(least / moved, FACTOR * spread),
        doubtful_spread(spread, precision.bits),
        rounding_spread=spread,
    )


def wrong_part(
    reference: Reference,
    index: int,
    part: Part,
    got: Sequence[np.ndarray],
    precision: Precision,
    arithmetic: str,
) -> tuple[float, float] | None:
    """How far a part of output ``index`` is off, and what rounding explains of it.

    Both relative to the part's size or to what changes in it, whichever is worse; None where it is
    right, or PyTorch does not run the model so.

    Args:
        got: what the file returned for the output, one array per sample.
    """
    exact = [part.of(arrays[index]) for arrays in reference.outputs]
    mine = [part.of(array) for array in got]
    if max(_errors(mine, exact)) <= SPREAD_LIMIT:
        return None
    alone = _alone(reference, index, rounding_of(precision.bits, arithmetic), part)
    if alone is None:
        return None
    pairs = [
        (error, max(SPREAD_LIMIT, FACTOR * rounding))
        for error, rounding in zip(_errors(mine, exact), alone, strict=True)
    ]
    error, allowed = max(pairs, key=lambda pair: pair[0] / pair[1])
    return None if error <= allowed else (error, allowed)


def _alone(
    reference: Reference, index: int, rounding: Rounding, part: Part | None = None
) -> tuple[float, float] | None:
    """What rounding does to one output: the error relative to its size, and to what changes.

    None where the model does not run so, or overflows.

    Args:
        part: of the output, that is looked at alone.
    """
    rounded = None if reference.rounded is None else reference.rounded(rounding)
    if rounded is None:
        return None
    got, exact = ([arrays[index] for arrays in each] for each in (rounded, reference.outputs))
    if part is not None:
        got, exact = ([part.of(array) for array in each] for each in (got, exact))
    size, spread = _errors(got, exact)
    return (size, spread) if math.isfinite(size) and math.isfinite(spread) else None


def _errors(got: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> tuple[float, float]:
    """The largest error relative to the size of a sample's array, and to what changes."""
    size = max(compare(a, b).max_rel for a, b in zip(got, exact, strict=True))
    return size, spread_error(got, exact) or 0.0


def faithful_size(alone: float, least: float) -> float:
    """The largest error, relative to an output's size, that a float16 file may have.

    Args:
        alone: that of PyTorch's own run.
        least: that is always allowed.
    """
    return max(least, min(FACTOR * alone, max(LOOSEST, COARSE_FACTOR * alone)))


def doubtful_spread(alone: float, bits: int) -> float:
    """The spread error above which nobody can tell, where rounding alone makes ``alone``."""
    return min(max(DOUBTFUL[bits] * alone, SPREAD_ALWAYS), SPREAD_LIMIT)
