"""Parity: does an artifact compute what the original model computes?

The reference is the original eager module in float64, before any pass. Errors are relative to the
largest magnitude of the reference output, so one number means the same for logits of any scale. A
comparison is a report, never a bool.

Verdicts:
    passed        the worst error over all samples and outputs is within the tolerance;
    failed        it is not, or the artifact returned NaN, infinity or a wrong shape;
    inconclusive  PyTorch's own float32 run of the model is more than `ILL_CONDITIONED` away from
                  its float64 run: with these weights no file can be judged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .errors import SourceError, summary
from .expected import expected_facts
from .float64 import double_copy, run_float64
from .inputs import Sample
from .program import flatten_outputs
from .specs import VERDICTS

if TYPE_CHECKING:
    from .detection_parity import DetectionCheck

__all__ = [
    "FP16_TOLERANCE",
    "FP32_TOLERANCE",
    "ILL_CONDITIONED",
    "Difference",
    "ParityReport",
    "Reference",
    "compare",
    "expected_outputs",
    "judge",
    "make_reference",
    "tolerance_for",
    "with_activation",
]

FP32_TOLERANCE = 1e-5
FP16_TOLERANCE = 1e-2
ILL_CONDITIONED = 1e-4
_FLOAT32_ALLOWANCE = 4.0


@dataclass(frozen=True)
class Reference:
    """What the original model returns, and how exactly PyTorch's own float32 reproduces it.

    Attributes:
        samples: the inputs, in order.
        outputs: per sample, one float64 (or integer) array per output.
        float32_error: worst error of eager float32, relative to max |reference|.
        notes: warnings about what these inputs can prove.
    """

    samples: tuple[Sample, ...]
    outputs: tuple[tuple[np.ndarray, ...], ...]
    float32_error: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Difference:
    """How far one array is from its reference.

    Attributes:
        max_abs: largest absolute difference.
        max_rel: the same divided by max |reference|.
        cosine: cosine similarity of the flattened arrays.
        psnr: peak signal-to-noise ratio in dB, peak = max |reference|; infinity when equal.
        worst_index: index of the largest difference.
        top1, top5: for (1, classes) outputs, whether the best class agrees and how many of the five
            best are shared (0 to 1); None for other shapes.
    """

    max_abs: float
    max_rel: float
    cosine: float
    psnr: float
    worst_index: tuple[int, ...]
    top1: bool | None = None
    top5: float | None = None


@dataclass(frozen=True)
class ParityReport:
    """The verdict on one artifact, with the numbers behind it (worst over samples and outputs).

    Attributes:
        detections: of a file that ends with non-maximum suppression; the errors are then those of
            the boxes and scores in front of it.
        others: reports on the same file under other options that a device may run it with.
    """

    runtime: str
    emulated: bool
    precision: str
    verdict: str
    tolerance: float
    float32_error: float
    max_abs: float
    max_rel: float
    cosine: float
    psnr: float
    worst: str
    worst_index: tuple[int, ...]
    top1: float | None
    top5: float | None
    samples: int
    notes: tuple[str, ...] = ()
    detections: DetectionCheck | None = None
    others: tuple[ParityReport, ...] = ()

    @property
    def passed(self) -> bool:
        """True only when the verdict is "passed", and that of every other option, too."""
        return self.deciding.verdict == "passed"

    @property
    def deciding(self) -> ParityReport:
        """Of this report and `others`, the first with the worst verdict."""
        return min((self, *self.others), key=lambda report: VERDICTS.index(report.verdict))

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN and infinity become None."""

        def clean(value: Any) -> Any:
            if isinstance(value, float) and not math.isfinite(value):
                return None
            return list(value) if isinstance(value, tuple) else value

        facts = {name: clean(value) for name, value in vars(self).items()}
        facts["detections"] = None if self.detections is None else dict(vars(self.detections))
        facts["others"] = [report.to_dict() for report in self.others]
        return {**facts, "passed": self.passed}


def make_reference(module: torch.nn.Module, samples: Sequence[Sample]) -> Reference:
    """Run the original eager module on ``samples`` in float64 and in float32."""
    double = double_copy(module)
    outputs: list[tuple[np.ndarray, ...]] = []
    float32_error = 0.0
    for sample in samples:
        exact = _arrays(_run_exactly(double, sample.image))
        with torch.no_grad():
            single = _arrays(module(sample.image.float().clone()))  # it may write to it
        float32_error = max(
            float32_error, *(compare(b, a).max_rel for a, b in zip(exact, single, strict=True))
        )
        outputs.append(exact)
    return Reference(tuple(samples), tuple(outputs), float32_error, _sensitivity(outputs))


def _run_exactly(double: torch.nn.Module, image: torch.Tensor) -> Any:
    try:
        return run_float64(double, image)
    except Exception as error:  # an operator of the user's own may not know float64
        raise SourceError(
            f"{type(double).__name__} runs in float32, but not in float64, which is the reference: "
            f"{summary(error)}",
            hint="Every operator of the model must take float64 on the CPU.",
        ) from error


def _arrays(result: Any) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().numpy() for tensor in flatten_outputs(result)[1])


def _sensitivity(outputs: Sequence[tuple[np.ndarray, ...]]) -> tuple[str, ...]:
    """A warning when the model's output hardly depends on its input: parity would prove little."""
    if any(np.isnan(array).any() for arrays in outputs for array in arrays):
        return ("the model itself returns NaN on these inputs",)
    first = np.stack([arrays[0] for arrays in outputs]).astype(np.float64)
    if not np.isfinite(first).all():
        return ("the model itself returns infinity on these inputs",)
    spread, scale = float(np.ptp(first, axis=0).max()), float(np.abs(first).max())
    if len(outputs) > 1 and spread <= 1e-4 * scale:
        return (
            "the output hardly changes with the input "
            f"({spread:.1e} of a range of {scale:.1e}), so parity proves little",
        )
    return ()


def with_activation(reference: Reference, activation: str | None) -> Reference:
    """``reference`` as seen behind the activation that an artifact adds to the logits."""
    if activation is None:
        return reference
    assert activation == "softmax", activation
    return replace(
        reference,
        outputs=tuple(tuple(_softmax(array) for array in arrays) for arrays in reference.outputs),
    )


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def tolerance_for(precision: str, float32_error: float) -> float:
    """Largest error allowed, relative to max |reference|.

    fp16: `FP16_TOLERANCE`. fp32: `FP32_TOLERANCE`, or four times PyTorch's own float32 error on
    this model and these inputs, whichever is larger.
    """
    if precision == "fp16":
        return FP16_TOLERANCE
    return max(FP32_TOLERANCE, _FLOAT32_ALLOWANCE * float32_error)


def expected_outputs(reference: Reference, names: Sequence[str]) -> dict[str, Any]:
    """What a manifest says that the file must compute: the outputs for the first sample."""
    sample = reference.samples[0]
    image = sample.image if sample.pixels is None else sample.pixels
    return expected_facts(
        sample.name,
        image.float().numpy(),
        reference.outputs[0],
        names,
        {p: tolerance_for(p, reference.float32_error) for p in ("fp32", "fp16")},
    )


def compare(got: np.ndarray, reference: np.ndarray) -> Difference:
    """Difference of ``got`` from ``reference`` (same shape), computed in float64.

    Integer references (arg-max maps) are compared for equality: ``max_rel`` is then the fraction of
    elements that differ. An infinity (a mask) equals the same infinity only, and NaN nothing;
    "max |reference|" is that of its finite elements. No figure that decides a verdict is ever NaN.
    """
    index: tuple[int, ...]
    if got.shape != reference.shape:
        return Difference(math.inf, math.inf, math.nan, -math.inf, ())
    if not np.issubdtype(reference.dtype, np.floating):
        wrong = got != reference
        index = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
        share = float(wrong.mean()) if wrong.size else 0.0
        return Difference(float(wrong.any()), share, 1.0 - share, math.inf, index)
    a = np.asarray(got, dtype=np.float64)
    b = np.asarray(reference, dtype=np.float64)
    if b.size == 0:
        return Difference(0.0, 0.0, 1.0, math.inf, ())
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b)
    error = np.where(np.isfinite(error), error, math.inf)
    same = np.isinf(b) & (a == b)
    error = np.where(same, 0.0, error)
    index = tuple(int(i) for i in np.unravel_index(int(error.argmax()), error.shape))
    max_abs = float(error.max())
    scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
    max_rel = max_abs / scale if scale > 0 else (0.0 if max_abs == 0 else math.inf)
    top1, top5 = _top(a, b)
    return Difference(
        max_abs,
        max_rel,
        _cosine(a[~same], b[~same]),
        _psnr(error, scale),
        index,
        top1=top1,
        top5=top5,
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(a) * np.linalg.norm(b))
    return (
        float(np.vdot(a, b)) / norm if norm > 0 else (1.0 if not a.any() and not b.any() else 0.0)
    )


def _psnr(error: np.ndarray, scale: float) -> float:
    mse = float(np.mean(np.square(error)))
    if mse == 0:
        return math.inf
    return 10 * math.log10(scale**2 / mse) if scale > 0 and math.isfinite(mse) else -math.inf


def _top(a: np.ndarray, b: np.ndarray) -> tuple[bool | None, float | None]:
    if b.ndim != 2 or b.shape[0] != 1 or b.shape[1] < 5:
        return None, None
    best_a, best_b = (np.argsort(-v[0], kind="stable")[:5] for v in (a, b))
    return bool(best_a[0] == best_b[0]), len(set(best_a) & set(best_b)) / 5


def judge(
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    *,
    precision: str,
    runtime: str,
    emulated: bool,
    output_names: Sequence[str],
) -> ParityReport:
    """The report on an artifact that returned ``results`` (per sample, one array per output)."""
    tolerance = tolerance_for(precision, reference.float32_error)
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
        precision=precision,
        verdict=_verdict(reference.float32_error, worst.max_rel, tolerance),
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


def _verdict(float32_error: float, max_rel: float, tolerance: float) -> str:
    if not float32_error <= ILL_CONDITIONED:
        return "inconclusive"
    return "passed" if max_rel <= tolerance else "failed"
