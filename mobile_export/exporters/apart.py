"""Files of unknown origin are read and run once in a child process, before this one touches them.

    python -m mobile_export.exporters.apart FORMAT PATH describe|run

The vendors' readers are written in C++; on a damaged file they may crash, which cannot be caught.
The child prints one JSON object: what `describe` of the format returns, or an error of ours.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from pathlib import Path
from typing import Any

from .. import errors
from ..artifacts.damage import reason
from ..errors import ArtifactError, MobileExportError
from ..system.children import Limits, answering, run_module
from ..system.files import GIB, regular_file
from .interface import runtime_of
from .row import Format
from .table import get_format

__all__ = ["describe_apart", "main"]

_LARGEST_FILE = 2 * GIB
"""Bytes: protobuf and FlatBuffers hold no more."""
_LARGEST_INPUT = 2**28
"""Elements of an input that a file is run on."""
_SIZES = (1, 3, 64, 64)
"""For what a file leaves open."""


def describe_apart(
    row: Format, path: Path, *, run: bool = False, limits: Limits | None = None
) -> dict[str, Any]:
    """What is inside a file, JSON-ready, found out in a child process.

    Args:
        run: also load it with what executes its format, and run it once.

    Raises:
        MobileExportError: the file is damaged, or what reads it crashed, did not end, or needed
            more memory than `limits` allow.
    """
    for file in row.files(path):
        if not file.is_dir():
            regular_file(file, limit=_LARGEST_FILE)
    words = [row.name, str(path), "run" if run else "describe"]
    ended = run_module(__name__, words, limits=limits)
    if ended.crash is not None:
        said = f"; last it said: {ended.last_line}" if ended.last_line else ""
        raise ArtifactError(
            f"{row.checked_by} cannot read {path}: {ended.crash}{said}.",
            hint="Copy the file again from where it was made, or export it again.",
        )
    try:
        found = json.loads(ended.output)
        facts, error = found.get("facts"), found.get("error")
    except (AttributeError, RecursionError, ValueError) as problem:
        raise ArtifactError(
            f"{path} cannot be read: the process that read it said {ended.last_line!r}.",
            hint="Copy the file again from where it was made, or export it again.",
        ) from problem
    if error is not None:
        raise _error(error)
    return dict(facts)


def _error(facts: dict[str, Any]) -> MobileExportError:
    kind = getattr(errors, str(facts["kind"]), ArtifactError)
    known = isinstance(kind, type) and issubclass(kind, MobileExportError)
    made: MobileExportError = MobileExportError.__new__(kind if known else ArtifactError)
    MobileExportError.__init__(made, facts["message"], hint=facts["hint"])
    return made


def main() -> None:
    """Entry point of the child."""
    name, path, what = sys.argv[1:]
    with answering() as answer:
        json.dump(_found(name, Path(path), what), answer)


def _found(name: str, path: Path, what: str) -> dict[str, Any]:
    """What `describe` of the format returns, or an error of ours."""
    try:
        row = get_format(name)
        facts = runtime_of(row).describe(path)
        if what == "run":
            _run(row, path, facts)
        return {"facts": facts}
    except MobileExportError as error:
        kind = type(error).__name__
        return {"error": {"kind": kind, "message": error.message, "hint": error.hint}}
    except Exception as error:  # noqa: BLE001 (a reader may raise anything; the file is the cause)
        message = f"{path} cannot be read: {reason(error)}."
        hint = "Copy the file again from where it was made, or export it again."
        return {"error": {"kind": "ArtifactError", "message": message, "hint": hint}}


def _run(row: Format, path: Path, facts: dict[str, Any]) -> None:
    """Load a file and run it once on noise."""
    import torch

    from ..artifacts.expected import seeded_input
    from ..detection.contract import BOXES, SCORES
    from ..graph.specs import OutputSpec
    from ..parity.samples import Sample

    shape = facts["inputs"][0]["shape"] if len(facts["inputs"]) == 1 else []
    free = not shape or not all(isinstance(n, int) and n > 0 for n in shape)
    if not free and math.prod(shape) > _LARGEST_INPUT:
        raise ArtifactError(
            f"{path} takes an input of shape {shape}, which is too large to be run here.",
            hint=f"At most {_LARGEST_INPUT:,} numbers are run.",
        )
    outputs = tuple(
        OutputSpec(str(each["name"]), tuple(each.get("shape") or ())) for each in facts["outputs"]
    )
    runtime = runtime_of(row)
    session = runtime.load(path, outputs)
    if session.detector is not None:  # what is run are the boxes and scores in front of the rest
        session = runtime.load(path, (OutputSpec(BOXES, ()), OutputSpec(SCORES, ())))
    if free and len(shape) != 4:
        return  # it may have several inputs, too: verify says what it wants
    if free:
        shape = [
            n if isinstance(n, int) and n > 0 else m for n, m in zip(shape, _SIZES, strict=True)
        ]
    image = torch.from_numpy(seeded_input(shape, 0, pixels=session.takes_pixels))
    with contextlib.suppress(*[Exception] * free):  # of a size that is a guess; a crash is none
        session.run(Sample("noise-0", image, image))


if __name__ == "__main__":
    main()
