"""The pipeline: source -> Program -> passes -> adapt -> proof -> file -> session -> parity report.

`export.export_program` is the line of docs/architecture.md, in the order of the calls; `write.Run`
is what happens to one format of it.
"""

from __future__ import annotations

from .check import check_parity
from .export import export_program
from .programs import prepare_program, require_destination, save_program
from .reports import ArtifactReport, ExportReport, Failure
from .verify import Verified, verify_artifact

__all__ = [
    "ArtifactReport",
    "ExportReport",
    "Failure",
    "check_parity",
    "export_program",
    "prepare_program",
    "require_destination",
    "save_program",
    "Verified",
    "verify_artifact",
]
