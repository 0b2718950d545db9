"""TNN: two files, written by us from the layer graph, executed by our evaluator of TNN models."""

from __future__ import annotations

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
    name="tnn",
    title="TNN",
    summary="Write a TNN model (two files); our evaluator of TNN models executes it here.",
    suffix=".tnnproto",
    companions=(".tnnmodel",),
    made_from="layers",
    integers_as_floats="all",
    not_open="its layers are written with the numbers of one shape, and have no batch",
    batches=False,
    extra="tnn",
    libraries=(),
    precisions=(
        Precision("fp32", FLOAT32, 32),
        Precision("fp16", FLOAT16, 16),
        Precision("int8", INTEGERS, 8, calibrated=True, integers=True),
    ),
    lacks={
        "int4-weights": "TNN has no integers of 4 bits",
        "palette4": "TNN reads no table of weights",
        "palette6": "TNN reads no table of weights",
        "palette8": "TNN reads no table of weights",
        "int8-dynamic": "its layers of integers read a scale of their input that is stored",
        "int16": "TNN has no kernels for integers of 16 bits",
        "int8-weights": "its linear layers have one scale of int8 weights for all channels",
    },
    lacks_options={
        "input_dtype": "a blob is of floats, which TNN's BlobConverter makes of an app's bytes",
        "layout": "a blob has its channels first",
        "target": "that is a version of iOS",
    },
    integer_layers=IntegerLayers(
        operators=("conv2d", "linear"),
        lacks={
            "conv1d": "TNN's convolution along one axis has no integers",
            "conv3d": "TNN's convolution along three axes has no integers",
            "conv_transpose1d": "TNN's transposed convolution has no integers",
            "conv_transpose2d": "TNN's transposed convolution has no integers",
            "conv_transpose3d": "TNN's transposed convolution has no integers",
        },
        grouped="TNN's ARM device refuses integers of groups of several channels",
        least=-128,
        gives={"conv2d": ("relu", "relu6"), "linear": ("relu",)},
    ),
    checked_by="the reference evaluator of TNN models",
    passes=PassChoice(add=("repeat_channels",), native=LAYERED),
    runners=("tnn-test",),
)
