"""The manifest beside an artifact: where it came from, what was done, what was proven."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..detection.contract import class_names
from ..parity.judge import expected_outputs
from ..parity.reference import Reference
from ..parity.report import ParityReport
from ..system.versions import installed_versions
from .content import sha256_of, size_of

if TYPE_CHECKING:
    from ..detection import Suppression
    from ..exporters.row import Format
    from ..graph.program import Program
    from ..passes import PassReport

__all__ = ["artifact_manifest", "program_manifest"]


def artifact_manifest(
    program: Program,
    path: Path,
    target: Format,
    precision: str,
    passes: Sequence[PassReport],
    parity: ParityReport,
    reference: Reference,
    suppression: Suppression | None = None,
) -> dict[str, Any]:
    """Of an artifact of ``program`` that was checked at ``path``.

    Args:
        precision: of the file.
        reference: what the artifact was compared with.
        suppression: of a file that ends with detections; its outputs are then those of the entry
            ``nms``, and ``outputs`` and ``expected`` are the boxes and scores in front of it.
    """
    return {
        "schema": 1,
        "format": target.name,
        **_file_facts(path),
        "companions": [_file_facts(file) for file in target.companions_of(path)],
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
        "labels": None if program.labels is None else list(program.labels),
        "nms": None if suppression is None else _nms_facts(program, suppression),
        "passes": [report.to_dict() for report in passes],
        "parity": parity.to_dict(),
        "tools": installed_versions(target.libraries),
        "notes": list(program.notes),
    }


def _nms_facts(program: Program, suppression: Suppression) -> dict[str, Any]:
    return {
        "iou_threshold": suppression.iou_threshold,
        "score_threshold": suppression.score_threshold,
        "max_detections": suppression.limit,
        "candidates": "the best class of each box"
        if suppression.best_class_only
        else "every pair of box and class",
        "outputs": [
            {"name": o.name, "shape": list(o.shape), "layout": o.layout}
            for o in suppression.outputs
        ],
        "labels": list(class_names(program)),
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
