"""Do the intervals of mobile-bench cover? Simulated latencies whose truth is known.

    python benchmarks/bench_statistics.py [--draws 1000]

Every series is measured as `mobile_export.bench.measure` does it: starts of the process, nine turns
of 0.1 s in each, half a second between two starts, as many starts as `stats.starts_needed` says
after the first six, but no more than 20 s of turns. Printed are the share of the 95 % intervals
that hold the true median (aim: 93 % or more in every row), the bias of the figure (0.1 % or less),
and how often ``compare`` calls one of two equal models slower or faster (6 % or less).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mobile_export.bench.stats import FEWEST_STARTS, compare, mean_interval, starts_needed

__all__ = ["SERIES", "Covered", "Series", "covered", "false_alarms"]

TURNS, TURN_SECONDS, LOADING_SECONDS = 9, 0.1, 0.5
MOST_STARTS = 22
INTERVAL = 0.02

Start = Callable[[], np.ndarray]


@dataclass(frozen=True)
class Series:
    """A kind of latencies whose median is 1.

    Attributes:
        make: from a generator of random numbers to what gives the runs of the next start.
    """

    name: str
    make: Callable[[np.random.Generator], Start]


def independent(rng: np.random.Generator, runs: int = 20) -> Start:
    """Runs that scatter by 10 %."""
    return lambda: rng.normal(1.0, 0.1, TURNS * runs)


def skewed(rng: np.random.Generator, runs: int = 20) -> Start:
    """A long tail to the right; the median is 1."""
    return lambda: np.exp(rng.normal(0.0, 0.1, TURNS * runs))


def turn_effects(rng: np.random.Generator, runs: int = 20) -> Start:
    """Half of the variance is between turns, which follow each other with a correlation of 0.6."""
    level = [float(rng.normal())]
    kept = 0.6 ** round(LOADING_SECONDS / TURN_SECONDS)

    def start() -> np.ndarray:
        found = []
        level[0] = kept * level[0] + math.sqrt(1 - kept**2) * float(rng.normal())
        for _ in range(TURNS):
            level[0] = 0.6 * level[0] + 0.8 * float(rng.normal())
            found.append(1.0 + 0.07 * level[0] + rng.normal(0.0, 0.07, runs))
        return np.concatenate(found)

    return start


def two_clocks(rng: np.random.Generator, runs: int = 20) -> Start:
    """Two clocks that differ by 10 % and stay for a second on average."""
    now, fast, until = [0.0], [bool(rng.random() < 0.5)], [float(rng.exponential(1.0))]

    def wait(seconds: float) -> float:
        now[0] += seconds
        while now[0] > until[0]:
            fast[0] = not fast[0]
            until[0] += float(rng.exponential(1.0))
        return 0.95 if fast[0] else 1.05

    def start() -> np.ndarray:
        wait(LOADING_SECONDS)
        found = [wait(TURN_SECONDS / runs) for _ in range(TURNS * runs)]
        return np.array(found) + rng.normal(0.0, 0.01, len(found))

    return start


def processes(rng: np.random.Generator, runs: int = 20) -> Start:
    """Processes that differ by 1 %, and turn effects."""
    turns = turn_effects(rng, runs)
    return lambda: turns() + rng.normal(0.0, 0.01)


SERIES = (
    Series("independent runs, sd 10 %", independent),
    Series("lognormal runs, sd 10 %", skewed),
    Series("half the variance between turns, AR 0.6", turn_effects),
    Series("two clocks of about a second, 10 % apart", two_clocks),
    Series("turn effects, processes that differ by 1 %", processes),
    Series("54 runs in all, turn effects", lambda rng: turn_effects(rng, 1)),
    Series("54 runs in all, lognormal", lambda rng: skewed(rng, 1)),
)


@dataclass(frozen=True)
class Covered:
    """What a simulation found.

    Attributes:
        bias: of the figure, relative; half_width: mean, relative; starts: mean number.
    """

    coverage: float
    bias: float
    half_width: float
    starts: float


def measured(start: Start) -> list[float]:
    """The medians of the starts that a run of ours would make."""
    medians = [float(np.median(start())) for _ in range(FEWEST_STARTS)]
    wanted = min(MOST_STARTS, starts_needed(medians, INTERVAL))
    return medians + [float(np.median(start())) for _ in range(wanted - FEWEST_STARTS)]


def covered(series: Series, *, draws: int, seed: int) -> Covered:
    """Measure ``draws`` independent machines."""
    rng = np.random.Generator(np.random.PCG64(seed))
    hits, figures, widths, counts = 0, [], [], []
    for _ in range(draws):
        medians = measured(series.make(rng))
        interval = mean_interval(medians)
        assert interval is not None
        hits += interval[0] <= 1.0 <= interval[1]
        figures.append(float(np.mean(medians)))
        widths.append((interval[1] - interval[0]) / 2)
        counts.append(len(medians))
    bias = float(np.mean(figures)) - 1.0
    return Covered(hits / draws, bias, float(np.mean(widths)), float(np.mean(counts)))


def false_alarms(*, paired: bool, threshold: float, draws: int, seed: int) -> float:
    """How often two models whose true ratio is 1 + ``threshold`` are called different: for a
    threshold of 0, slower or faster; else slower.

    Both have turn effects, and processes that differ by 1 %. Interleaved, both drift by 10 % from
    the first start to the last; separate runs drift by 2 % each.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    alarms = 0
    for _ in range(draws):
        drift = np.linspace(1.0, 1.1 if paired else 1.02, FEWEST_STARTS)
        models = (processes(rng), processes(rng))
        first, second = ([float(np.median(model())) * d for d in drift] for model in models)
        result = compare([v * (1 + threshold) for v in first], second, paired=paired)
        alarms += result.significant if threshold == 0 else result.answer(threshold) == "slower"
    return alarms / draws


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print(f"{'series':46} {'covers':>8} {'bias':>8} {'half':>7} {'starts':>7}")
    for series in SERIES:
        found = covered(series, draws=options.draws, seed=options.seed)
        print(
            f"{series.name:46} {found.coverage:8.1%} {found.bias:+8.2%} {found.half_width:7.1%} "
            f"{found.starts:7.1f}"
        )
    print(f"\n{'compare: two models that differ by':46} {'alarms':>8}")
    for threshold in (0.0, 0.05):
        for paired in (True, False):
            rate = false_alarms(
                paired=paired, threshold=threshold, draws=options.draws, seed=options.seed
            )
            how = "interleaved" if paired else "separate runs"
            print(f"{f'{threshold:.0%}, threshold {threshold:.0%}, {how}':46} {rate:8.1%}")


if __name__ == "__main__":
    main()
