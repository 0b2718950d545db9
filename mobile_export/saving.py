"""Prepared programs as files: ``mobile-export prepare MODEL -o FILE.pt2``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .artifacts.manifest import program_manifest
from .artifacts.workspace import Workspace
from .graph.program import Program
from .parity.reference import make_reference
from .parity.samples import parity_samples
from .passes import PassReport
from .system.threads import one_thread

__all__ = ["save_program"]


def save_program(
    program: Program, path: Path, passes: Sequence[PassReport] = (), *, force: bool = False
) -> Path:
    """Write ``program`` as a ``.pt2`` file with a manifest beside it.

    Raises:
        ArtifactError: the file exists (without ``force``) or cannot be written.
    """
    import torch

    sample = parity_samples(program.input)[:1]
    with Workspace(path.parent, [path.name], force=force) as work, one_thread():
        draft = work.path(path.name)
        torch.export.save(program.exported, draft)
        reference = make_reference(program.module(), sample)
        return work.commit(path.name, program_manifest(program, draft, passes, reference))
