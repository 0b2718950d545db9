"""TFLite: written by litert-torch, executed by LiteRT."""

from __future__ import annotations

from ...system.versions import Library
from ..row import FLOAT16, FLOAT32, INTEGERS, Format, PassChoice, Precision
from .options import TFLiteOptions

__all__ = ["ROW"]

ROW = Format(
    name="tflite",
    title="TFLite",
    summary="Write a TFLite file; LiteRT executes it here.",
    suffix=".tflite",
    made_from="program",
    extra="tflite",
    libraries=(
        Library("litert_torch", "litert-torch", ">=0.10,<0.11"),
        Library("ai_edge_litert", "ai-edge-litert", ">=2.3,<3"),
        Library("ai_edge_quantizer", "ai-edge-quantizer", ">=0.10,<0.11"),
    ),
    precisions=(
        Precision("fp32", FLOAT32, 32),
        Precision("fp16", FLOAT16, 16, arithmetic="fp32"),
        Precision("int8", INTEGERS, 8, calibrated=True, integers=True),
        Precision("int16", INTEGERS, 8, calibrated=True, integers=True),
        Precision("int8-weights", INTEGERS, 8, arithmetic="fp32", integers=True),
        Precision("int8-dynamic", INTEGERS, 8, integers=True, dynamic=True),
        Precision("int4-weights", INTEGERS, 4, arithmetic="fp32", integers=True, block=32),
    ),
    lacks={
        "palette4": "LiteRT has no kernel for a table of weights",
        "palette6": "LiteRT has no kernel for a table of weights",
        "palette8": "LiteRT has no kernel for a table of weights",
    },
    lacks_options={
        "target": "that is a version of iOS",
    },
    checked_by="LiteRT",
    passes=PassChoice(
        add=(
            "index_nearest",
            "slice_windows",
            "repeat_channels",
            "split_depthwise",
            "guard_padding",
        ),
        native=(
            "acosh",
            "asinh",
            "conv1d",
            "conv2d",
            "conv3d",
            "log_softmax",
            "masked_fill",
            "sort",
            "topk",
            "where",
        ),
    ),
    options=TFLiteOptions,
    sizes="a signature for each size",
    not_open="litert-torch writes the numbers of one shape into reshapes and resizes",
    suppresses=True,
    runners=("litert", "benchmark-model", "arm-litert"),
    apps=("android_app",),
)
