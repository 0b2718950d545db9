"""`passes.bisect`: which passes are to blame."""

from __future__ import annotations

import itertools

import pytest

from mobile_export.passes.bisect import MOST, guilty_passes

NAMES = ("a", "b", "c", "d", "e", "f", "g")


@pytest.mark.parametrize("count", range(1, MOST + 1))
def test_every_set_of_few_is_found(count: int) -> None:
    for guilty in itertools.combinations(NAMES, count):
        last: list[frozenset[str]] = []

        def works(without: frozenset[str], guilty: tuple[str, ...] = guilty) -> bool:
            fine = set(guilty) <= without
            if fine:
                last.append(without)  # noqa: B023
            return fine

        assert guilty_passes(NAMES, works) == guilty
        assert last[-1] == set(guilty), "what was done last is what is kept"


def test_one_of_many_takes_few_trials() -> None:
    names = [f"p{index}" for index in range(16)]
    trials: list[frozenset[str]] = []

    def works(without: frozenset[str]) -> bool:
        trials.append(without)
        return "p11" in without

    assert guilty_passes(names, works) == ("p11",)
    assert len(trials) <= 6


def test_no_pass_is_to_blame() -> None:
    assert guilty_passes(NAMES, lambda without: False) == ()
    assert guilty_passes((), lambda without: True) == ()


def test_with_many_all_are_left_out() -> None:
    guilty = set(NAMES[:5])
    last: list[frozenset[str]] = []

    def works(without: frozenset[str]) -> bool:
        if guilty <= without:
            last.append(without)
        return guilty <= without

    assert guilty_passes(NAMES, works) == NAMES
    assert last[-1] == set(NAMES)


def test_passes_that_fail_only_together() -> None:
    """Without either of the two it works; one is enough."""
    found = guilty_passes(NAMES, lambda without: bool({"b", "e"} & without))
    assert found in (("b",), ("e",))
