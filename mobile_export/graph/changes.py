"""What a pass takes and returns; re-exported by `mobile_export.passes`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .program import Program

__all__ = ["Change", "Pass", "PassReport", "PassResult", "Refusal"]


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
    """What one pass did in one run of the pipeline.

    Attributes:
        formats: for which it did that, where others of the run have other passes or results.
    """

    name: str
    changes: tuple[Change, ...]
    refusals: tuple[Refusal, ...]
    formats: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, every node named."""
        return {
            "name": self.name,
            **({"formats": list(self.formats)} if self.formats else {}),
            "changes": [vars(change) for change in self.changes],
            "refusals": [vars(refusal) for refusal in self.refusals],
        }
