"""How the time of each graph pass grows with the number of nodes.

    python benchmarks/pass_scaling.py [--nodes 100,1000,10000] [--chain attention] [--json FILE]

Chains of one kind of block, repeated, are captured at each length, and every pass of the table
runs on them as a run does: in core operators first, then the passes in their order, in rounds until
none finds anything, then those that run once. Seconds are the processor's, of all calls of a pass,
the best of the repeats. The exponent is the slope of log(seconds) over log(nodes), by least
squares, over the lengths where a pass took 5 ms or more: 1 is linear, the aim is at most 1.2. "-"
where there are fewer than three such lengths, which is no measurement of how it grows.

One chain is run before, for what Python and PyTorch do once. Python's garbage collector, which
stops whichever pass is at work, is off for the rows of single passes and for "all passes"; a row of
its own has the sum of one more run with the collector on, as rarely as exports have it.

The chains (channels 8, 8 x 8 pixels, so that the arithmetic on weights is next to nothing):

- ``convolutions``  convolution, batch norm, ReLU, and a sum with what went in;
- ``attention``     layer norm, q, k and v, heads by reshape and permute, softmax, projection;
- ``movements``     channel shuffles, windows and their way back, chunks and concatenations.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from mobile_export.graph.capture import trace
from mobile_export.graph.changes import Pass
from mobile_export.graph.program import Program
from mobile_export.graph.rounds import settle
from mobile_export.operators import decompose, needs_decomposing
from mobile_export.passes.table import ROWS
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source
from mobile_export.system.memory import collecting_rarely

LEAST = 0.005
"""Seconds below which the clock and what runs beside us decide"""

AIM = 1.2


class Convolutions(nn.Module):
    """(1, 8, 8, 8) -> the same; 4 calls."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv(x)).relu()


class Attention(nn.Module):
    """(1, 8, 8, 8) -> the same; about 20 calls."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 24)
        self.projection = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(tokens)).reshape(1, 64, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) * 0.5).softmax(-1) @ v
        mixed = self.projection(mixed.transpose(1, 2).reshape(1, 64, 8))
        return x + mixed.transpose(1, 2).reshape(1, 8, 8, 8)


class Movements(nn.Module):
    """(1, 8, 8, 8) -> the same; about 15 calls."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(1, 2, 4, 8, 8).transpose(1, 2).reshape(1, 8, 8, 8)
        windows = x.reshape(1, 8, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(4, 8, 4, 4)
        windows = windows.sigmoid()
        x = windows.reshape(1, 2, 2, 8, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(1, 8, 8, 8)
        left, right = x.chunk(2, 1)
        return torch.cat([right.tanh(), left], 1)


BLOCKS: dict[str, Callable[[], nn.Module]] = {
    "convolutions": Convolutions,
    "attention": Attention,
    "movements": Movements,
}


def chain(kind: str, nodes: int) -> Program:
    """A captured chain of blocks with about ``nodes`` nodes."""
    torch.manual_seed(0)

    def of(blocks: int) -> Program:
        module = nn.Sequential(*(BLOCKS[kind]() for _ in range(blocks))).eval()
        return trace(load_source(ModelRequest(model=module, size=(8, 8), channels=8)))

    two, four = (len(of(blocks).exported.graph.nodes) for blocks in (2, 4))
    each = (four - two) / 2
    return of(max(2, round((nodes - two) / each) + 2))


def seconds_of(program: Program) -> dict[str, float]:
    """Seconds of all calls of each pass on ``program``, as a run makes them."""
    spent: dict[str, float] = {}
    done: dict[Pass, Program] = {}
    now = program

    def timed(function: Pass, name: str) -> bool:
        nonlocal now
        before, start = now, time.process_time()
        now = function(now).program
        spent[name] = spent.get(name, 0.0) + time.process_time() - start
        done[function] = now
        return now is not before

    def rounds(passes: Sequence[tuple[Pass, str]]) -> None:
        def one_round() -> list[str]:
            return [
                name
                for function, name in passes
                if done.get(function) is not now and timed(function, name)
            ]

        settle("The list of passes", one_round, 20)

    if needs_decomposing(program):
        rounds([(ROWS[0].function, ROWS[0].name), (decompose, "operators")])
    shared = [(row.function, row.name) for row in ROWS if row.stage == "shared"]
    rounds(shared)
    rounds(shared + [(row.function, row.name) for row in ROWS if row.stage == "rounds"])
    for row in ROWS:
        if row.stage == "last":
            timed(row.function, row.name)
    return spent


def measured(program: Program, repeats: int) -> dict[str, float]:
    """The best of some runs for each pass, their sum, and the sum with the garbage collector on."""
    runs = []
    for _ in range(repeats):
        gc.collect()
        gc.disable()
        try:
            runs.append(seconds_of(program))
        finally:
            gc.enable()
    best = {name: min(run[name] for run in runs) for name in runs[0]}
    best["all passes"] = sum(best.values())
    with collecting_rarely():
        best["all passes, collector on"] = sum(seconds_of(program).values())
    return best


def exponent(nodes: Sequence[int], seconds: Sequence[float]) -> float | None:
    """The slope of log(seconds) over log(nodes); None with fewer than three lengths."""
    pairs = [(math.log(n), math.log(s)) for n, s in zip(nodes, seconds, strict=True) if s >= LEAST]
    if len(pairs) < 3:
        return None
    mean_n, mean_s = (sum(values) / len(pairs) for values in zip(*pairs, strict=True))
    over = sum((n - mean_n) ** 2 for n, _ in pairs)
    return sum((n - mean_n) * (s - mean_s) for n, s in pairs) / over


def table(kind: str, nodes: Sequence[int], rows: dict[str, list[float]]) -> str:
    """Markdown: seconds of each pass at each number of nodes, and the exponent."""
    lines = [
        f"| {kind}, nodes | {' | '.join(map(str, nodes))} | exponent |",
        "| --- " * (len(nodes) + 2) + "|",
    ]
    for name, seconds in sorted(rows.items(), key=lambda row: -row[1][-1]):
        slope = exponent(nodes, seconds)
        said = "-" if slope is None else f"{slope:.2f}"
        late = " MISSED" if slope is not None and slope > AIM else ""
        lines.append(f"| {name} | {' | '.join(f'{s:.3f}' for s in seconds)} | {said}{late} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--nodes", default="100,300,1000,3000,10000")
    parser.add_argument("--chain", choices=[*BLOCKS, "all"], default="all")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for kind in BLOCKS:
        seconds_of(chain(kind, 100))
    for kind in BLOCKS if asked.chain == "all" else (asked.chain,):
        nodes: list[int] = []
        rows: dict[str, list[float]] = {}
        for wanted in map(int, asked.nodes.split(",")):
            start = time.perf_counter()
            program = chain(kind, wanted)
            captured = time.perf_counter() - start
            best = measured(program, asked.repeats)
            for name in best:
                rows.setdefault(name, [0.0] * len(nodes))
            nodes.append(len(program.exported.graph.nodes))
            for name, seconds in rows.items():
                seconds.append(best.get(name, 0.0))
            print(f"{kind}: {nodes[-1]} nodes, captured in {captured:.1f} s", flush=True)
        print(table(kind, nodes, rows), flush=True)
        found[kind] = {"nodes": nodes, "seconds": rows}
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
