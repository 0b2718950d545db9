"""Is what a runner computed the model's output? Asked before anything is timed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..artifacts.expected import compare_expected, expected_inputs
from ..exporters.table import precision_named
from .files import BenchArtifact
from .record import Check
from .runners.runner import NamedOutput, RunnerSession

__all__ = ["arrange", "check_outputs"]


def check_outputs(session: RunnerSession, artifact: BenchArtifact) -> Check | None:
    """The outputs of ``session`` against the expected ones; None when they cannot be compared.

    That is so when the runner gives none, for a file that ends with detections (the manifest holds
    the boxes and scores in front of its suppression), and when the manifest allows no error.

    The error allowed is that of the lower precision: the file's or the arithmetic's.
    """
    facts = artifact.manifest.expected
    taken = artifact.manifest.inputs
    first, *others = expected_inputs(facts, taken)
    named = {each.name: value for each, value in zip(taken[1:], others, strict=True)}
    outputs = session.outputs(first, **named)
    if outputs is None or artifact.suppresses:
        return None
    deviation = compare_expected(facts, arrange(outputs, artifact))
    half = "fp16" in (artifact.precision, session.loaded.precision)
    integers = precision_named(artifact.precision).integers
    floats = "fp16" if half else "fp32"
    tolerance = facts.tolerance.get(artifact.precision if integers else floats)
    if tolerance is None:
        return None
    return Check(
        passed=deviation.max_rel <= tolerance,
        max_rel=deviation.max_rel if np.isfinite(deviation.max_rel) else None,
        tolerance=tolerance,
        compared=deviation.compared,
    )


def arrange(outputs: Sequence[NamedOutput], artifact: BenchArtifact) -> list[np.ndarray]:
    """Outputs in the program's order and layout.

    By name where the runner tells the names, else by position; NHWC is turned to NCHW, and a batch
    dimension that the runtime does not have is put back. What fits no way is left as it is, so that
    the comparison says that it differs.
    """
    wanted = artifact.outputs
    by_name = {output.name: output for output in outputs}
    if {name for name, _ in wanted} <= set(by_name):
        outputs = [by_name[name] for name, _ in wanted]
    if len(outputs) != len(wanted):
        return [output.value for output in outputs]
    return [_fit(output, shape) for output, (_, shape) in zip(outputs, wanted, strict=True)]


def _fit(output: NamedOutput, shape: tuple[int, ...]) -> np.ndarray:
    value = output.value
    if output.nhwc and value.ndim == 4:
        turned = value.transpose(0, 3, 1, 2)
        if turned.shape == shape:
            return turned
    if value.shape == shape:
        return value
    no_ones = tuple(n for n in shape if n != 1)
    if tuple(n for n in value.shape if n != 1) == no_ones:
        return value.reshape(shape)
    return value
