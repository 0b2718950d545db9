"""What the plugin counted for one inference, and how its file is read.

The file has one line per mark (``native/insncount.c`` says what each key means):

    mark=0 instructions=656927555 vector=30584171 …
    mark=1 instructions=741702329 vector=58740325 …
    end
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Self

from ...errors import RunnerError

__all__ = ["COUNTERS", "ArmCount", "read_counts"]


@dataclass(frozen=True)
class ArmCount:
    """What an aarch64 core did: exact integers, no milliseconds.

    Attributes:
        instructions: executed, of which
        vector: advanced SIMD and floating point arithmetic, of which
        fma: fused multiply-adds of vectors;
        branches: branches and system instructions.
        loads, stores: accesses of memory; load_bytes, store_bytes: what they moved.
        l1_misses, l2_misses, l3_misses: lines of 64 bytes that the modelled caches of 64 KiB,
            512 KiB and 4 MiB did not hold.
    """

    instructions: int
    vector: int
    fma: int
    branches: int
    loads: int
    stores: int
    load_bytes: int
    store_bytes: int
    l1_misses: int
    l2_misses: int
    l3_misses: int

    def __sub__(self, other: Self) -> Self:
        return type(self)(*(a - b for a, b in zip(self.values(), other.values(), strict=True)))

    def values(self) -> tuple[int, ...]:
        """In the order of the fields."""
        return tuple(vars(self).values())

    def to_dict(self) -> dict[str, int]:
        """JSON-ready."""
        return dict(vars(self))


COUNTERS = tuple(field.name for field in fields(ArmCount))


def read_counts(lines: Iterable[str]) -> list[ArmCount]:
    """What was done between the marks 0 and 1, 2 and 3, and so on; a torn last line is left out.

    Raises:
        RunnerError: a line is not one that the plugin writes, or the guest ran several threads.
    """
    totals = [_totals(line) for line in lines if line.endswith("\n") and line != "end\n"]
    return [after - before for before, after in zip(totals[::2], totals[1::2], strict=False)]


def _totals(line: str) -> ArmCount:
    if line == "error=threads\n":
        raise RunnerError(
            "The runtime started a second thread, so its instructions cannot be counted exactly.",
            hint="Count with --threads 1.",
        )
    pairs = dict(word.partition("=")[::2] for word in line.split())
    if set(pairs) != {"mark", *COUNTERS} or not all(v.isdecimal() for v in pairs.values()):
        raise RunnerError(
            f"The counting plugin wrote a line that is not its own: {line.strip()[:100]!r}.",
            hint="Run: mobile-bench prepare-qemu --force",
        )
    return ArmCount(*(int(pairs[name]) for name in COUNTERS))
