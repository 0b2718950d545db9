"""How far one array is from its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    pass

__all__ = ["Difference", "compare"]


@dataclass(frozen=True)
class Difference:
    """How far one array is from its reference.

    Attributes:
        max_abs: largest absolute difference.
        max_rel: the same divided by max |reference|.
        cosine: cosine similarity of the flattened arrays.
        psnr: peak signal-to-noise ratio in dB, peak = max |reference|; infinity when equal.
        worst_index: index of the largest difference.
        top1, top5: for (images, classes) outputs, the share of images whose best class agrees, and
            how many of the five best are shared (0 to 1); None for other shapes.
    """

    max_abs: float
    max_rel: float
    cosine: float
    psnr: float
    worst_index: tuple[int, ...]
    top1: float | None = None
    top5: float | None = None


def compare(got: np.ndarray, reference: np.ndarray) -> Difference:
    """Difference of ``got`` from ``reference`` (same shape), computed in float64.

    Integer references (arg-max maps) are compared for equality: ``max_rel`` is then the fraction of
    elements that differ. An infinity (a mask) equals the same infinity only, and NaN nothing;
    "max |reference|" is that of its finite elements. No figure that decides a verdict is ever NaN.
    """
    index: tuple[int, ...]
    if got.shape != reference.shape:
        return Difference(math.inf, math.inf, math.nan, -math.inf, ())
    if not np.issubdtype(reference.dtype, np.floating):
        wrong = got != reference
        index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        share = float(wrong.mean()) if wrong.size else 0.0
        return Difference(float(wrong.any()), share, 1.0 - share, math.inf, index)
    a = np.asarray(got, dtype=np.float64)
    b = np.asarray(reference, dtype=np.float64)
    if b.size == 0:
        return Difference(0.0, 0.0, 1.0, math.inf, ())
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b)
    error = np.where(np.isfinite(error), error, math.inf)
    same = np.isinf(b) & (a == b)
    error = np.where(same, 0.0, error)
    index = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    max_abs = float(error.max())
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    max_rel = max_abs / scale if scale > 0 else (0.0 if max_abs == 0 else math.inf)
    top1, top5 = _top(a, b)
    return Difference(
        max_abs,
        max_rel,
        _cosine(a[~same], b[~same]),
        _psnr(error, scale),
        index,
        top1=top1,
        top5=top5,
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return (
        float(np.vdot(a, b)) / norm if norm > 0 else (1.0 if not a.any() and not b.any() else 0.0)
    )


def _psnr(error: np.ndarray, scale: float) -> float:
    mse = float(np.mean(np.square(error)))
    if mse == 0:
        return math.inf
    return 10 * math.log10(scale**2 / mse) if scale > 0 and math.isfinite(mse) else -math.inf


def _top(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None]:
    if b.ndim != 2 or b.shape[1] < 5:
        return None, None
    best = [[np.argsort(-row, kind="stable")[:5] for row in rows] for rows in (a, b)]
    pairs = list(zip(*best, strict=True))
    first = [bool(mine[0] == right[0]) for mine, right in pairs]
    shared = [len(set(mine) & set(right)) / 5 for mine, right in pairs]
    return sum(first) / len(pairs), sum(shared) / len(pairs)
