"""Parity: does an artifact compute what the original model computes?

The reference is the original eager module in float64, before any pass. Errors are relative to the
largest magnitude of the reference output, so one number means the same for logits of any scale. A
comparison is a report, never a bool.

Statuses:
    passed        the worst error over all samples and outputs is within the tolerance, and what
                  changes with the sample is right in every output to what rounding explains
                  (`_spread_allowed`);
    failed        the error is not within it, or the artifact returned NaN, infinity or a wrong
                  shape;
    inconclusive  PyTorch's own float32 run of the model is more than `ILL_CONDITIONED` away from
                  its float64 run: with these weights no file can be judged. Or the error is within
                  the tolerance and, in some output, what changes with the sample is further off
                  than rounding explains: that output changes so little between the samples, or not
                  at all, that a wrong file would look like this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..artifacts.expected import Expected, expected_facts
from ..exporters.row import Precision
from ..exporters.table import precision_named, precision_names
from .compare import Difference, compare
from .reference import ILL_CONDITIONED, Reference
from .report import SPREAD_ALWAYS, SPREAD_LIMIT, ParityReport
from .spread import relative_spread, spread_error

__all__ = [
    "ILL_CONDITIONED",
    "expected_outputs",
    "judge",
]

ROUNDING_FACTOR = {16: 2.0, 32: 4.0}
"""By the bits of a weight: multiples of what rounding in PyTorch changes that a file may be off.
In float16 the largest error of whole files is 1.0 of it (docs/parity.md); in float32 it is the
factor of the tolerance."""


def expected_outputs(reference: Reference, names: Sequence[str]) -> Expected:
    """What a manifest says that the file must compute: the outputs for the first sample."""
    sample = reference.samples[0]
    given = sample.all_given(pixels=sample.pixels is not None)
    return expected_facts(
        sample.name,
        [each.numpy() for each in given],
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
    changes = _changes(reference, results, output_names, precision.bits)
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
        spread_allowed=changes.allowed,
        unmoved=changes.unmoved,
        notes=tuple(dict.fromkeys((*notes, *changes.notes))),
    )
    if report.status != "passed" or report.tells_apart:
        return report
    return replace(
        report, status="inconclusive", notes=(*report.notes, _why_inconclusive(changes, precision))
    )


class _Moved(NamedTuple):
    """Of one output, what changes with the sample, and how far off a file is there."""

    name: str
    spread: float
    error: float
    allowed: float


@dataclass(frozen=True)
class _Changes:
    """What changes with the sample.

    Attributes:
        spread, error, allowed: as `ParityReport.spread`, `spread_error` and `spread_allowed`.
        beyond: outputs whose error is beyond what is allowed.
        unmoved: as `ParityReport.unmoved`.
    """

    spread: float | None = None
    error: float | None = None
    allowed: float = SPREAD_ALWAYS
    beyond: tuple[_Moved, ...] = ()
    unmoved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _changes(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    bits: int,
) -> _Changes:
    if len(reference.samples) < 2:
        return _Changes()
    exact = list(zip(*reference.outputs, strict=True))
    if any(len(got) != len(exact) for got in results):
        return _Changes(error=math.inf)
    fixed: list[str] = []
    unmoved: list[str] = []
    found: list[_Moved] = []
    for index, (name, outputs) in enumerate(zip(names, exact, strict=True)):
        error = spread_error([arrays[index] for arrays in results], outputs)
        if error is not None:
            allowed = _spread_allowed(reference, index, error, bits)
            found.append(_Moved(name, relative_spread(outputs), error, allowed))
        else:
            (fixed if index in reference.fixed else unmoved).append(name)
    worst = max(found, key=lambda each: each.error / each.allowed, default=None)
    note = f"{', '.join(fixed)}: the same for every input" if fixed else ""
    return _Changes(
        spread=None if worst is None else worst.spread,
        error=None if worst is None else worst.error,
        allowed=SPREAD_ALWAYS if worst is None else worst.allowed,
        beyond=tuple(each for each in found if not each.error <= each.allowed),
        unmoved=tuple(unmoved),
        notes=(note,) if note else (),
    )


def _spread_allowed(reference: Reference, index: int, error: float, bits: int) -> float:
    """How far what changes in output ``index`` may be off: what rounding explains in this model.

    The model is run with rounding only where ``error`` would not be allowed without.
    """
    if error <= SPREAD_ALWAYS or reference.rounded is None:
        return SPREAD_ALWAYS
    rounded = reference.rounded(bits)
    if rounded is None:
        return SPREAD_ALWAYS
    outputs = [arrays[index] for arrays in reference.outputs]
    alone = spread_error([arrays[index] for arrays in rounded], outputs)
    assert alone is not None  # as of the file, for this output
    return allowed_by_rounding(alone, bits)


def allowed_by_rounding(alone: float, bits: int) -> float:
    """The spread error that a file may have where rounding alone makes one of ``alone``."""
    return min(max(ROUNDING_FACTOR[bits] * alone, SPREAD_ALWAYS), SPREAD_LIMIT)


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
    for name, moved, error, allowed in changes.beyond:
        parts.append(
            f"{name} changes by {moved:.1e} of its size only, and the file is {error:.1%} of that "
            f"change off (allowed is {allowed:.1%}, by what rounding does to this model)"
        )
    last = _BEFORE if precision.bits == 32 else _FINER
    return (
        f"inconclusive: between the inputs of the check, {'; '.join(parts)}: a file that "
        f"computes something else would look like this one. {_ADVICE}{last}"
    )


def _status(float32_error: float, max_rel: float, tolerance: float) -> str:
    if not float32_error <= ILL_CONDITIONED:
        return "inconclusive"
    return "passed" if max_rel <= tolerance else "failed"
