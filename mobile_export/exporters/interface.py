"""What the folder of a format offers to the pipeline: a writer and sessions.

exporters/NAME/writer.py    check, adapt, write
exporters/NAME/session.py   load, describe
exporters/NAME/run_OTHER.py load, of another runtime of the row
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    import numpy as np

    from ..graph.program import Program
    from ..graph.specs import OutputSpec, Thresholds
    from ..lowering.ir import LayerGraph
    from ..parity.session import Session
    from .row import Format, Precision

__all__ = [
    "Adapted",
    "Loader",
    "Prepared",
    "Runtime",
    "SizesWriter",
    "WriteJob",
    "Writer",
    "loader_of",
    "runtime_of",
    "sizes_writer_of",
    "writer_of",
]


@dataclass(frozen=True)
class WriteJob:
    """How one file is written.

    Attributes:
        options: of the format, an instance of its row's ``options``.
        nms: end the file with non-maximum suppression; None leaves boxes and scores.
        verbose: let the vendor's own output through.
        direct: switch off faster forms of layers that round more (`Format.faster_forms`).
    """

    precision: Precision
    options: Any
    nms: Thresholds | None = None
    verbose: bool = False
    direct: bool = False


Loader = Callable[[Path, "tuple[OutputSpec, ...]"], "Session"]
"""Loads a file of a program whose outputs are given, as `Runtime.load` does."""


def _unchanged(outputs: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    return outputs


@dataclass(frozen=True)
class Adapted:
    """A program as a converter takes it.

    Attributes:
        program: whose graph has the inputs and outputs that the converter is to give the file.
        expected: what it must return, from the float64 outputs of the program it was made from.
    """

    program: Program
    expected: Callable[[Sequence[np.ndarray]], Sequence[np.ndarray]] = _unchanged


@dataclass(frozen=True)
class Prepared:
    """What a writer is given: a program whose passes have run, and its layer graph if it has one.

    Both were compared in float64 with what the model computes; a writer only writes.

    Attributes:
        sizes: (height, width) of the images that a program with free axes is written for.
        shapes: of the first input, in each of which the program was executed, where it is written
            for any between them (`dynamic`).
    """

    program: Program
    layers: LayerGraph | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()


class Writer(Protocol):
    """The module ``writer`` of a format."""

    def check(self, program: Program, job: WriteJob) -> None:
        """Raise UsageError when the job does not fit the program; called before any work."""

    def adapt(self, program: Program, job: WriteJob) -> Adapted:
        """The program with what the converter lacks in other operations; mostly as it is.

        Not called where a format is made from layers.
        """

    def write(self, prepared: Prepared, path: Path, job: WriteJob) -> None:
        """Write the file ``path``, which does not exist yet, and its companions.

        Raises:
            ExportError: the converter refused the program.
        """


class SizesWriter(Protocol):
    """What the module ``writer`` of a format has besides, whose row says how it has sizes."""

    def write_sizes(self, prepared: Sequence[Prepared], path: Path, job: WriteJob) -> None:
        """Write one model, prepared at several sizes, to the one file ``path``.

        Raises:
            ExportError: the converter refused the program; or the graph depends on the size.
        """

    def signature_of(self, index: int, size: tuple[int, int]) -> str | None:
        """What the file's runtime calls the entry for the size at ``index``; None: it has one."""


class Runtime(Protocol):
    """The module ``session`` of a format."""

    def load(self, path: Path, outputs: tuple[OutputSpec, ...]) -> Session:
        """Load a file of a program whose outputs, in order, are ``outputs``.

        Raises:
            ArtifactError: the file is damaged, or its outputs are not those.
        """

    def describe(self, path: Path) -> dict[str, Any]:
        """Inputs, outputs, op counts, parameters and precision of a file, JSON-ready."""


def writer_of(row: Format) -> Writer:
    """The writer of a format; its libraries must be installed."""
    return cast(Writer, importlib.import_module(f"{__package__}.{row.name}.writer"))


def sizes_writer_of(row: Format) -> SizesWriter:
    """The writer of a format that has several sizes in a file."""
    return cast(SizesWriter, writer_of(row))


def runtime_of(row: Format) -> Runtime:
    """What executes the files of a format; its libraries must be installed."""
    return cast(Runtime, importlib.import_module(f"{__package__}.{row.name}.session"))


def loader_of(row: Format, runtime: str | None) -> Loader:
    """What loads the files of a format: its own runtime, or one of its row's others.

    Raises:
        UsageError: it has no other of that name.
        MissingExtraError: the other is not installed.
    """
    if runtime is None:
        return runtime_of(row).load
    name = row.other_runtime(runtime).name
    return cast(Loader, importlib.import_module(f"{__package__}.{row.name}.run_{name}").load)
