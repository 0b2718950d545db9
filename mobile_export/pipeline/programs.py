"""The proven program itself, and its file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.manifest import (
    artifact_manifest,
)
from ..artifacts.names import (
    PROGRAM_FORMAT,
)
from ..artifacts.workspace import Workspace
from ..errors import (
    ArtifactError,
)
from ..exporters.config import ExportConfig
from ..exporters.record import preprocessing
from ..graph.program import Program
from ..graph.source import Source
from ..parity.judge import expected_outputs
from ..parity.reference import (
    make_reference,
)
from ..parity.samples import parity_samples
from ..passes import PassReport, notes_on, run_passes, select_passes
from ..system.quiet import unwarned
from ..system.threads import one_thread

if TYPE_CHECKING:
    pass
from .captured import Progress, capture

__all__ = ["prepare_program", "require_destination", "save_program"]


def prepare_program(
    load: Callable[[], Source],
    config: ExportConfig,
    progress: Progress = lambda stage: None,
) -> tuple[Program, tuple[PassReport, ...]]:
    """The proven program that the exporters would be given.

    Raises:
        MobileExportError: the source cannot be loaded or traced, or a pass is not exact.
    """
    chosen = select_passes(config.no_passes)
    with unwarned(not config.verbose), one_thread():
        ((program, references),) = capture(load, progress, samples=config.samples)
        program = replace(program, notes=(*program.notes, *notes_on(config.no_passes)))
        progress("running the reference in float64")
        reference = references.get()
        progress("passes")
        return run_passes(program, reference, chosen, progress)


def require_destination(path: Path, *, force: bool) -> None:
    """Raise ArtifactError or UsageError where `save_program` could not write: before the work."""
    with Workspace(path.parent, [path.name], force=force):
        pass


def save_program(
    program: Program, path: Path, passes: Sequence[PassReport] = (), *, force: bool = False
) -> Path:
    """Write ``program`` as a ``.pt2`` file with a manifest beside it.

    Raises:
        ArtifactError: the file exists (without ``force``) or cannot be written.
    """
    import torch

    sample = parity_samples(*program.inputs)[:1]
    with Workspace(path.parent, [path.name], force=force) as work, one_thread():
        draft = work.path(path.name)
        content = io.BytesIO()  # PyTorch's own writer ends the process when the disk is full
        torch.export.save(program.exported, content)
        try:
            draft.write_bytes(content.getbuffer())
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {path}: {error.strerror or error}.",
                hint="Free some space, or choose another folder.",
            ) from error
        reference = make_reference(program.module(), sample)
        manifest = artifact_manifest(
            program,
            draft,
            PROGRAM_FORMAT,
            expected=expected_outputs(reference, [output.name for output in program.outputs]),
            passes=[report.to_dict() for report in passes],
            preprocessing=preprocessing(program),
            task=program.task,
        )
        return work.commit(path.name, manifest.to_dict())
