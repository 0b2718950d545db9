"""Core ML: an ML Program written by coremltools; executed by Core ML on a Mac, by us elsewhere."""

from __future__ import annotations

from ...system.versions import Library
from ..row import FLOAT16, FLOAT32, INTEGERS, Format, PassChoice, Precision
from .options import CoreMLOptions

__all__ = ["ROW"]

ROW = Format(
    name="coreml",
    title="Core ML",
    summary="Write a Core ML package; Core ML (macOS) or our evaluator of ML Programs executes it "
    "here.",
    suffix=".mlpackage",
    made_from="program",
    integers_as_floats="returned",
    extra="coreml",
    libraries=(Library("coremltools", "coremltools", ">=9.0,<10"),),
    precisions=(
        Precision("fp16", FLOAT16, 16),
        Precision("fp32", FLOAT32, 32),
        Precision("int8", INTEGERS, 8, arithmetic="fp32", calibrated=True, integers=True),
        Precision("int8-weights", INTEGERS, 8, arithmetic="fp32", integers=True),
        Precision("int4-weights", INTEGERS, 4, arithmetic="fp32", integers=True, block=32),
        Precision("palette4", INTEGERS, 4, arithmetic="fp32", integers=True, palette=True),
        Precision("palette6", INTEGERS, 6, arithmetic="fp32", integers=True, palette=True),
        Precision("palette8", INTEGERS, 8, arithmetic="fp32", integers=True, palette=True),
    ),
    lacks={
        "int8-dynamic": "its quantize takes a scale that is stored",
        "int16": "quantize and dequantize take integers of 8 bits (iOS 17)",
    },
    lacks_options={
        "input_dtype": "with `image_input` the file takes an image, whose pixels are bytes",
        "layout": "its convolutions read channels first, or with `image_input` it takes an image",
    },
    checked_by="Core ML on macOS, the reference evaluator of ML Programs elsewhere",
    passes=PassChoice(
        add=(
            "index_nearest",
            "slice_windows",
            "move_narrow",
            "limit_rank",
            "guard_norms",
            "settle_pools",
            "guard_padding",
        ),
        without=("move_less",),
        native=(
            "conv1d",
            "conv2d",
            "conv3d",
            "exp2",
            "masked_fill",
            "sort",
            "std",
            "topk",
            "var",
            "where",
        ),
    ),
    options=CoreMLOptions,
    sizes="enumerated shapes",
    one_graph=True,
    open_axes=("batch", "size"),
    suppresses=True,
    runners=("coreml",),
    apps=("ios_app",),
)
