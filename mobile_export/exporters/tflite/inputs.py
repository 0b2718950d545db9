"""Which inputs of a program a TFLite file takes with channels last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...graph.specs import PIXELS

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["is_plain", "turned"]


def turned(program: Program) -> tuple[str, ...]:
    """Inputs that have channels last in a file whose images have, and not in the model: images."""
    return tuple(
        each.name for each in program.inputs if each.role == "image" and not each.channels_last
    )


def is_plain(program: Program) -> bool:
    """Whether the program takes one image, by the name that files know it by."""
    first = program.input
    known = first.name in ("image", PIXELS)
    return not program.others and known and turned(program) == (first.name,)
