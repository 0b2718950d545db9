"""Parity: does an artifact compute what the original model computes?

The reference is the original eager module in float64, before any pass. Errors are relative to the
largest magnitude of the reference output, so one number means the same for logits of any scale. A
comparison is a report, never a bool.

Statuses:
    passed        the worst error over all samples and outputs is within the tolerance;
    failed        it is not, or the artifact returned NaN, infinity or a wrong shape;
    inconclusive  PyTorch's own float32 run of the model is more than `ILL_CONDITIONED` away from
                  its float64 run: with these weights no file can be judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..artifacts.expected import Expected, expected_facts
from ..exporters.row import Precision
from ..exporters.table import precision_named, precision_names
from .compare import Difference, compare
from .reference import Reference
from .report import ParityReport

__all__ = [
    "ILL_CONDITIONED",
    "expected_outputs",
    "judge",
]

ILL_CONDITIONED = 1e-4


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
    return ParityReport(
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
        notes=tuple(dict.fromkeys(notes)),
    )


def _status(float32_error: float, max_rel: float, tolerance: float) -> str:
    if not float32_error <= ILL_CONDITIONED:
        return "inconclusive"
    return "passed" if max_rel <= tolerance else "failed"
