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

from . import convolution, elementwise, linear, movement, statistics  # noqa: F401  (fill RULES)
from .emit import emit_model

if TYPE_CHECKING:
    from ...config import ExportConfig
    from ...graph.program import Program

__all__ = ["check", "emit_model", "export"]


def check(program: Program, config: ExportConfig) -> None:
    """Every program is fine."""


def export(program: Program, path: Path, config: ExportConfig, precision: str) -> None:
    """Write ``program`` to ``path`` and its weights to the ``.tnnmodel`` file beside it.

    Raises:
        LoweringError: an op has no layers of rank 4 or less.
        ExportError: TNN has no layer for one of them.
    """
    from ...lowering.lower import lower

    model = emit_model(lower(program))
    model.write(path, path.with_suffix(".tnnmodel"), half=precision == "fp16")
