"""Prices fitted to counts: on made-up counts whose prices are known, and on the stored ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from mobile_export.bench.arm_cost import SOCS, Soc, calibrate, get_soc, spearman
from mobile_export.bench.qemu.counts import ArmCount
from mobile_export.bench.qemu.stored import StoredCount, stored_counts
from mobile_export.errors import UsageError

PHONE = SOCS[0]
NOTHING = ArmCount(*[0] * 11)


def made_up(
    soc: Soc, of: Sequence[tuple[float, ArmCount]] | None = None, **counters: float
) -> list[StoredCount]:
    """Counts for every model of a table: each counter is ``per millisecond`` times the latency."""
    return [
        StoredCount(
            str(row.name),
            *row.size,
            "onnxruntime 1",
            "",
            "7.2",
            "",
            "2.36",
            replace(
                NOTHING,
                **{
                    name: round(per_ms * (row.latency_ms or 0) * (1 + 0.5 * (i % 3)))
                    for i, (name, per_ms) in enumerate(counters.items())
                },
            ),
        )
        for row in soc.latencies()
        if row.name is not None
    ]


def test_one_price_is_found_again() -> None:
    calibration = calibrate(PHONE, ("instructions",), made_up(PHONE, instructions=10e6))
    assert calibration.model.prices["instructions"] == pytest.approx(1e-7, rel=1e-6)
    assert calibration.rank_correlation == pytest.approx(1)
    assert calibration.worst_error < 1e-6
    low, high = calibration.interval(replace(NOTHING, instructions=10**9))
    assert low == pytest.approx(100, rel=1e-5)
    assert high == pytest.approx(100, rel=1e-5)


def two_prices() -> list[StoredCount]:
    """Latency = 1e-7 instructions + 1e-5 misses, in shares that change from model to model."""
    counts = made_up(PHONE, instructions=0)
    rows = [row for row in PHONE.latencies() if row.name is not None]
    return [
        replace(
            count,
            count=replace(
                NOTHING,
                instructions=round((row.latency_ms or 0) * share / 1e-7),
                l2_misses=round((row.latency_ms or 0) * (1 - share) / 1e-5),
            ),
        )
        for count, row, share in zip(
            counts, rows, [0.2 + 0.6 * (i % 5) / 4 for i in range(len(rows))], strict=True
        )
    ]


def test_two_prices_are_found_again() -> None:
    prices = calibrate(PHONE, ("instructions", "l2_misses"), two_prices()).model.prices
    assert prices["instructions"] == pytest.approx(1e-7, rel=1e-4)
    assert prices["l2_misses"] == pytest.approx(1e-5, rel=1e-4)


def test_a_counter_that_explains_nothing_costs_nothing() -> None:
    counts = two_prices()
    for i, one in enumerate(counts):
        counts[i] = replace(one, count=replace(one.count, branches=1000 * (i % 2)))
    prices = calibrate(PHONE, ("instructions", "l2_misses", "branches"), counts).model.prices
    assert prices["branches"] * 1000 < 1e-3  # milliseconds, of latencies from 5 up


def test_a_price_is_never_negative() -> None:
    """Models that are faster the more they store: the best free fit would pay for stores."""
    counts = [
        replace(one, count=replace(one.count, stores=one.count.l2_misses * 0 + 10**6 // (i + 1)))
        for i, one in enumerate(two_prices())
    ]
    model = calibrate(PHONE, ("instructions", "stores"), counts).model
    assert all(price >= 0 for price in model.prices.values())


def test_a_prediction_does_not_know_its_own_model() -> None:
    counts = made_up(PHONE, instructions=10e6)
    changed = [replace(counts[0], count=replace(NOTHING, instructions=10**12)), *counts[1:]]
    before = calibrate(PHONE, ("instructions",), counts)
    after = calibrate(PHONE, ("instructions",), changed)
    assert after.left_out[0] == pytest.approx(1e-7 * 10**12, rel=1e-6)
    assert after.left_out[1] != before.left_out[1]


def test_rank_correlation() -> None:
    assert spearman([1, 2, 3, 4, 5], [10, 20, 30, 40, 50]) == pytest.approx(1)
    # Without ties: 1 - 6 sum(d^2) / (n (n^2 - 1)); here d = 1, -1, 0, 0, 0.
    assert spearman([1, 2, 3, 4, 5], [2, 1, 3, 4, 5]) == pytest.approx(1 - 6 * 2 / (5 * 24))
    # With ties: ranks 1.5, 1.5, 3 against 1, 2, 3, so Pearson's correlation is 1.5 / sqrt(1.5 * 2).
    assert spearman([7, 7, 9], [1, 2, 3]) == pytest.approx(1.5 / (1.5 * 2) ** 0.5)


def test_a_soc_without_a_table() -> None:
    with pytest.raises(UsageError, match="apple-a16") as caught:
        get_soc("apple-a16")
    assert "snapdragon-865" in str(caught.value)


@pytest.mark.parametrize("soc", SOCS, ids=lambda soc: soc.name)
def test_every_model_of_the_tables_was_counted(soc: Soc) -> None:
    counted = {(row.model, (row.height, row.width)) for row in stored_counts()}
    wanted = {(row.name, row.size) for row in soc.latencies() if row.name is not None}
    assert wanted - counted == set()


def test_stored_counts_come_from_one_set_of_versions() -> None:
    for name in ("runtime", "qemu", "plugin", "libc"):
        assert len({getattr(row, name) for row in stored_counts()}) == 1, name
    for row in stored_counts():
        count = row.count
        assert 0 < count.fma < count.vector < count.instructions
        assert count.l3_misses <= count.l2_misses <= count.l1_misses < count.loads + count.stores
