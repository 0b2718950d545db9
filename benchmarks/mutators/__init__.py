"""Small editors that damage exported files, one for each format; `benchmarks/mutation_score.py`
uses them. They share nothing with the writers of mobile-export."""

from __future__ import annotations

from pathlib import Path

from .base import Editor

__all__ = ["editor_of"]


def editor_of(format: str, path: Path) -> Editor:
    """The editor of one file.

    Args:
        format: its name in mobile-export's table.
    """
    if format == "onnx":
        from .onnx_file import OnnxEditor

        return OnnxEditor(path)
    if format == "coreml":
        from .coreml_file import CoreMLEditor

        return CoreMLEditor(path)
    if format == "tflite":
        from .tflite_file import TFLiteEditor

        return TFLiteEditor(path)
    if format == "ncnn":
        from .ncnn_file import NcnnEditor

        return NcnnEditor(path)
    from .tnn_file import TnnEditor

    return TnnEditor(path)
