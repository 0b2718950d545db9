"""TNN: ``.tnnproto`` and ``.tnnmodel``, written from the layer graph.

TNN's own converter is not involved. The file's layers are those of TNN's interpreters, in the
order of parameters in which they read them; it has static shapes with a batch of 1, and inputs and
outputs named as the program's. With precision fp16 the weights of convolutions and matrix products
are stored as float16; TNN widens them when it loads the file, or computes in float16 where the
device does.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..interface import Adapted, Prepared, WriteJob
from . import convolution, elementwise, linear, movement, statistics  # noqa: F401  (fill RULES)
from .emit import emit_model

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["adapt", "check", "emit_model", "write"]


def check(program: Program, job: WriteJob) -> None:
    """Every program is fine."""


def adapt(program: Program, job: WriteJob) -> Adapted:
    """``program`` as it is: the converter takes all of it."""
    return Adapted(program)


def write(prepared: Prepared, path: Path, job: WriteJob) -> None:
    """Write a layer graph to ``path`` and its weights to the ``.tnnmodel`` file beside it.

    Raises:
        LoweringError: an op has no layers of rank 4 or less.
        ExportError: TNN has no layer for one of them.
    """
    assert prepared.layers is not None
    model = emit_model(prepared.layers)
    model.write(path, path.with_suffix(".tnnmodel"), half=job.precision.bits == 16)
