"""What the system says of its memory, read here in another way."""

from __future__ import annotations

import gc
import re
import sys
from pathlib import Path

import pytest

from mobile_export.system.memory import collecting_rarely, memory_here


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_more_than_the_machine_has() -> None:
    found = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    size = memory_here()
    assert found is not None
    assert size is not None
    assert 2**26 < size <= int(found[1]) * 1024


def test_the_collector_stops_the_program_less_often_meanwhile() -> None:
    """Counted by the interpreter itself: collections of the youngest objects."""

    def collections() -> int:
        before = gc.get_stats()[0]["collections"]
        kept = [[] for _ in range(200_000)]
        assert len(kept) == 200_000
        return int(gc.get_stats()[0]["collections"]) - before

    before = gc.get_threshold()
    often = collections()
    with collecting_rarely():
        rarely = collections()
    assert rarely * 10 < often
    assert gc.get_threshold() == before


@pytest.mark.parametrize("own", [(0, 10, 10), (10**6, 5, 5)])
def test_what_the_host_has_set_itself_stays(own: tuple[int, int, int]) -> None:
    before = gc.get_threshold()
    gc.set_threshold(*own)
    try:
        with collecting_rarely():
            assert gc.get_threshold() == own
        assert gc.get_threshold() == own
    finally:
        gc.set_threshold(*before)
