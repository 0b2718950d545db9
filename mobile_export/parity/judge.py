"""Parity: does an artifact compute what the original model computes?

The reference is the original eager module in float64, before any pass. Errors are relative to the
largest magnitude of the reference output, so one number means the same for logits of any scale. A
comparison is a report, never a bool.

Statuses:
    passed        the worst error over all samples and outputs is within the tolerance, and what
                  changes with the sample is right to `SPREAD_LIMIT` in every output;
    failed        the error is not within it, or the artifact returned NaN, infinity or a wrong
                  shape;
    inconclusive  PyTorch's own float32 run of the model is more than `ILL_CONDITIONED` away from
                  its float64 run: with these weights no file can be judged. Or the error is within
                  the tolerance and, in some output, not within `SPREAD_LIMIT`: that output changes
                  so little between the samples, or not at all, that a file which ignores the image
                  would look like this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..artifacts.expected import Expected, expected_facts
from ..exporters.row import Precision
from ..exporters.table import precision_named, precision_names
from .compare import Difference, compare
from .reference import ILL_CONDITIONED, Reference
from .report import SPREAD_LIMIT, ParityReport
from .spread import relative_spread, spread_error

__all__ = [
    "ILL_CONDITIONED",
    "expected_outputs",
    "judge",
]


def expected_outputs(reference: Reference, names: Sequence[str]) -> Expected:
    """What a manifest says that the file must compute: the outputs for the first sample."""
    sample = reference.samples[0]
    image = sample.image if sample.pixels is None else sample.pixels
    return expected_facts(
        sample.name,
        image.float().numpy(),
        reference.outputs[0],
        names,
        {
            name: precision_named(name).tolerance.allowed(reference.float32_error)
            for name in precision_names()
        },
    )


def judge(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    *,
    precision: Precision,
    runtime: str,
    emulated: bool,
    output_names: Sequence[str],
) -> ParityReport:
    """The report on an artifact that returned ``results`` (per sample, one array per output).

    Args:
        precision: that the file was asked to have; its row says what is allowed.
    """
    tolerance = precision.tolerance.allowed(reference.float32_error)
    notes = list(reference.notes)
    rows: list[tuple[str, Difference]] = []
    for sample, exact, got in zip(reference.samples, reference.outputs, results, strict=True):
        if len(got) != len(exact):
            notes.append(f"{len(got)} outputs, the model has {len(exact)}")
            rows.append((sample.name, Difference(math.inf, math.inf, math.nan, -math.inf, ())))
            continue
        for name, a, b in zip(output_names, got, exact, strict=True):
            if a.shape != b.shape:
                notes.append(f"output {name} has shape {a.shape}, the model's is {b.shape}")
            rows.append((f"{sample.name}:{name}", compare(a, b)))
    where, worst = max(rows, key=lambda row: row[1].max_rel)
    differences = [difference for _, difference in rows]
    top1 = [difference.top1 for difference in differences if difference.top1 is not None]
    top5 = [difference.top5 for difference in differences if difference.top5 is not None]
    changes = _changes(reference, results, output_names)
    report = ParityReport(
        runtime=runtime,
        emulated=emulated,
        precision=precision.name,
        status=_status(reference.float32_error, worst.max_rel, tolerance),
        tolerance=tolerance,
        float32_error=reference.float32_error,
        max_abs=max(difference.max_abs for difference in differences),
        max_rel=worst.max_rel,
        cosine=min(difference.cosine for difference in differences),
        psnr=min(difference.psnr for difference in differences),
        worst=where,
        worst_index=worst.worst_index,
        top1=sum(top1) / len(top1) if top1 else None,
        top5=sum(top5) / len(top5) if top5 else None,
        samples=len(reference.samples),
        spread=changes.spread,
        spread_error=changes.error,
        unmoved=changes.unmoved,
        notes=tuple(dict.fromkeys((*notes, *changes.notes))),
    )
    if report.status != "passed" or report.tells_apart:
        return report
    return replace(
        report, status="inconclusive", notes=(*report.notes, _why_inconclusive(changes, precision))
    )


@dataclass(frozen=True)
class _Changes:
    """What changes with the sample.

    Attributes:
        spread, error: as `ParityReport.spread` and `ParityReport.spread_error`.
        beyond: outputs whose error is beyond `SPREAD_LIMIT`, with their spread and their error.
        unmoved: as `ParityReport.unmoved`.
    """

    spread: float | None = None
    error: float | None = None
    beyond: tuple[tuple[str, float, float], ...] = ()
    unmoved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _changes(
    reference: Reference, results: Sequence[Sequence[np.ndarray]], names: Sequence[str]
) -> _Changes:
    if len(reference.samples) < 2:
        return _Changes()
    exact = list(zip(*reference.outputs, strict=True))
    if any(len(got) != len(exact) for got in results):
        return _Changes(error=math.inf)
    fixed: list[str] = []
    unmoved: list[str] = []
    found: list[tuple[str, float, float]] = []
    for index, (name, outputs) in enumerate(zip(names, exact, strict=True)):
        error = spread_error([arrays[index] for arrays in results], outputs)
        if error is not None:
            found.append((name, relative_spread(outputs), error))
        else:
            (fixed if index in reference.fixed else unmoved).append(name)
    worst = max(found, key=lambda each: each[2], default=None)
    note = f"{', '.join(fixed)}: the same for every input" if fixed else ""
    return _Changes(
        spread=None if worst is None else worst[1],
        error=None if worst is None else worst[2],
        beyond=tuple(each for each in found if not each[2] <= SPREAD_LIMIT),
        unmoved=tuple(unmoved),
        notes=(note,) if note else (),
    )


_ADVICE = (
    "Give real pictures with `samples`. If the model takes other values than the stated "
    "normalisation gives it, say so (`mean=0` and `std=0.0039` for one that takes 0 to 255); else "
    "give trained `weights`, or "
)
_FINER = 'write `precision="fp32"`.'
_BEFORE = "return what comes before a sigmoid or softmax that is always at its end."


def _why_inconclusive(changes: _Changes, precision: Precision) -> str:
    parts = []
    if changes.error is None:
        parts.append("no output changes with the input")
    elif changes.unmoved:
        parts.append(f"{', '.join(changes.unmoved)} does not change with the input")
    for name, moved, error in changes.beyond:
        parts.append(
            f"{name} changes by {moved:.1e} of its size only, and the file is {error:.0%} of that "
            f"change off (allowed is {SPREAD_LIMIT:.0%})"
        )
    last = _BEFORE if precision.bits == 32 else _FINER
    return (
        f"inconclusive: between the inputs of the check, {'; '.join(parts)}: a file that ignores "
        f"the image would look like this one. {_ADVICE}{last}"
    )


def _status(float32_error: float, max_rel: float, tolerance: float) -> str:
    if not float32_error <= ILL_CONDITIONED:
        return "inconclusive"
    return "passed" if max_rel <= tolerance else "failed"
