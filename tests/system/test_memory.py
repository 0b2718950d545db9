"""What the system says of its memory, read here in another way."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mobile_export.system.memory import memory_here


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_no_more_than_the_machine_has() -> None:
    found = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    size = memory_here()
    assert found is not None
    assert size is not None
    assert 2**26 < size <= int(found[1]) * 1024
