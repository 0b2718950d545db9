"""What a file does itself of what an app would do: the options `row.FileOptions` in a program.

The program is changed before the passes, so that they fold what they can, and every format is given
the result. A session sees in the file what was done, by the names of its input and output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..artifacts.words import is_one_picture
from ..errors import UsageError
from ..graph.specs import PROBABILITIES

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..graph.specs import OutputSpec
    from .row import FileOptions

__all__ = ["added_activation", "check_processing", "gives_probabilities", "processed"]


def gives_probabilities(program: Program, options: FileOptions) -> bool:
    """Whether a softmax belongs behind the program: one was asked for, and it has none."""
    wanted = options.softmax or options.classifier
    return wanted and program.outputs[0].meaning != "probabilities"


def processed(program: Program, options: FileOptions) -> Program:
    """``program`` with what `options` ask for in front of it and behind it."""
    from ..graph.processing import with_normalization, with_probabilities
    from ..passes.normalize_ops import normalize_ops

    added = gives_probabilities(program, options)
    if options.image_input or added:
        program = normalize_ops(program).program  # in-place operators cannot be edited
    if options.image_input:
        program = with_normalization(program)
    if added:
        program = with_probabilities(program)
    return program


def added_activation(names: Sequence[str], outputs: Sequence[OutputSpec]) -> str | None:
    """What a file computes behind a program's outputs, by the names of its own: "softmax"."""
    added = list(names) == [PROBABILITIES] and [each.name for each in outputs] != [PROBABILITIES]
    return "softmax" if added and len(outputs) == 1 else None


def check_processing(program: Program, options: FileOptions) -> None:
    """Refuse a classifier without names of its classes, probabilities of what is no row, and pixels
    for what does not take one image of float32.

    Raises:
        UsageError: it says what the program has.
    """
    if options.image_input or getattr(options, "input_dtype", "float32") != "float32":
        _require_one_image(program, "image_input" if options.image_input else "input_dtype")
    asked = "classifier" if options.classifier else "softmax"
    if not (options.softmax or options.classifier):
        return
    shape = program.outputs[0].shape
    if len(program.outputs) != 1 or len(shape) != 2:
        raise UsageError(
            f"`{asked}` needs one output of shape (1, classes); {program.spec} has "
            f"{', '.join(str(output.shape) for output in program.outputs)}.",
            hint=f"Leave `{asked}` out.",
        )
    if options.classifier and (program.labels is None or len(program.labels) != shape[1]):
        raise UsageError(
            f"`classifier` needs the names of the {shape[1]} classes of {program.spec}.",
            hint="Name them, in the order of the logits, with `labels`; or ask for `softmax`.",
        )


def _require_one_image(program: Program, asked: str) -> None:
    if is_one_picture(program.inputs):
        return
    raise UsageError(
        f"`{asked}` is for a model of one image, normalised, channels first; {program.spec} takes "
        f"{', '.join(map(str, program.inputs))}.",
        hint=f"Leave `{asked}` out.",
    )
