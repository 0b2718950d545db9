"""The names of files: of an artifact, and of the manifest beside it."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError

__all__ = [
    "MANIFEST_SUFFIX",
    "LONGEST_NAME",
    "PROGRAM_FORMAT",
    "artifact_stem",
    "manifest_path",
    "plan_path",
    "require_file_name",
]

PROGRAM_FORMAT = "pt2"
"""Format of a saved program, which is no row of the table of formats."""
LONGEST_NAME = 200
"""Bytes of an artifact's name; file systems take 255, and the manifest's name is longer."""
_LONGEST_STEM = 160
MANIFEST_SUFFIX = ".manifest.json"
_PLAN = ".plan.json"


def artifact_stem(spec: str) -> str:
    """File name, without suffix, for a source: ``timm/resnet18+fcn`` -> ``resnet18+fcn``."""
    name = Path(spec).stem if spec.endswith(".pt2") else spec.removeprefix("timm/")
    short = name.encode(errors="replace")[:_LONGEST_STEM].decode(errors="ignore")
    return re.sub(r"[^\w.+-]+", "_", short).strip("_.") or "model"


def manifest_path(artifact: Path) -> Path:
    """``emo_2m.onnx`` -> ``emo_2m.onnx.manifest.json``."""
    return artifact.with_name(artifact.name + MANIFEST_SUFFIX)


def plan_path(artifact: Path) -> Path:
    """``emo_2m.onnx`` -> ``emo_2m.onnx.plan.json``: the plan of a file of integers."""
    return artifact.with_name(artifact.name + _PLAN)


def require_file_name(name: str) -> str:
    """``name`` itself, if it is the name of one file that lies in no other folder.

    Raises:
        UsageError: it has a separator or a control character, is too long, or begins with a dot or,
            as options do, with a dash.
    """
    problem = None
    if not name:
        problem = "is empty"
    elif name.startswith((".", "-")):
        problem = "begins with a dot or a dash"
    elif any(c in name for c in "/\\:") or not name.isprintable():
        problem = "has a separator or a control character"
    elif len(name.encode(errors="replace")) > LONGEST_NAME:
        problem = f"is longer than {LONGEST_NAME} bytes"
    if problem is not None:
        raise UsageError(
            f"The name {name[:80]!r} {problem}.",
            hint="Give the name of one file, without a folder; the folder is another option.",
        )
    return name
