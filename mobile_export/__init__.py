"""Export PyTorch vision models to phone-ready files, each executed here and proven equal.

    import mobile_export

    report = mobile_export.export("emo_2m", formats=("onnx",), out_dir="out")
    print(report.artifacts[0].parity.max_rel)

Importing this package is cheap; torch and the converters are imported by the call that needs them.
It also switches off the telemetry of onnxruntime, which is on by default since 1.31 and starts with
the import of onnxruntime: a thread that would compute beside what is measured, and reports of the
user's models. Who wants it sets ``ORT_DISABLE_TELEMETRY`` (to 0) before.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime

if TYPE_CHECKING:
    from .api import create_model, export, inspect, prepare, verify
    from .detection.options import NmsOptions
    from .errors import MobileExportError
    from .exporters.config import ExportConfig
    from .exporters.coreml.options import CoreMLOptions
    from .exporters.tflite.options import TFLiteOptions
    from .quantization.options import QuantizationOptions

__all__ = [
    "CoreMLOptions",
    "ExportConfig",
    "MobileExportError",
    "NmsOptions",
    "QuantizationOptions",
    "TFLiteOptions",
    "__version__",
    "create_model",
    "export",
    "inspect",
    "prepare",
    "verify",
]

_HOMES = {
    "CoreMLOptions": "exporters.coreml.options",
    "ExportConfig": "exporters.config",
    "MobileExportError": "errors",
    "NmsOptions": "detection.options",
    "QuantizationOptions": "quantization.options",
    "TFLiteOptions": "exporters.tflite.options",
    "create_model": "api",
    "export": "api",
    "inspect": "api",
    "prepare": "api",
    "verify": "api",
}


def __getattr__(name: str) -> Any:
    import importlib

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
