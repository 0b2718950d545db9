"""Parity: does an artifact compute what the original model computes?

The reference is the original eager module in float64, before any pass. Errors are relative to the
largest magnitude of the reference output, so one number means the same for logits of any scale. A
comparison is a report, never a bool.

Statuses:
    passed        in every output the error over all samples is within what is allowed, relative to
                  its size and to what changes with the sample (`parity.faithful`);
    failed        the error is not within it, or the artifact returned NaN, infinity or a wrong
                  shape: it is not faithful. Or, of a file of less than float32, it is faithful and
                  some output does not serve as the original's does (`parity.good`);
    inconclusive  PyTorch's own float32 run of the model is more than `ILL_CONDITIONED` away from
                  its float64 run: with these weights no file can be judged. Or the error is within
                  the tolerance and, in some output, what changes with the sample is further off
                  than rounding explains: that output changes so little between the samples, or not
                  at all, that a wrong file would look like this one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from ..artifacts.expected import Expected, expected_facts
from ..artifacts.words import Task
from ..exporters.row import LOOSEST, Precision
from ..exporters.table import precision_named, precision_names
from .compare import Difference, compare
from .faithful import Bound, bound_of, wrong_part
from .good import Quality, qualities
from .parts import parts_of
from .reference import ILL_CONDITIONED, Reference
from .report import NOT_GOOD, SPREAD_ALWAYS, ParityReport
from .rounding import rounding_of
from .spread import relative_spread, spread_error

__all__ = [
    "ILL_CONDITIONED",
    "expected_outputs",
    "judge",
]


def expected_outputs(
    reference: Reference,
    names: Sequence[str],
    executed: Sequence[tuple[Precision, str]] = (),
    steps: Sequence[float] = (),
) -> Expected:
    """What a manifest says that the file must compute: the outputs for the first sample.

    A device may round its sums, too, so it may be off by the limit of the precision, and by what
    the file may be here, if that is more.

    Args:
        executed: the precisions and arithmetics that the file was judged in.
        steps: as those of `judge`.
    """
    sample = reference.samples[0]
    given = sample.all_given(pixels=sample.pixels is not None)
    tolerances = {
        name: precision_named(name).tolerance.allowed(reference.float32_error)
        for name in precision_names()
    }
    for precision, arithmetic in executed:
        bounds = [bound_of(reference, i, None, precision, arithmetic) for i in range(len(names))]
        if steps:
            bounds = list(map(_with_step, bounds, steps, reference.outputs[0]))
        allowed = max((bound.size for bound in bounds), default=0.0)
        tolerances[precision.name] = max(tolerances[precision.name], allowed)
    return expected_facts(
        sample.name, [each.numpy() for each in given], reference.outputs[0], names, tolerances
    )


def judge(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    *,
    precision: Precision,
    runtime: str,
    emulated: bool,
    output_names: Sequence[str],
    arithmetic: str = "fp32",
    task: Task | None = None,
    steps: Sequence[float] = (),
) -> ParityReport:
    """The report on an artifact that returned ``results`` (per sample, one array per output).

    Args:
        precision: that the file was asked to have; its row says what is allowed.
        arithmetic: that it was executed in, ``fp32`` or ``fp16``.
        task: what the model is for.
        steps: of each output, the absolute error of the runtime's own code for the operator that it
            ends with (`parity.session.Session.steps`); none, or 0 where there is nothing to say.
    """
    judged = partial(
        _judged,
        results=results,
        precision=precision,
        runtime=runtime,
        emulated=emulated,
        output_names=output_names,
        arithmetic=arithmetic,
        task=task,
        steps=steps,
    )
    report = judged(reference)
    single = rounding_of(precision.bits, arithmetic) == "float32"
    if report.status != "failed" or not single or reference.moved_error is None:
        return report
    moved = reference.moved_error()
    if not reference.float32_error < moved <= ILL_CONDITIONED:
        return report
    again = judged(replace(reference, float32_error=moved))
    if again.status != "passed":
        return report
    return replace(again, notes=(*again.notes, _note_on_moves(reference.float32_error, moved)))


def _note_on_moves(float32_error: float, moved: float) -> str:
    return (
        f"PyTorch's own float32 run is {float32_error:.1e} off, and {moved:.1e} where every "
        "operator's result is moved by up to a unit in its last place: what other kernels than "
        "PyTorch's may do to this model"
    )


def _judged(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    precision: Precision,
    runtime: str,
    emulated: bool,
    output_names: Sequence[str],
    arithmetic: str,
    task: Task | None,
    steps: Sequence[float],
) -> ParityReport:
    changes = _changes(reference, results, output_names, precision, arithmetic)
    notes = list(reference.notes)
    rows: list[_Row] = []
    for sample, exact, got in zip(reference.samples, reference.outputs, results, strict=True):
        if len(got) != len(exact):
            notes.append(f"{len(got)} outputs, the model has {len(exact)}")
            missing = Difference(math.inf, math.inf, math.nan, -math.inf, ())
            rows.append(_Row(sample.name, missing, changes.bounds[0]))
            continue
        bounds = list(map(_with_step, changes.bounds, steps or [0.0] * len(exact), exact))
        for name, a, b, bound in zip(output_names, got, exact, bounds, strict=True):
            if a.shape != b.shape:
                notes.append(f"output {name} has shape {a.shape}, the model's is {b.shape}")
            rows.append(_Row(f"{sample.name}:{name}", compare(a, b), bound))
    where, worst, bound = max(rows, key=lambda row: row.difference.max_rel / row.bound.size)
    if (note := _note_on_steps(rows, runtime)) is not None:
        notes.append(note)
    differences = [row.difference for row in rows]
    top1 = [difference.top1 for difference in differences if difference.top1 is not None]
    top5 = [difference.top5 for difference in differences if difference.top5 is not None]
    within = worst.max_rel <= bound.size and not changes.wrong
    report = ParityReport(
        runtime=runtime,
        emulated=emulated,
        precision=precision.name,
        status=_status(reference.float32_error, within),
        tolerance=bound.size,
        float32_error=reference.float32_error,
        float16_error=bound.rounding_error,
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
        qualities=_qualities(reference, results, output_names, task),
        unmoved=changes.unmoved,
        notes=tuple(dict.fromkeys((*notes, *changes.notes))),
    )
    return _concluded(report, changes, precision, _sizes(reference, output_names))


def _concluded(
    report: ParityReport, changes: _Changes, precision: Precision, sizes: dict[str, float]
) -> ParityReport:
    """``report``, whose status is that of the error's size, with the other verdicts.

    Args:
        sizes: as those of `_why_nobody_can`.
    """
    if report.status == "failed":
        notes = (*report.notes, _why_wrong(changes)) if changes.wrong else report.notes
        return replace(report, faithful=False, notes=notes)
    if report.status != "passed":
        return replace(report, notes=(*report.notes, _why_nobody_can(report.float32_error, sizes)))
    if not report.tells_apart:
        notes = (*report.notes, _why_inconclusive(changes, precision))
        return replace(report, status="inconclusive", notes=notes)
    report = replace(report, faithful=True)
    return report if precision.bits >= 32 or report.useful is not False else _too_coarse(report)


def _too_coarse(report: ParityReport) -> ParityReport:
    short = [f"{each} where {each.asked} is asked" for each in report.qualities if not each.passed]
    note = (
        f"{NOT_GOOD}: the file loses what {report.precision} loses in PyTorch, too, and that is "
        f"too much: {', '.join(short)}"
    )
    return replace(report, status="failed", notes=(*report.notes, note))


def _qualities(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    task: Task | None,
) -> tuple[Quality, ...]:
    """Nothing where shapes are not the model's."""
    for got, exact in zip(results, reference.outputs, strict=True):
        if [each.shape for each in got] != [each.shape for each in exact]:
            return ()
    return qualities(task, names, results, reference.outputs)


class _Row(NamedTuple):
    """How far one output is off for one sample, and how far it may be."""

    where: str
    difference: Difference
    bound: Bound


def _with_step(bound: Bound, step: float, exact: np.ndarray) -> Bound:
    """``bound`` where the runtime's last operator is ``step`` off by itself, whatever the size."""
    size = float(np.abs(exact[np.isfinite(exact)]).max(initial=0.0))
    if step == 0 or size == 0:
        return bound
    allowed = max(bound.size, min(step / size, LOOSEST))
    return replace(bound, size=allowed, step=step, plain=bound.size)


def _note_on_steps(rows: Sequence[_Row], runtime: str) -> str | None:
    """What was allowed beyond the tolerance, where an output needed it."""
    beyond = [
        row
        for row in rows
        if row.bound.step and row.bound.plain < row.difference.max_rel <= row.bound.size
    ]
    if not beyond:
        return None
    where, difference, bound = max(beyond, key=lambda row: row.difference.max_rel)
    return (
        f"{where.partition(':')[2]} is {difference.max_abs:.1e} off, {difference.max_rel:.1e} of "
        f"its size: {runtime}'s own code for its last operator has an error of up to "
        f"{bound.step:.1e}, however small the result is"
    )


class _Moved(NamedTuple):
    """Of one output, what changes with the sample, and how far off a file is there."""

    name: str
    spread: float
    error: float
    bound: Bound


@dataclass(frozen=True)
class _Changes:
    """What changes with the sample.

    Attributes:
        bounds: of every output.
        spread, error, allowed: as `ParityReport.spread`, `spread_error` and `spread_allowed`.
        wrong: outputs whose error no rounding explains.
        beyond: outputs whose error may be rounding or not.
        unmoved: as `ParityReport.unmoved`.
    """

    bounds: tuple[Bound, ...]
    spread: float | None = None
    error: float | None = None
    allowed: float = SPREAD_ALWAYS
    wrong: tuple[_Moved, ...] = ()
    beyond: tuple[_Moved, ...] = ()
    unmoved: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def _changes(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    precision: Precision,
    arithmetic: str,
) -> _Changes:
    exact = list(zip(*reference.outputs, strict=True))
    complete = all(len(got) == len(exact) for got in results)
    errors = [
        spread_error([arrays[index] for arrays in results], outputs) if complete else math.inf
        for index, outputs in enumerate(exact)
    ]
    if len(reference.samples) < 2:
        errors = [None] * len(exact)
    bounds = tuple(
        bound_of(reference, index, error, precision, arithmetic)
        for index, error in enumerate(errors)
    )
    if len(reference.samples) < 2:
        return _Changes(bounds)
    if not complete:
        return _Changes(bounds, error=math.inf)
    fixed: list[str] = []
    unmoved: list[str] = []
    found: list[_Moved] = []
    for index, (name, outputs, error) in enumerate(zip(names, exact, errors, strict=True)):
        if error is not None:
            found.append(_Moved(name, relative_spread(outputs), error, bounds[index]))
        else:
            (fixed if index in reference.fixed else unmoved).append(name)
    worst = max(found, key=lambda each: each.error / each.bound.spread_allowed, default=None)
    note = f"{', '.join(fixed)}: the same for every input" if fixed else ""
    return _Changes(
        bounds,
        spread=None if worst is None else worst.spread,
        error=None if worst is None else worst.error,
        allowed=SPREAD_ALWAYS if worst is None else worst.bound.spread_allowed,
        wrong=(
            *(each for each in found if not each.error <= each.bound.spread),
            *_wrong_parts(reference, results, names, precision, arithmetic),
        ),
        beyond=tuple(each for each in found if not each.error <= each.bound.doubtful),
        unmoved=tuple(unmoved),
        notes=(note,) if note else (),
    )


def _wrong_parts(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    names: Sequence[str],
    precision: Precision,
    arithmetic: str,
) -> Iterator[_Moved]:
    """Parts of outputs, small beside the rest of them, that the file gets wrong.

    None of files of integers: one scale for a whole tensor loses small parts, as the plan says.
    """
    if precision.bits < 16:
        return
    for index, name in enumerate(names):
        exact = [arrays[index] for arrays in reference.outputs]
        got = [np.asarray(arrays[index]) for arrays in results]
        if any(a.shape != b.shape for a, b in zip(got, exact, strict=True)):
            continue
        for part in parts_of(exact):
            found = wrong_part(reference, index, part, got, precision, arithmetic)
            if found is not None:
                error, allowed = found
                moved = relative_spread([part.of(array) for array in exact])
                bound = Bound("float32", None, allowed, allowed, allowed)
                yield _Moved(part.named(name), moved, error, bound)


_ADVICE = (
    "Give real pictures with `samples`. If the model takes other values than the stated "
    "normalisation gives it, say so (`mean=0` and `std=0.0039` for one that takes 0 to 255); else "
    "give trained `weights`, or "
)
_FINER = 'write `precision="fp32"`.'
_BEFORE = "return what comes before a sigmoid or softmax that is always at its end."


_LEAST_FLOAT32 = 2.0**-126
"""Below it float32 loses bits, and many processors take it for 0 (IEEE 754: subnormal)."""


def _sizes(reference: Reference, names: Sequence[str]) -> dict[str, float]:
    """Of every output of floating-point numbers, its largest finite magnitude for any sample."""
    found = {}
    for name, arrays in zip(names, zip(*reference.outputs, strict=True), strict=True):
        if np.issubdtype(arrays[0].dtype, np.floating):
            largest = (np.abs(each[np.isfinite(each)]).max(initial=0.0) for each in arrays)
            found[name] = float(max(largest))
    return found


def _why_nobody_can(float32_error: float, sizes: dict[str, float]) -> str:
    """Why no file of this model can be judged.

    Args:
        sizes: of the outputs, by name.
    """
    tiny = [f"{name} ({size:.1e})" for name, size in sizes.items() if 0 < size < _LEAST_FLOAT32]
    cause = (
        f"; {', '.join(tiny)} is at most so large in float64, which is 0 in float32" if tiny else ""
    )
    return (
        f"inconclusive: PyTorch's own float32 run differs from float64 by {float32_error:.1e} of "
        f"the output range, so with these weights no file can be judged{cause}. Give trained "
        "`weights`, or another `seed`."
    )


def _why_wrong(changes: _Changes) -> str:
    parts = [
        f"{each.name} changes by {each.spread:.1e} of its size, and the file is {each.error:.2%} "
        f"of that change off; rounding explains {each.bound.spread:.2%}"
        for each in changes.wrong
    ]
    return f"between the inputs of the check, {'; '.join(parts)}"


def _why_inconclusive(changes: _Changes, precision: Precision) -> str:
    parts = []
    if changes.error is None:
        parts.append("no output changes with the input")
    elif changes.unmoved:
        parts.append(f"{', '.join(changes.unmoved)} does not change with the input")
    for name, moved, error, bound in changes.beyond:
        own = bound.rounding_spread
        alone = "" if own is None else f"; PyTorch's own {bound.rounding} run is {own:.1%} off"
        parts.append(
            f"{name} changes by {moved:.1e} of its size only, and the file is {error:.1%} of that "
            f"change off (allowed is {bound.doubtful:.1%}, by what rounding does to this "
            f"model{alone})"
        )
    last = _BEFORE if precision.bits == 32 else _FINER
    return (
        f"inconclusive: between the inputs of the check, {'; '.join(parts)}: a file that "
        f"computes something else would look like this one. {_ADVICE}{last}"
    )


def _status(float32_error: float, within: bool) -> str:
    if not float32_error <= ILL_CONDITIONED:
        return "inconclusive"
    return "passed" if within else "failed"
