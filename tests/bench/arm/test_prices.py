"""Prices fitted to counts: on made-up counts whose prices are known, and on the stored ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from mobile_export.bench.arm.counts import ArmCount
from mobile_export.bench.arm.prices import (
    SOCS,
    TERMS,
    Soc,
    calibrate,
    calibrate_runtime,
    get_soc,
    spearman,
)
from mobile_export.bench.arm.stored import RUNTIMES, StoredCount, stored_counts
from mobile_export.errors import UsageError

PHONE = SOCS[0]
NOTHING = ArmCount(*[0] * 11)


def made_up(of: Callable[[int, float], ArmCount]) -> list[StoredCount]:
    """Counts for every model of `PHONE`'s table: ``of(number of the row, its milliseconds)``."""
    rows = [row for row in PHONE.latencies() if row.name is not None]
    versions = ("onnxruntime 1", "0" * 64, "7.2", "0" * 16, "2.36")
    return [
        StoredCount(str(row.name), *row.size, *versions, of(i, row.latency_ms or 0))
        for i, row in enumerate(rows)
    ]


def instructions_only(i: int, ms: float) -> ArmCount:
    """10 million per millisecond."""
    return replace(NOTHING, instructions=round(ms * 10e6))


def two_prices(i: int, ms: float) -> ArmCount:
    """Latency = 1e-7 instructions + 1e-5 misses, in shares that change from model to model."""
    share = 0.2 + 0.15 * (i % 5)
    return replace(
        NOTHING, instructions=round(ms * share / 1e-7), l2_misses=round(ms * (1 - share) / 1e-5)
    )


def test_one_price_is_found_again() -> None:
    calibration = calibrate(PHONE, ("instructions",), made_up(instructions_only))
    assert calibration.model.prices["instructions"] == pytest.approx(1e-7, rel=1e-6)
    assert calibration.rank_correlation == pytest.approx(1)
    assert calibration.log_correlation == pytest.approx(1)
    assert calibration.worst_error < 1e-6
    interval = calibration.interval(replace(NOTHING, instructions=10**9))
    assert interval == pytest.approx((100, 100), rel=1e-5)


def test_two_prices_are_found_again() -> None:
    prices = calibrate(PHONE, ("instructions", "l2_misses"), made_up(two_prices)).model.prices
    assert prices["instructions"] == pytest.approx(1e-7, rel=1e-4)
    assert prices["l2_misses"] == pytest.approx(1e-5, rel=1e-4)


def test_a_price_is_never_negative() -> None:
    """The more these models store, the faster they are: a free fit would pay them for it."""

    def helpful_stores(i: int, ms: float) -> ArmCount:
        stores = 1000 * (i % 2)
        return replace(NOTHING, instructions=round((ms * 1e7) * (1 + i % 2)), stores=stores)

    model = calibrate(PHONE, ("instructions", "stores"), made_up(helpful_stores)).model
    assert model.prices["stores"] == 0
    assert model.prices["instructions"] > 0


def test_a_few_models_that_the_counts_do_not_explain_do_not_bend_the_prices() -> None:
    """Squared errors would: three of 28 models take ten times as long as all others say."""
    counts = made_up(instructions_only)
    slow = [replace(c, count=replace(NOTHING, instructions=c.count.instructions // 10))
            for c in counts[:3]]  # fmt: skip
    model = calibrate(PHONE, ("instructions",), [*slow, *counts[3:]]).model
    assert model.prices["instructions"] == pytest.approx(1e-7, rel=1e-6)


def test_many_sizes_of_a_network_say_no_more_than_one() -> None:
    """Three of nine families, with 19 of the 31 models, take twice as long as the others say."""
    rows = [row for row in PHONE.latencies() if row.name is not None]
    large = [row.model.startswith(("MobileOne", "MobileViT", "SeaFormer")) for row in rows]
    assert (len(large), sum(large)) == (31, 19)
    counts = made_up(
        lambda i, ms: replace(NOTHING, instructions=round(ms * (5e6 if large[i] else 10e6)))
    )
    model = calibrate(PHONE, ("instructions",), counts).model
    assert model.prices["instructions"] == pytest.approx(1e-7, rel=1e-6)


@pytest.mark.parametrize("soc", SOCS, ids=lambda soc: soc.name)
def test_the_prices_are_those_of_a_solver_of_linear_programmes(soc: Soc) -> None:
    """SciPy's HiGHS: the least sum of slacks on both sides of every model's equation."""
    optimize = pytest.importorskip("scipy.optimize")
    calibration = calibrate(soc)
    facts = [(p.count.count.to_dict(), p.milliseconds, p.family) for p in calibration.points]
    terms = list(calibration.model.prices)
    matrix = np.array([[fact[term] * 1e-7 / ms for term in terms] for fact, ms, _ in facts])
    members = Counter(family for *_, family in facts)
    weights = np.array([1 / members[family] for *_, family in facts])
    found = optimize.linprog(
        np.concatenate([np.zeros(len(terms)), weights, weights]),
        A_eq=np.hstack([matrix, np.eye(len(facts)), -np.eye(len(facts))]),
        b_eq=np.ones(len(facts)),
    )
    assert list(calibration.model.prices.values()) == pytest.approx(
        list(found.x[: len(terms)] * 1e-7), rel=1e-6
    )


def test_families() -> None:
    families = {point.family for soc in SOCS for point in calibrate(soc).points}
    assert families == {
        "EdgeNeXt", "EdgeViT", "EfficientFormer", "EfficientNet", "FastViT", "FasterNet", "FreeNet",
        "LVT", "Mobile-Former", "MobileNet", "MobileOne", "MobileViT", "SeaFormer", "StarNet",
        "SwiftFormer",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("soc", "median", "interval", "rank"),
    [
        ("snapdragon-865", 0.140, (0.088, 0.496), 0.846),
        ("snapdragon-8cx-gen-3", 0.152, (0.117, 0.280), 0.946),
    ],
)
def test_the_error_by_family_is_what_the_page_says(
    soc: str, median: float, interval: tuple[float, float], rank: float
) -> None:
    calibration = calibrate(get_soc(soc))
    assert calibration.median_error == pytest.approx(median, abs=0.0006)
    assert calibration.median_error_interval == pytest.approx(interval, abs=0.006)
    assert calibration.rank_correlation == pytest.approx(rank, abs=0.0006)


@pytest.mark.parametrize(
    ("soc", "models", "median", "interval", "rank"),
    [
        ("snapdragon-865", 31, 0.137, (0.089, 0.465), 0.883),
        ("snapdragon-8cx-gen-3", 28, 0.142, (0.094, 0.281), 0.950),
    ],
)
def test_the_error_of_what_tnn_itself_executes_is_what_the_page_says(
    soc: str, models: int, median: float, interval: tuple[float, float], rank: float
) -> None:
    (calibration,) = calibrate_runtime("TNN", soc)
    assert tuple(calibration.model.prices) == TERMS
    assert len(calibration.points) == models
    assert calibration.median_error == pytest.approx(median, abs=0.0006)
    assert calibration.median_error_interval == pytest.approx(interval, abs=0.006)
    assert calibration.rank_correlation == pytest.approx(rank, abs=0.0006)


@pytest.mark.parametrize(
    ("soc", "median"), [("snapdragon-865", 0.110), ("snapdragon-8cx-gen-3", 0.219)]
)
def test_the_error_of_one_price_of_what_tnn_itself_executes(soc: str, median: float) -> None:
    calibration = calibrate(get_soc(soc), ("instructions",), stored_counts("TNN"))
    assert calibration.median_error == pytest.approx(median, abs=0.0006)


def test_a_price_of_one_counter_is_a_weighted_median_of_ratios() -> None:
    """The least sum of w |x p / t - 1| over p: the weighted median of t / x, weights w x / t."""
    calibration = calibrate(get_soc("snapdragon-865"), ("instructions",), stored_counts("TNN"))
    members = Counter(point.family for point in calibration.points)
    ratios = sorted(
        (p.milliseconds / p.count.count.instructions, p.family) for p in calibration.points
    )
    weights = np.array([1 / ratio / members[family] for ratio, family in ratios])
    middle = int((weights.cumsum() >= weights.sum() / 2).argmax())
    price = calibration.model.prices["instructions"]
    assert price == pytest.approx(ratios[middle][0], rel=1e-9)


def test_a_soc_whose_models_were_not_counted_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    some = tuple(each for each in stored_counts("TNN") if each.model != "freenet_s4")
    monkeypatch.setattr("mobile_export.bench.arm.prices.stored_counts", lambda runtime: some)
    with pytest.raises(UsageError, match="Snapdragon 8cx") as caught:
        calibrate_runtime("TNN", "snapdragon-8cx-gen-3")
    assert "--soc snapdragon-865" in str(caught.value)
    with pytest.raises(UsageError, match="'mnn'") as caught:
        calibrate_runtime("mnn")
    assert "onnxruntime, TNN" in str(caught.value)


def test_a_prediction_does_not_know_its_own_model() -> None:
    counts = made_up(instructions_only)
    huge = replace(counts[0], count=replace(NOTHING, instructions=10**12))
    changed = calibrate(PHONE, ("instructions",), [huge, *counts[1:]])
    assert changed.left_out[0] == pytest.approx(1e-7 * 10**12, rel=1e-6)
    assert changed.errors[0] == pytest.approx(1e5 / changed.points[0].milliseconds - 1, rel=1e-6)
    before = calibrate(PHONE, ("instructions",), counts)
    assert changed.left_out[1] != pytest.approx(before.left_out[1], rel=1e-3)


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


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_stored_counts_come_from_one_set_of_versions(runtime: str) -> None:
    for name in ("runtime", "qemu", "plugin", "libc"):
        assert len({getattr(row, name) for row in stored_counts(runtime)}) == 1, name
    for row in stored_counts(runtime):
        count = row.count
        assert 0 < count.fma < count.vector < count.instructions
        assert count.l3_misses <= count.l2_misses <= count.l1_misses < count.loads + count.stores
