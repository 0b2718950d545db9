"""The manifest beside an artifact: where it came from, what was done, what was proven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifact import sha256_of, size_of
from .doctor import installed_versions
from .parity import ParityReport, Reference, expected_outputs

if TYPE_CHECKING:
    from .passes import PassReport
    from .program import Program
    from .targets import Target

__all__ = ["artifact_manifest", "program_manifest"]


def artifact_manifest(
    program: Program,
    path: Path,
    target: Target,
    precision: str,
    passes: Sequence[PassReport],
    parity: ParityReport,
    reference: Reference,
) -> dict[str, Any]:
    """Of an artifact of ``program`` that was checked at ``path``.

    Args:
        precision: of the file.
        reference: what the artifact was compared with.
    """
    return {
        "schema": 1,
        "format": target.name,
        **_file_facts(path),
        "companions": [_file_facts(file) for file in target.companions(path)],
        "precision": precision,
        "source": program.spec,
        "weights": {
            "kind": program.weights.kind,
            "description": program.weights.describe(),
            "path": program.weights.path,
            "sha256": program.weights.sha256,
            "seed": program.weights.seed,
        },
        **_interface(program, reference),
        "labels": None if program.labels is None else len(program.labels),
        "passes": [report.to_dict() for report in passes],
        "parity": parity.to_dict(),
        "tools": installed_versions(target),
        "notes": list(program.notes),
    }


def program_manifest(
    program: Program, path: Path, passes: Sequence[PassReport], reference: Reference
) -> dict[str, Any]:
    """Of ``program`` itself, saved at ``path``."""
    return {
        "schema": 1,
        "format": "pt2",
        **_file_facts(path),
        "source": program.spec,
        "weights": vars(program.weights),
        **_interface(program, reference),
        "passes": [report.to_dict() for report in passes],
    }


def _file_facts(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path), "bytes": size_of(path)}


def _interface(program: Program, reference: Reference) -> dict[str, Any]:
    """Inputs and outputs, and the values expected of them."""
    return {
        "input": {
            "name": program.input.name,
            "shape": list(program.input.shape),
            "layout": "NCHW of the PyTorch model",
            "channel_order": program.input.channel_order,
            "mean": list(program.input.mean),
            "std": list(program.input.std),
        },
        "outputs": [{"name": o.name, "shape": list(o.shape)} for o in program.outputs],
        "expected": expected_outputs(reference, [o.name for o in program.outputs]),
    }
