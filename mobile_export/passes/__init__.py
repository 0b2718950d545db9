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
from typing import TYPE_CHECKING

from ..errors import MobileExportError, PassError, SourceError, TraceError, UsageError
from ._types import Change, Pass, PassReport, PassResult, Refusal
from .compose_layers import compose_layers
from .fold_constants import fold_constants
from .fold_norms import fold_norms
from .fold_scales import fold_scales
from .index_nearest import index_nearest
from .limit_rank import limit_rank
from .merge_branches import merge_branches
from .move_less import move_less
from .normalize_ops import normalize_ops
from .remove_noops import remove_noops
from .slice_windows import slice_windows

if TYPE_CHECKING:
    from ..parity import Reference
    from ..program import Program

__all__ = [
    "EXACT",
    "EXTRA_PASSES",
    "PASSES",
    "Change",
    "Pass",
    "PassReport",
    "PassResult",
    "Refusal",
    "run_passes",
    "select_passes",
]

EXACT = 1e-9
"""Largest float64 error of a rewritten program, relative to max |reference|."""


PASSES: tuple[Pass, ...] = (
    normalize_ops,
    fold_constants,
    remove_noops,
    merge_branches,
    fold_norms,
    fold_scales,
    compose_layers,
    move_less,
)
"""Every pass, in the order in which they run. Add one with docs/adding-a-pass.md.

Sums of branches are merged before norms are folded: a norm behind a sum has nowhere to go until the
sum is one convolution. What a fold uncovers is merged in the next round.
"""

EXTRA_PASSES: tuple[Pass, ...] = (index_nearest, slice_windows, limit_rank)
"""Passes that only those formats run whose row in `targets.TARGETS` asks for them."""

_ROUNDS = 6


def select_passes(without: Sequence[str] = (), extra: Sequence[str] = ()) -> tuple[Pass, ...]:
    """`PASSES` and those of `EXTRA_PASSES` that are named, without those named.

    Raises:
        UsageError: there is no pass of that name.
    """
    names = {function.__name__ for function in (*PASSES, *EXTRA_PASSES)}
    unknown = [name for name in without if name not in names]
    if unknown:
        raise UsageError(
            f"There is no pass {unknown[0]!r}.", hint=f"The passes are: {', '.join(sorted(names))}."
        )
    added = [function for function in EXTRA_PASSES if function.__name__ in extra]
    return tuple(f for f in (*PASSES, *added) if f.__name__ not in without)


def run_passes(
    program: Program, reference: Reference, passes: Sequence[Pass] = PASSES
) -> tuple[Program, tuple[PassReport, ...]]:
    """Apply ``passes`` in order until none finds anything, prove the result, round it to float32.

    The proof is a run in float64 on the last sample of ``reference``.

    Returns:
        The program, and one report per pass: all its changes, and the refusals of its last run.

    Raises:
        SourceError: the eager model returns NaN, which nothing can be compared with.
        TraceError: the captured program, before any pass, is not what the eager model computes.
        PassError: the program after the passes is not what the eager model computes.
    """
    _refuse_nan(program, reference)
    reports = [PassReport(function.__name__, (), ()) for function in passes]
    rewritten = program
    settled: dict[int, Program] = {}  # what each pass found nothing more in: passes are idempotent
    for _ in range(_ROUNDS):
        last = rewritten
        for index, function in enumerate(passes):
            if settled.get(index) is rewritten:
                continue
            result = _apply(function, rewritten)
            rewritten = settled[index] = result.program
            changes = reports[index].changes + result.changes
            reports[index] = PassReport(function.__name__, changes, result.refusals)
        if rewritten is last:
            break
    error = _error(rewritten, reference)
    if error <= EXACT:
        return rewritten.in_float32(), tuple(reports)
    before = error if rewritten is program else _error(program, reference)
    if before > EXACT:
        raise TraceError(
            f"The captured graph of {program.spec} differs from the eager model by {before:.1e} of "
            "the output range in float64.",
            hint="Does its forward use random numbers, or change its own state? Such a model has "
            "no static graph; make eval mode deterministic.",
        )
    names = ", ".join(dict.fromkeys(report.name for report in reports if report.changes))
    raise PassError(
        f"The passes changed what {program.spec} computes: {error:.1e} of the output range in "
        f"float64, allowed is {EXACT:.0e}. Passes that rewrote something: {names}.",
        hint="No file was written; --no-pass NAME leaves a pass out. Please report the model.",
    )


def _apply(function: Pass, program: Program) -> PassResult:
    try:
        return function(program)
    except MobileExportError:
        raise
    except Exception as error:  # a graph that the pass did not expect; any type
        raise PassError(
            f"The pass {function.__name__} failed on {program.spec}: "
            f"{type(error).__name__}: {error}",
            hint=f"Leave it out with --no-pass {function.__name__}, and please report the model.",
        ) from error


def _refuse_nan(program: Program, reference: Reference) -> None:
    import numpy as np
    import torch

    if not any(np.isnan(array).any() for array in reference.outputs[-1]):
        return
    exported = program.exported
    stored = {**exported.state_dict, **exported.constants}
    bad = [
        name.removeprefix("module.")
        for name, value in stored.items()
        if isinstance(value, torch.Tensor)
        and value.is_floating_point()
        and not (
            bool(torch.isfinite(value).all())
            and (not name.endswith("running_var") or bool((value > 0).all()))
        )
    ]
    raise SourceError(
        f"{program.spec} itself returns NaN in float64, so no file can be compared with it.",
        hint="Look at " + ", ".join(repr(name) for name in bad[:5]) + ": NaN, infinity, or a "
        "variance that is not positive."
        if bad
        else "Its weights are finite; look for a logarithm, root or division in its forward.",
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
    errors = [compare(a.detach().numpy(), b).max_rel for a, b in zip(results, exact, strict=True)]
    return float(np.max(errors))
