"""Run passes in rounds until none finds anything, and prove the result in float64.

The program is compared with the original eager model, and the run stops when they differ by more
than `EXACT`: an inexact rewrite never reaches an exporter, and neither does a capture that is not
what the model computes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MobileExportError, PassError, TraceError
from ..graph.changes import Change, Pass, PassReport, PassResult, Refusal
from ..graph.raised import call_at, node_of
from ..graph.rounds import settle
from ..graph.writes import unsteady_calls, written_buffers
from ..operators import decompose, needs_decomposing
from ..operators.core import listed
from ..system.memory import collecting_rarely
from .normalize_ops import normalize_ops
from .prove import EXACT, distance, refuse_nan
from .table import PASSES, stage_of

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..parity.reference import Reference

__all__ = ["PassRunner", "run_passes"]


_ROUNDS = 20
"""Rounds after which passes are held to undo each other; models need fewer than ten."""


_Progress = Callable[[str], None]


def _silent(stage: str) -> None:
    """Progress that nobody sees."""


@dataclass(frozen=True)
class _Rewritten:
    """A program, and by pass what was done to it, what was refused, and what came out of it last.

    Passes are idempotent: one that made ``program`` itself finds nothing more in it.
    """

    program: Program
    changes: dict[Pass, tuple[Change, ...]]
    refusals: dict[Pass, tuple[Refusal, ...]]
    results: dict[Pass, Program]

    def after(self, function: Pass, progress: _Progress) -> _Rewritten:
        """The same after one more run of ``function``, which ``progress`` is told before."""
        name = "operators" if function.__name__ == decompose.__name__ else function.__name__
        progress(f"passes: {name}, {len(self.program.exported.graph.nodes)} nodes")
        result = _apply(function, self.program)
        changes = self.changes.get(function, ()) + result.changes
        return _Rewritten(
            result.program,
            {**self.changes, function: changes},
            {**self.refusals, function: result.refusals},
            {**self.results, function: result.program},
        )


class PassRunner:
    """Lists of passes on one program: what several lists begin with is run and proven once.

    Args:
        progress: told each pass before it runs, with the nodes of the graph that it is given, and
            the proof; a pass may take minutes on a large graph.

    Raises:
        SourceError: the eager model returns NaN, which nothing can be compared with.
    """

    def __init__(
        self, program: Program, reference: Reference, progress: _Progress = _silent
    ) -> None:
        refuse_nan(program, reference)
        self._progress = progress
        self._program = program
        self._reference = reference
        self._decomposed: dict[frozenset[str], _Rewritten] = {}
        self._shared: dict[tuple[frozenset[str], tuple[Pass, ...]], _Rewritten] = {}
        self._proven: list[tuple[Program, Program]] = []  # before and after rounding to float32

    def _start(self, native: frozenset[str]) -> _Rewritten:
        """In core operators, and those that a format takes beside them."""
        if native not in self._decomposed:
            state = _Rewritten(self._program, {}, {}, {})
            if needs_decomposing(self._program):
                state = _settled(state, (normalize_ops, _decompose_but(native)), self._progress)
            else:
                state = next(iter(self._decomposed.values()), state)
            self._decomposed[native] = state
        return self._decomposed[native]

    @collecting_rarely()
    def run(
        self, passes: Sequence[Pass], native: Collection[str] = ()
    ) -> tuple[Program, tuple[PassReport, ...]]:
        """Apply ``passes`` until none finds anything, prove the result, round it to float32.

        First those that formats share, then these with the others, each until none finds
        anything; then the last ones, once (`table.Stage`). The proof is a run in
        float64 on the reference's last sample.

        Args:
            native: operators outside the core set that stay as they are (`operators.rule_of`).

        Returns:
            The program, and one report per pass: all its changes, and its last refusals.

        Raises:
            TraceError: the captured program, before any pass, is not what the model computes.
            PassError: the program after the passes is not what the eager model computes.
        """
        start = self._start(frozenset(native))
        first = tuple(function for function in passes if stage_of(function) == "shared")
        key = (frozenset(native) if start.results else frozenset(), first)
        if key not in self._shared:
            self._shared[key] = _settled(start, first, self._progress)
        rounds = [function for function in passes if stage_of(function) != "last"]
        state = _settled(self._shared[key], rounds, self._progress)
        for function in passes:
            if stage_of(function) == "last":
                state = state.after(function, self._progress)
        reports = tuple(
            PassReport(f.__name__, state.changes.get(f, ()), state.refusals.get(f, ()))
            for f in passes
        )
        written = start.changes.get(_decompose_but(frozenset(native)))
        if written:
            reports = (PassReport("operators", written, ()), *reports)
        return self._prove(state.program, reports), reports

    def _prove(self, rewritten: Program, reports: tuple[PassReport, ...]) -> Program:
        """``rewritten`` in float32."""
        for before, after in self._proven:
            if before is rewritten:
                return after
        self._progress("passes: the proof in float64")
        error = distance(rewritten, self._reference)
        if error > EXACT:
            self._report(rewritten, error, reports)
        rounded = rewritten.in_float32()
        self._proven.append((rewritten, rounded))
        return rounded

    def _report(self, rewritten: Program, error: float, reports: tuple[PassReport, ...]) -> None:
        program = self._program
        before = error if rewritten is program else distance(program, self._reference)
        if before > EXACT:
            calls = listed(unsteady_calls(program.exported))
            buffers = ", ".join(written_buffers(program.exported)[:8])
            what = f"changes its own state ({buffers})" if buffers else "draws random numbers"
            cause = (
                f"It {what}: {calls}."
                if calls
                else "Does its forward use random numbers, or change its own state?"
            )
            raise TraceError(
                f"The captured graph of {program.spec} differs from the eager model by "
                f"{before:.1e} of the output range in float64.",
                hint=f"{cause} Such a model has no static graph; make eval mode deterministic.",
            )
        names = ", ".join(dict.fromkeys(report.name for report in reports if report.changes))
        raise PassError(
            f"The passes changed what {program.spec} computes: {error:.1e} of the output range in "
            f"float64, allowed is {EXACT:.0e}. Passes that rewrote something: {names}.",
            hint="No file was written; `no_passes` leaves passes out. Please report the model.",
        )


@functools.cache
def _decompose_but(native: frozenset[str]) -> Pass:
    @functools.wraps(decompose)
    def rule(program: Program) -> PassResult:
        return decompose(program, native)

    return rule


def run_passes(
    program: Program,
    reference: Reference,
    passes: Sequence[Pass] = PASSES,
    progress: _Progress = _silent,
) -> tuple[Program, tuple[PassReport, ...]]:
    """`PassRunner.run` of one list."""
    return PassRunner(program, reference, progress).run(passes)


def _settled(state: _Rewritten, passes: Sequence[Pass], progress: _Progress) -> _Rewritten:
    """``state`` after rounds of ``passes``, until none finds anything.

    Raises:
        PassError: they still find something after `_ROUNDS` rounds; it names them.
    """

    def one_round() -> list[str]:
        nonlocal state
        fired = []
        for function in passes:
            last = state.program
            if state.results.get(function) is not last:
                state = state.after(function, progress)
            if state.program is not last:
                fired.append(function.__name__)
        return fired

    settle("The list of passes", one_round, _ROUNDS)
    return state


def _apply(function: Pass, program: Program) -> PassResult:
    try:
        return function(program)
    except MobileExportError:
        raise
    except Exception as error:  # a graph that the pass did not expect; any type
        node = node_of(error)
        place = "" if node is None else f" at {call_at(node)}"
        raise PassError(
            f"The pass {function.__name__} failed on {program.spec}{place}: "
            f"{type(error).__name__}: {error}",
            hint="Please report the model."
            if function.__name__ == decompose.__name__
            else f"Leave {function.__name__} out with `no_passes`, and please report the model.",
        ) from error
