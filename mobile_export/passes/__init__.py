"""Graph passes: Program -> Program, pure, in ordered tuples, proven on every run.

A pass is a function that takes a program and returns a `PassResult`: the rewritten program (the one
it was given is unchanged), what it changed and what it refused, with the reason. It recognises
algebra on the ATen graph, never class names, and a second run reports no change.
"""

from ..graph.changes import Change, Pass, PassReport, PassResult, Refusal
from .prove import EXACT
from .run import PassRunner, run_passes
from .table import PASSES, ROWS, notes_on, select_passes

__all__ = [
    "EXACT",
    "PASSES",
    "ROWS",
    "Change",
    "Pass",
    "PassReport",
    "PassResult",
    "PassRunner",
    "Refusal",
    "notes_on",
    "run_passes",
    "select_passes",
]
