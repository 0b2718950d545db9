"""docs/mutation.md, made from the records of `benchmarks/mutation_score.py`."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

__all__ = ["page"]

_HEAD = """# Mutation score

How many damaged files does parity let pass? `python benchmarks/mutation_score.py` writes each model
in every format and precision, damages the file in one way at a time, and judges it as an export
does: by its outputs and by the numbers that it stores
([parity](parity.md#numbers-that-a-file-stores)). The column "by outputs" is without the latter.

- **caught**: the damaged file failed, is inconclusive, or its runtime refuses it; the exit code of
  the command is not 0.
- **below tolerance**: it passed, and on 24 other images (dead leaves, single objects, ramps, noise:
  none of parity's kinds or seeds) it is within the allowed error of the original module in float64,
  too, both relative to the size of the output and to what changes with the image. With this
  tolerance nobody can tell the files apart.
- **survived**: it passed, and is beyond what is allowed on the other images. That is a fault of
  parity.

The score is caught / (caught + survived). Damage at the input and between outputs is done around
the runtime, as one more operator at that edge of the file would do it; the rest is done in the
file's own bytes. An epsilon that was folded into a convolution is damaged as what ten times 1e-5
makes of its weights (variance 1).

"""


_WHY = (
    "A file whose error lies just above what is allowed on the worst of 24 images may lie just "
    "below it on the four or more of parity. Such a survivor is at most a small factor beyond; "
    "one that is far beyond would be blindness.\n\n"
)


_BEFORE = """## Before

Until 2026-11-28 every float16 file might be 1e-2 off, and no file was run on a strong input. Of 27
models 2269 damaged files were then judged: 1980 of 1993 were caught, 276 were below tolerance. Of
the 13 survivors 8 were float16 files; by what PyTorch's own float16 run of these models is off, all
8 fail today ([parity](parity.md#what-float16-may-do)). The other 5 were float32 files with a limit
of 1e-5, of which parity saw 0.5 to 1.0 and the worst of 24 other images 1.0 to 1.3. Clipped
activations, reversed filters and sums that become differences were not among the kinds.

"""


def page(records: Sequence[dict[str, Any]], planned: Sequence[str] = ()) -> str:
    """The page as Markdown.

    Args:
        planned: the models that are to be run; those without a record are named.
    """
    damaged = [r for r in records if r["kind"] not in ("none", "complete")]
    models = list(dict.fromkeys(r["model"] for r in damaged))
    total = _cell(damaged)
    made = (
        f"Written {datetime.date.today().isoformat()} with {', '.join(_versions())}: {len(models)} "
        f"models, {len(damaged)} damaged files; score {total}.\n\n"
    )
    parts = [_HEAD, made, _table(damaged), "\n", _survivors(damaged), _below(damaged)]
    parts += [_whole(records), _BEFORE, "## Models\n\n", _named(models), "\n"]
    missing = [name for name in planned if name not in models]
    if missing:
        parts.append(f"\nNot run yet, of {len(planned)}: {_named(missing)}.\n")
    return "".join(parts)


def _named(models: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in models)


def _versions() -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("torch", "timm", "onnxruntime", "ai-edge-litert", "ncnn", "coremltools"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


def _verdict(record: dict[str, Any], status: str = "status") -> str:
    if record.get(status, record["status"]) != "passed":
        return "caught"
    return "below" if record["below_tolerance"] else "survived"


def _cell(records: Sequence[dict[str, Any]], status: str = "status") -> str:
    """Caught / (caught + survived), and how many are below tolerance."""
    verdicts = [_verdict(record, status) for record in records]
    caught, below = verdicts.count("caught"), verdicts.count("below")
    judged = len(verdicts) - below
    text = f"{caught}/{judged}" if judged else "-"
    return text + (f" (+{below})" if below else "")


def _table(records: Sequence[dict[str, Any]]) -> str:
    kinds = list(dict.fromkeys(record["kind"] for record in records))
    files = sorted({(record["format"], record["precision"]) for record in records})
    lines = ["Caught / (caught + survived); in brackets those below tolerance.\n\n"]
    lines.append(
        "| damage | all | by outputs | " + " | ".join(f"{f} {p}" for f, p in files) + " |\n"
    )
    lines.append("| --- " * (len(files) + 3) + "|\n")
    for kind in [*kinds, None]:
        rows = [r for r in records if kind in (None, r["kind"])]
        cells = [_cell(rows), _cell(rows, "by_outputs")]
        cells += [_cell([r for r in rows if (r["format"], r["precision"]) == f]) for f in files]
        lines.append(f"| {kind or 'all'} | " + " | ".join(cells) + " |\n")
    return "".join(lines)


def _survivors(records: Sequence[dict[str, Any]]) -> str:
    found = [record for record in records if _verdict(record) == "survived"]
    if not found:
        return "## Survivors\n\nNone.\n\n"
    coarse = [r for r in found if r["others"]["whole_max_rel"] > r["others"]["allowed"]]
    clear = [r for r in found if r not in coarse]
    lines = ["## Survivors\n\n", _WHY]
    if coarse:
        lines.append(
            f"Of {len(coarse)} of the {len(found)} the whole file is beyond what is allowed on "
            "the other images, too (float16 ends, or is too coarse, there): they say nothing of "
            "the damage. "
        )
    if clear:
        beyond = max(r["others"]["max_rel"] / r["others"]["allowed"] for r in clear)
        spread = max(r["others"]["spread_error"] for r in clear)
        lines.append(
            f"Of the {'others' if coarse else 'files'} the largest error is {beyond:.1f} times "
            f"what is allowed, and {spread:.0%} of what changes with the image."
        )
    lines += [
        "\n\n",
        "| model | file | damage | parity saw | the other images |\n",
    ]
    lines.append("| --- | --- | --- | --- | --- |\n")
    for r in found:
        seen = f"{r['max_rel']:.1e} of {r['tolerance']:.0e}, spread {_share(r['spread_error'])}"
        other = r["others"]
        lines.append(
            f"| `{r['model']}` | {r['format']} {r['precision']} | {r['kind']}: {r['where']} | "
            f"{seen} | {other['max_rel']:.1e} of {other['allowed']:.0e}, spread "
            f"{_share(other['spread_error'])}; whole file {other['whole_max_rel']:.1e}, "
            f"{_share(other['whole_spread_error'])} |\n"
        )
    return "".join(lines) + "\n"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _below(records: Sequence[dict[str, Any]]) -> str:
    """How far the files below tolerance are off, by kind: medians of the other images."""
    found = [record for record in records if _verdict(record) == "below"]
    if not found:
        return ""
    lines = [
        "## Below tolerance\n\nLargest error on the other images, relative to the size of the "
        "output: the median and the largest of each kind, whole and damaged.\n\n",
        "| damage | precision | files | damaged | whole |\n| --- | --- | --- | --- | --- |\n",
    ]
    for kind, precision in sorted({(r["kind"], r["precision"]) for r in found}):
        rows = [r["others"] for r in found if (r["kind"], r["precision"]) == (kind, precision)]
        cells = [
            f"{_median([r[key] for r in rows]):.0e}, {max(r[key] for r in rows):.0e}"
            for key in ("max_rel", "whole_max_rel")
        ]
        lines.append(f"| {kind} | {precision} | {len(rows)} | {cells[0]} | {cells[1]} |\n")
    return "".join(lines) + "\n"


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _whole(records: Sequence[dict[str, Any]]) -> str:
    """Files that did not pass before they were damaged, and are not counted."""
    lines = [
        f"- `{r['model']}` {r['format']} {r['precision']}: {r['status']}\n"
        for r in records
        if r["kind"] == "none" and r["status"] != "passed"
    ]
    lines += [
        f"- `{r['model']}` {r['format']} {r['precision']}: not written\n"
        for r in records
        if r["kind"] == "complete" and not r["written"]
    ]
    if not lines:
        return ""
    return (
        "## Not counted\n\nWhole files that do not pass, or cannot be written:\n\n"
        + "".join(lines)
        + "\n"
    )
