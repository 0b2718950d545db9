"""The names of files: of an artifact, and of the manifest beside it."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["artifact_stem", "manifest_path"]


def artifact_stem(spec: str) -> str:
    """File name, without suffix, for a source: ``timm/resnet18`` -> ``resnet18``."""
    name = Path(spec).stem if spec.endswith(".pt2") else spec.removeprefix("timm/")
    return re.sub(r"[^\w.-]+", "_", name).strip("_.") or "model"


def manifest_path(artifact: Path) -> Path:
    """``emo_2m.onnx`` -> ``emo_2m.onnx.manifest.json``."""
    return artifact.with_name(artifact.name + ".manifest.json")
