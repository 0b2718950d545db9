"""Graph passes: Program -> Program, pure, in one ordered tuple, proven on every run.

A pass is a function that takes a program and returns a `PassResult`: the rewritten program (the one
it was given is unchanged), what it changed and what it refused, with the reason. It recognises
algebra on the ATen graph, never class names, and a second run reports no change.

`run_passes` compares the program with the original eager model in float64 afterwards and stops when
they differ by more than `EXACT`: an inexact rewrite never reaches an exporter, and neither does a
capture that is not what the model computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from ..errors import PassError, TraceError

if TYPE_CHECKING:
    from ..parity import Reference
    from ..program import Program

__all__ = ["EXACT", "PASSES", "Change", "Pass", "PassReport", "PassResult", "Refusal", "run_passes"]

EXACT = 1e-9
"""Largest float64 error of a rewritten program, relative to max |reference|."""


@dataclass(frozen=True)
class Change:
    """One rewrite: the node it was made at, and what was done, in a sentence."""

    node: str
    what: str


@dataclass(frozen=True)
class Refusal:
    """One rewrite that would not have been exact: the node, and why, naming the value."""

    node: str
    reason: str


@dataclass(frozen=True)
class PassResult:
    """What a pass returns."""

    program: Program
    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()


class Pass(Protocol):
    """A pass: a pure function with a name."""

    __name__: str

    def __call__(self, program: Program) -> PassResult:
        """Rewrite ``program``."""


@dataclass(frozen=True)
class PassReport:
    """What one pass did in one run of the pipeline."""

    name: str
    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...]


PASSES: tuple[Pass, ...] = ()
"""Every pass, in the order in which they run. Add one with docs/adding-a-pass.md."""


def run_passes(
    program: Program, reference: Reference, passes: Sequence[Pass] = PASSES
) -> tuple[Program, tuple[PassReport, ...]]:
    """Apply ``passes`` in order and prove the result on the last sample of ``reference``.

    Raises:
        TraceError: the captured program, before any pass, is not what the eager model computes.
        PassError: the program after the passes is not what the eager model computes.
    """
    reports: list[PassReport] = []
    rewritten = program
    for function in passes:
        result = function(rewritten)
        rewritten = result.program
        reports.append(PassReport(function.__name__, result.changes, result.refusals))
    error = _error(rewritten, reference)
    if error <= EXACT:
        return rewritten, tuple(reports)
    before = error if rewritten is program else _error(program, reference)
    if before > EXACT:
        raise TraceError(
            f"The captured graph of {program.spec} differs from the eager model by {before:.1e} of "
            "the output range in float64.",
            hint="Does its forward use random numbers, or change its own state? Such a model has "
            "no static graph; make eval mode deterministic.",
        )
    names = ", ".join(report.name for report in reports if report.changes)
    raise PassError(
        f"The passes changed what {program.spec} computes: {error:.1e} of the output range in "
        f"float64, allowed is {EXACT:.0e}. Passes that rewrote something: {names}.",
        hint="No file was written. Please report the model.",
    )


def _error(program: Program, reference: Reference) -> float:
    """Float64 error of ``program`` on the last sample, relative to max |reference|.

    The last, so that a model that changes its own state between calls is caught.
    """
    import numpy as np

    from ..float64 import run_float64
    from ..parity import compare

    exact = reference.outputs[-1]
    results = run_float64(program.float64(), reference.samples[-1].image)
    errors = [compare(a.numpy(), b).max_rel for a, b in zip(results, exact, strict=True)]
    return float(np.max(errors))
