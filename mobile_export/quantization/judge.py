"""Two verdicts on a file of integers, never mixed: faithful to the plan, and good for the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..exporters.row import FLOAT32
from ..parity.compare import compare
from ..parity.localise import LayerError, LayerReport
from ..parity.report import FIRST, ParityReport, listed
from ..passes.prove import float64_outputs
from .faithful import (
    LARGEST_STEP,
    Steps,
    allowed_error,
    missing_integers,
    missing_values,
    steps_of,
)
from .good import Good, judge_good

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from ..parity.reference import Reference
    from ..parity.samples import Sample
    from ..parity.session import Session
    from .options import QuantizationOptions
    from .quantized import Quantized

__all__ = ["judge_integers", "localise_steps", "plan_outputs"]


def plan_outputs(quantized: Quantized, samples: Sequence[Sample]) -> list[tuple[np.ndarray, ...]]:
    """What the plan computes for samples, in float64 with exact rounding."""
    program = quantized.rounded
    return [
        float64_outputs(program, *each.all_given(pixels=program.input.pixels)) for each in samples
    ]


_SAMPLES = 2
"""That a file is held against its plan on."""


def judge_integers(
    session: Session,
    quantized: Quantized,
    reference: Reference,
    options: QuantizationOptions,
    precision: str,
) -> ParityReport:
    """The report on a file of integers; it passes when it is faithful and good.

    Synthetic images do not tell whether it is good, unless the user says how good it must be.

    Args:
        reference: of the model, for the samples and for what float32 does to it.
        precision: that the file was asked to have.
    """
    samples = [*reference.samples[:1], *reference.samples[-1:]][:_SAMPLES]
    exact = plan_outputs(quantized, samples)
    results = [session.run(each) for each in samples]
    allowed = allowed_error(quantized.rounded, samples, exact)
    if not quantized.rounds:  # all arithmetic is that of a float32 file
        allowed = FLOAT32.allowed(reference.float32_error)
    rows = [
        (f"{sample.name}:{spec.name}", compare(a, b))
        for sample, got, wanted in zip(samples, results, exact, strict=True)
        for spec, a, b in zip(quantized.exact.outputs, got, wanted, strict=True)
    ]
    where, worst = max(rows, key=lambda row: row[1].max_rel)
    wrong = []
    if not worst.max_rel <= allowed:
        wrong.append(f"{where} is {worst.max_rel:.2g} of its size off, allowed is {allowed:.2g}")
    absent = missing_integers(quantized.rounded, session.stored_integers(), session.stored_floats())
    if absent:
        wrong.append(f"{listed(absent)}: the stored integers are not those of the plan")
    absent = missing_values(quantized.rounded, session.looked_up())
    if absent:
        wrong.append(f"{listed(absent)}: what is stored does not stand for the plan's weights")
    unseen = not session.shows_tensors and bool(quantized.plan.by_name("activation"))
    steps = Steps((), (), 0.0)
    if session.shows_tensors:
        steps = steps_of(quantized.rounded, samples[0], session.integers(samples[0]))
    if steps.missing:
        wrong.append(f"{listed(steps.missing)}: not in the file with the scale of the plan")
    if steps.wrong:
        furthest = max(steps.wrong, key=lambda each: each.off)
        wrong.append(f"{furthest.name} is {furthest.off} steps off, allowed is {LARGEST_STEP}")
    good = judge_good(session, quantized.exact, quantized.data.unseen, options)
    telling = options.gated or not quantized.on_synthetic
    top1 = [row.top1 for _, row in rows if row.top1 is not None]
    top5 = [row.top5 for _, row in rows if row.top5 is not None]
    return ParityReport(
        runtime=session.runtime,
        emulated=session.emulated,
        precision=precision,
        status="failed" if wrong or (telling and not good.passed) else "passed",
        tolerance=allowed,
        float32_error=reference.float32_error,
        max_abs=max(row.max_abs for _, row in rows),
        max_rel=worst.max_rel,
        cosine=min(row.cosine for _, row in rows),
        psnr=min(row.psnr for _, row in rows),
        worst=where,
        worst_index=worst.worst_index,
        top1=sum(top1) / len(top1) if top1 else None,
        top5=sum(top5) / len(top5) if top5 else None,
        samples=len(samples),
        notes=(
            *quantized.notes,
            f"faithful to the plan: {_faithful(wrong, steps)}"
            + (f"; what {session.runtime} computes inside cannot be seen" if unseen else ""),
            f"good for the model: {_good(good, telling)}",
        ),
        faithful=not wrong,
        qualities=good.qualities if telling else (),
    )


def _good(good: Good, telling: bool) -> str:
    if not telling:
        return f"nobody can tell by synthetic images: {good}"
    return f"no: {'; '.join(good.missed)}; {good}" if good.missed else str(good)


def _faithful(wrong: Sequence[str], steps: Steps) -> str:
    if wrong:
        return f"no: {'; '.join(wrong)}"
    if steps.worst is None:
        return "yes, its stored integers are equal"
    return (
        f"yes, its stored integers are equal, and all {len(steps.tensors)} computed tensors are "
        f"within {steps.worst.off} steps, {steps.equal:.2%} of them equal"
    )


def localise_steps(session: Session, quantized: Quantized, sample: Sample) -> LayerReport:
    """The first tensors of a file of integers that are further from the plan than a step, or that
    are not there."""
    steps = steps_of(quantized.rounded, sample, session.integers(sample))
    errors = [
        LayerError(name, "", "not in the file with the scale of the plan", (), None)
        for name in steps.missing
    ] + [
        LayerError(each.name, each.module, f"{each.off} steps off", each.shape, each.relative)
        for each in steps.wrong
    ]
    planned = len(steps.tensors) + len(steps.missing)
    return LayerReport(planned, planned - len(errors), tuple(errors[:FIRST]))
