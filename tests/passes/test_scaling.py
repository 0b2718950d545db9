"""Passes are near-linear in nodes: what a node costs does not grow with the graph.

Seconds would depend on the machine, so Python's calls are counted (`sys.setprofile`), which are the
same on every one. `benchmarks/pass_scaling.py` has the seconds, up to 10,000 nodes.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from mobile_export.graph.program import Program
from tests.conftest import load_script

BENCHMARK = load_script(Path(__file__).parents[2] / "benchmarks" / "pass_scaling.py")


def calls_of(program: Program) -> int:
    """How many functions the passes call on a program, Python's own and others."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        BENCHMARK.seconds_of(program)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", BENCHMARK.BLOCKS)
def test_calls_grow_as_the_nodes_do(kind: str) -> None:
    BENCHMARK.seconds_of(BENCHMARK.chain(kind, 60))  # fills caches
    small, large = BENCHMARK.chain(kind, 100), BENCHMARK.chain(kind, 400)
    nodes = [len(program.exported.graph.nodes) for program in (small, large)]
    growth = calls_of(large) / calls_of(small)
    assert growth <= (nodes[1] / nodes[0]) ** BENCHMARK.AIM, f"{growth:.2f} times the calls"


def test_the_exponent_is_that_of_a_power_law() -> None:
    nodes = [100, 1000, 10000]
    assert BENCHMARK.exponent(nodes, [0.1, 1.0, 10.0]) == pytest.approx(1)
    assert BENCHMARK.exponent(nodes, [0.01, 1.0, 100.0]) == pytest.approx(2)
    assert BENCHMARK.exponent(nodes, [0.0001, 0.001, 0.01]) is None, "below what a clock tells"
