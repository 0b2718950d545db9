"""Which pass is to blame when a file cannot be written, or is wrong, and is fine without passes?"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["guilty_passes"]

MOST = 3
"""Passes that are looked for one by one; with more, all of them are left out."""


def guilty_passes(names: Sequence[str], works: Callable[[frozenset[str]], bool]) -> tuple[str, ...]:
    """The passes to leave out, so that it works.

    Each is found by bisection over the number of passes, in their order, that are left in: about
    log2(n) trials.

    Args:
        names: of the passes that rewrote something, in order; with all of them it does not work.
        works: whether it works without the given passes. The last call that returns True is made
            with the passes that are returned.

    Returns:
        Nothing when it does not work without any of ``names`` either: then no pass is to blame.
    """
    everything = frozenset(names)
    if not names or not works(everything):
        return ()
    guilty: frozenset[str] = frozenset()
    for _ in range(MOST):
        rest = [name for name in names if name not in guilty]
        works_with, fails_with = 0, len(rest)  # of the first passes of ``rest``
        while fails_with - works_with > 1:
            middle = (works_with + fails_with) // 2
            if works(guilty | frozenset(rest[middle:])):
                works_with = middle
            else:
                fails_with = middle
        guilty |= {rest[fails_with - 1]}
        if works(guilty):
            return tuple(name for name in names if name in guilty)
        if guilty == everything:
            break
    works(everything)
    return tuple(names)
