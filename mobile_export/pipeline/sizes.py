"""A model at several sizes: what a file that takes all of them is made from, and its records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..artifacts.expected import Expected
from ..artifacts.manifest import (
    Size,
)
from ..exporters.interface import (
    Prepared,
    sizes_writer_of,
)
from ..exporters.row import Format
from ..graph.free_axes import with_free_axes
from ..graph.program import Program
from ..graph.specs import InputSpec
from ..passes.prove import float64_outputs, require_same

if TYPE_CHECKING:
    pass
from .captured import References, said
from .preparation import Preparation

__all__ = ["AtSize", "freed", "size_records"]


@dataclass(frozen=True)
class AtSize:
    """A model at one size of its image; ``program`` is as traced, before any pass.

    Attributes:
        named: by the user; others are what a file with free axes is made from and checked at.
        dynamic: what files leave open.
        makes: a file with free axes is made from it.
    """

    program: Program
    references: References
    preparation: Preparation
    named: bool = True
    dynamic: str | None = None
    makes: bool = False

    @property
    def said(self) -> str:
        """What tells it from the others, in words."""
        return said(self.program.input, self.dynamic)


def _made_from(images: Sequence[InputSpec], named: int, dynamic: str | None) -> int:
    """How many shapes, the first ones, a file with free axes is made from: of those that were
    named all, and one more where these do not tell height and width apart; it is checked in all."""
    if dynamic is not None:
        return 2
    if named < 2:
        return 1
    square = [height == width for height, width in (each.size for each in images)]
    return named + (all(square[:named]) and square[named : named + 1] == [False])


def _on_others(sizes: Sequence[str]) -> str:
    """What to say of the sizes that nobody named."""
    if not sizes:
        return (
            "Files with free height and width were checked at the sizes that were named only; the "
            "model takes none of the others that were tried."
        )
    return f"Files with free height and width were checked at {', '.join(sizes)}, too."


def freed(
    prepared: Sequence[Prepared], sizes: Sequence[AtSize], all_: Sequence[AtSize]
) -> Prepared:
    """One program of what was prepared at several sizes, proven at each of them.

    Args:
        all_: also those that it is only checked at.

    Raises:
        ExportError: the graph depends on the size.
        PassError: the program computes something else at one of them.
    """
    free = with_free_axes([each.program for each in prepared])
    for each, size in zip(prepared, sizes, strict=True):
        given = size.preparation.given(each.program)
        exact = float64_outputs(each.program, *given)
        what = f"The graph for several sizes, at {size.said},"
        require_same(what, free.spec, float64_outputs(free, *given), exact)
    if sizes[0].dynamic is None:
        return Prepared(free, sizes=tuple(e.program.input.size for e in sizes if e.named))
    named = next(each for each in all_ if each.named).program
    outputs = named.outputs
    free = replace(free, input=replace(free.input, shape=named.input.shape), outputs=outputs)
    return Prepared(free, shapes=tuple(each.program.input.shape for each in all_))


def size_records(
    row: Format, programs: Sequence[Program], expected: Sequence[Expected]
) -> tuple[Size, ...]:
    """What a manifest says of a file's sizes, the named ones first; nothing of a file of one."""
    if len(programs) == 1:
        return ()
    return tuple(
        Size(
            size=program.input.size,
            signature=None
            if row.one_graph
            else sizes_writer_of(row).signature_of(index, program.input.size),
            expected=each,
        )
        for index, (program, each) in enumerate(zip(programs, expected, strict=True))
    )
