"""How the values of a tensor are distributed over many samples, in bounded memory.

The bins are as wide as a power of two and begin at zero. When a value lies outside, the width is
doubled and neighbours are joined, so the counts stay exact, and the result does not depend on the
order of the samples.
"""

from __future__ import annotations

import math

import numpy as np

__all__ = ["BINS", "Histogram"]

BINS = 4096
"""On each side of zero."""

_MOST = 2**16
"""Elements of a tensor that are counted per sample; the least and the largest are of all."""


class Histogram:
    """Counts of values between ``-BINS · width`` and ``BINS · width``, with their exact extremes.

    Attributes:
        counts: of 2 · `BINS` bins; bin ``BINS + i`` holds values from ``i · width``.
        width: of a bin; 0 as long as all values are 0.
        low, high: the least and the largest value seen.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * BINS, np.int64)
        self.width = 0.0
        self.low, self.high = math.inf, -math.inf
        self._zeros = 0

    def add(self, values: np.ndarray) -> None:
        """Count finite ``values``.

        Raises:
            ValueError: some are NaN or infinite.
        """
        flat = np.asarray(values, dtype=np.float32).reshape(-1)
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("NaN or infinity")
        self.low, self.high = min(self.low, low), max(self.high, high)
        step = -(-flat.size // _MOST)
        flat = flat[:: step + (step > 1 and step % 2 == 0)]
        self._widen(max(abs(low), abs(high)))
        if not self.width:
            self._zeros += flat.size
            return
        places = np.floor(flat / self.width).astype(np.int64) + BINS
        np.clip(places, 0, 2 * BINS - 1, out=places)
        self.counts += np.bincount(places, minlength=2 * BINS)

    def _widen(self, largest: float) -> None:
        if largest == 0.0:
            return
        wanted = 2.0 ** math.ceil(math.log2(largest / BINS))
        while wanted * BINS < largest:
            wanted *= 2.0
        if not self.width:
            self.width = wanted
            self.counts[BINS] += self._zeros
        while self.width < wanted:
            joined = self.counts.reshape(-1, 2).sum(1)
            self.counts[:] = 0
            self.counts[BINS // 2 : BINS + BINS // 2] = joined
            self.width *= 2.0

    @property
    def centres(self) -> np.ndarray:
        """The middle of each bin, cut at the extremes."""
        middle = (np.arange(-BINS, BINS) + 0.5) * self.width
        return middle.clip(self.low, self.high)

    def merged(self, other: Histogram) -> Histogram:
        """The values of both."""
        both = Histogram()
        both.low, both.high = min(self.low, other.low), max(self.high, other.high)
        both._zeros = self._zeros * (not self.width) + other._zeros * (not other.width)
        for each in (self, other):
            if not each.width:
                continue
            both._widen(each.width * BINS)
            copy = Histogram()
            copy.counts[:], copy.width = each.counts, each.width
            copy._widen(both.width * BINS)
            both.counts += copy.counts
        return both
