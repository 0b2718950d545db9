"""Reasons not to trust a measurement: heat, lowered clocks, and others on the same cores."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from .devices.device import State
from .runners.runner import RawResult
from .stats import slowdown

__all__ = ["busy_cores", "contention", "crowding", "heat", "slower_runs", "throttling"]

WAITED = 0.02
"""Share of the time that a thread of a model may wait for a core."""
STOLEN = 0.02
"""Share of the cores' time that a hypervisor may give to others."""
OTHERS = 0.5
"""Cores that other processes may keep busy."""
SLOWED = 0.90
"""A clock below this share of what it was at the start is throttling."""
THERMAL_STATUS = 2
"""Android's THROTTLING_MODERATE; 1 (light) is announced before anything is slowed."""
_FEWEST_STATES = 6
_BUSY = 0.1
"""Share of the busiest core's work that makes a core one of those that ran."""


def contention(results: Sequence[RawResult], threads: int) -> str | None:
    """Why the runs of one model did not have the cores for themselves, or None.

    Its ``threads`` were ready and waited: that is exact, and covers other processes on the same
    cores. The waiting of all threads is summed, so it is a share of the time of all of them.
    """
    wall = sum(result.wall_ns or 0 for result in results)
    waited = sum(result.waited_ns or 0 for result in results)
    share = waited / wall / max(1, threads) if wall else 0.0
    if share > WAITED:
        return f"its threads waited for a core for {share:.0%} of the time"
    return None


def crowding(
    before: State, after: State, seconds: float, cpu_seconds: float, cores: int
) -> str | None:
    """Why the device was not ours alone between two states, or None.

    Args:
        seconds: between the two.
        cpu_seconds: processor time, on that device, of what was measured meanwhile.
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


def busy_cores(states: Sequence[State], pinned: Sequence[int] | None) -> frozenset[int]:
    """The cores that ran the models.

    Args:
        pinned: the only ones that they may use; None lets the ticks of each core tell, and where
            the device does not count them, every core may have been one.
    """
    if pinned:
        return frozenset(pinned)
    everything = frozenset(core for state in states for core in state.mhz)
    if len(states) < 2:
        return everything
    first, last = states[0].core_ticks, states[-1].core_ticks
    worked = {core: last[core] - first[core] for core in first.keys() & last.keys()}
    most = max(worked.values(), default=0)
    return frozenset(c for c, ticks in worked.items() if ticks > _BUSY * most) or everything


def throttling(states: Sequence[State], cores: frozenset[int]) -> str | None:
    """Why the clocks were lowered while the models ran, or None.

    Args:
        states: while they ran, in order: the clocks of a working device.
        cores: that ran; a capped or slow one beside them says nothing.
    """
    for state in states:
        if state.throttled:
            return "the device says that it throttles"
        if (state.thermal_status or 0) >= THERMAL_STATUS:
            return f"thermal status {state.thermal_status}"
        capped = {int(core): mhz for core, mhz in state.extra.get("capped_mhz", {}).items()}
        for core in sorted(cores & capped.keys()):
            return f"core {core} may not run faster than {capped[core]:.0f} MHz"
    counts = [state.extra["throttle_count"] for state in states if "throttle_count" in state.extra]
    if counts and counts[-1] > counts[0]:
        return f"the CPU counted {counts[-1] - counts[0]} thermal throttlings"
    clocks = [
        [state.mhz[core] for core in sorted(cores)]
        for state in states
        if cores and cores <= state.mhz.keys()
    ]
    return _fallen([statistics.fmean(one) for one in clocks if min(one) > 0])


def _fallen(clocks: Sequence[float]) -> str | None:
    """Why a series of clocks is not steady, or None."""
    if len(clocks) < _FEWEST_STATES:
        return None
    third = len(clocks) // 3
    first, last = statistics.median(clocks[:third]), statistics.median(clocks[-third:])
    if last < SLOWED * first:
        return f"the clock of the cores that ran fell from {first:.0f} to {last:.0f} MHz"
    found = slowdown([[1 / clock] for clock in clocks])
    if found is not None:
        return (
            f"the clock of the cores that ran fell by {found.by / (1 + found.by):.0%} "
            f"from {found.since:.0%} of the run on"
        )
    return None


def slower_runs(turns: Sequence[Sequence[int]]) -> str | None:
    """Why the runs of one model say themselves that something slowed them down, or None."""
    found = slowdown(turns)
    if found is None:
        return None
    return f"its runs became {found.by:.0%} slower from {found.since:.0%} of the run on"
