"""ncnn: two files, written by us from the layer graph, executed by ncnn."""

from __future__ import annotations

from ...system.versions import Library
from ..row import (
    FLOAT16,
    FLOAT32,
    INTEGERS,
    LAYERED,
    Format,
    IntegerLayers,
    PassChoice,
    Precision,
)

__all__ = ["ROW"]

ROW = Format(
    name="ncnn",
    title="ncnn",
    summary="Write an ncnn model (two files); ncnn executes it here.",
    suffix=".ncnn.param",
    companions=(".bin",),
    made_from="layers",
    integers_as_floats="all",
    not_open="its layers have no batch",
    batches=False,
    sizes="free height and width",
    any_size=True,
    open_axes=("size",),
    extra="ncnn",
    libraries=(Library("ncnn", "ncnn", ">=1.0.20250503,<1.1"),),
    precisions=(
        Precision("fp32", FLOAT32, 32),
        Precision("fp16", FLOAT16, 16),
        Precision("int8", INTEGERS, 8, calibrated=True, integers=True),
    ),
    lacks={
        "int4-weights": "its layers of floats read weights of floats",
        "palette4": "its tables have 256 values",
        "palette6": "its tables have 256 values",
        "palette8": "not yet: its .bin has tables of 256 values",
        "int8-dynamic": "its layers of integers read a scale of their input that is stored",
        "int16": "ncnn has no kernels for integers of 16 bits",
        "int8-weights": "its layers of floats read weights of floats, and widen none by channel",
    },
    lacks_options={
        "input_dtype": "a blob is of floats, which ncnn's Mat.from_pixels makes of an app's bytes",
        "layout": "a blob has its channels first",
        "target": "that is a version of iOS",
    },
    integer_layers=IntegerLayers(
        operators=("conv2d", "linear"),
        lacks={
            "conv1d": "ncnn's convolution along one axis has no integers",
            "conv3d": "ncnn's convolution along three axes has no integers",
            "conv_transpose1d": "ncnn's transposed convolution has no integers",
            "conv_transpose2d": "ncnn's transposed convolution has no integers",
            "conv_transpose3d": "ncnn's transposed convolution has no integers",
        },
        grouped="ncnn's integers of groups of several channels are wrong on x86 (20261020)",
    ),
    faster_forms="Winograd's form of 3x3 convolutions",
    checked_by="ncnn",
    passes=PassChoice(add=("repeat_channels",), native=LAYERED),
    runners=("ncnn", "ncnn-native", "benchncnn", "arm-ncnn"),
)
