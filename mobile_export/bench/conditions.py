"""Reasons not to trust a measurement: heat, lowered clocks, and others on the same cores."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from .devices.device import State
from .runners.runner import RawResult

__all__ = ["contention", "crowding", "heat", "throttling"]

WAITED = 0.02
"""Share of the time that the threads of a model may wait for a core."""
STOLEN = 0.02
"""Share of the cores' time that a hypervisor may give to others."""
OTHERS = 0.5
"""Cores that other processes may keep busy."""
SLOWED = 0.90
"""A clock below this share of what it was at the start is throttling."""
THERMAL_STATUS = 2
"""Android's THROTTLING_MODERATE; 1 (light) is announced before anything is slowed."""
_FEWEST_STATES = 6


def contention(results: Sequence[RawResult]) -> str | None:
    """Why the runs of one model did not have the cores for themselves, or None.

    Its threads were ready and waited: that is exact, and covers other processes on the same cores.
    """
    wall = sum(result.wall_ns or 0 for result in results)
    waited = sum(result.waited_ns or 0 for result in results)
    if wall and waited / wall > WAITED:
        return f"its threads waited for a core for {waited / wall:.0%} of the time"
    return None


def crowding(
    before: State, after: State, seconds: float, cpu_seconds: float, cores: int
) -> str | None:
    """Why the device was not ours alone between two states, or None.

    Args:
        seconds: between the two.
        cpu_seconds: processor time of what was measured meanwhile.
        cores: of the device.
    """
    per_second = after.ticks_per_second
    if not per_second or seconds <= 0 or cores < 1:
        return None
    if before.steal_ticks is not None and after.steal_ticks is not None:
        stolen = (after.steal_ticks - before.steal_ticks) / per_second / seconds / cores
        if stolen > STOLEN:
            return f"the hypervisor took {stolen:.0%} of the cores' time"
    if before.busy_ticks is not None and after.busy_ticks is not None:
        busy = (after.busy_ticks - before.busy_ticks) / per_second
        others = (busy - cpu_seconds) / seconds
        if others > OTHERS:
            return f"other processes kept {others:.1f} cores busy"
    return None


def heat(state: State) -> str | None:
    """Why the device was too hot before the first run, or None."""
    if (state.thermal_status or 0) >= THERMAL_STATUS:
        return f"thermal status {state.thermal_status} before the first run"
    return None


def throttling(states: Sequence[State]) -> str | None:
    """Why the clocks were lowered while the models ran, or None.

    Args:
        states: after each round, in order: the clocks of a working device.
    """
    for state in states:
        if state.throttled:
            return "the device says that it throttles"
        if (state.thermal_status or 0) >= THERMAL_STATUS:
            return f"thermal status {state.thermal_status}"
    counts = [state.extra["throttle_count"] for state in states if "throttle_count" in state.extra]
    if counts and counts[-1] > counts[0]:
        return f"the CPU counted {counts[-1] - counts[0]} thermal throttlings"
    clocks = [max(state.mhz.values()) for state in states if state.mhz]
    if len(clocks) >= _FEWEST_STATES:
        third = len(clocks) // 3
        first, last = statistics.median(clocks[:third]), statistics.median(clocks[-third:])
        if last < SLOWED * first:
            return f"the highest clock fell from {first:.0f} to {last:.0f} MHz"
    return None
