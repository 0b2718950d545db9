"""Rules repeated until none of them finds anything, with a bound."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..errors import PassError
from .editor import GraphEditor

__all__ = ["MOST_ROUNDS", "in_turn", "settle"]

MOST_ROUNDS = 100
"""Rounds after which rules are held to undo each other. Models of 2,500 ops need fewer than ten."""


def settle(name: str, one_round: Callable[[], Collection[str]], most: int = MOST_ROUNDS) -> None:
    """Call ``one_round`` until it changes nothing.

    Args:
        name: of the pass that does this, for the message.
        one_round: applies every rule once; returns the names of those that changed something.
        most: number of rounds.

    Raises:
        PassError: rules still change something in the last round; it names them.
    """
    fired: Collection[str] = ()
    for _ in range(most):
        fired = one_round()
        if not fired:
            return
    raise PassError(
        f"{name} does not end: in round {most} the graph was still changed by {', '.join(fired)}.",
        hint=f"Leave one of {', '.join(fired)} out with `no_passes`. Please report the model."
        if " " in name
        else f"Leave {name} out with `no_passes`. Please report the model.",
    )


def in_turn(graph: GraphEditor, rules: Mapping[str, Callable[[], None]]) -> Callable[[], list[str]]:
    """One round of ``rules`` on ``graph``, by name: those that report a change have fired."""

    def one_round() -> list[str]:
        fired = []
        for name, rule in rules.items():
            before = graph.edits
            rule()
            if graph.edits != before:
                fired.append(name)
        return fired

    return one_round
