"""What is found out about one file and one accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Placement", "Run"]


@dataclass(frozen=True)
class Run:
    """The file was executed on the accelerator, or on software that stands in for it.

    Attributes:
        device: what executed it.
        max_rel: largest error against the model's expected outputs, relative to the largest
            magnitude of that output; None when an output is not finite.
        tolerance: what is allowed.
        passed: whether it is no more.
    """

    device: str
    max_rel: float | None
    tolerance: float
    passed: bool


@dataclass(frozen=True)
class Placement:
    """What an accelerator takes of a file.

    Attributes:
        accelerator: its name, a row of `table.ACCELERATORS`.
        title: of the accelerator, for people.
        said_by: whose software said it, with its version where that is known.
        nodes: of the file's graph as that software sees it; None when it could not be asked.
        taken: of those, that the accelerator does.
        parts: in which they lie: between two parts the data go to the CPU and back. None where the
            software does not say.
        left: operators that stay on the CPU, and how often.
        conditions: of operators that are taken, which nobody checked here.
        run: None when the file was not executed there.
        problem: why it could not be asked, or not be executed; "" otherwise.
    """

    accelerator: str
    title: str
    said_by: str
    nodes: int | None = None
    taken: int | None = None
    parts: int | None = None
    left: Mapping[str, int] = field(default_factory=dict)
    conditions: tuple[str, ...] = ()
    run: Run | None = None
    problem: str = ""

    @property
    def wrong(self) -> bool:
        """It was executed there and did not compute what the model does."""
        return self.run is not None and not self.run.passed

    @property
    def share(self) -> float | None:
        """Of the nodes, that are taken: 0 to 1."""
        if self.nodes is None or self.taken is None:
            return None
        return self.taken / self.nodes if self.nodes else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        run = None if self.run is None else vars(self.run)
        facts = {**vars(self), "run": run, "left": dict(self.left), "share": self.share}
        return facts | {"conditions": list(self.conditions)}
