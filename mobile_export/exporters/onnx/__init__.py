"""ONNX: written by torch.onnx and onnxsim, executed by onnxruntime."""

from __future__ import annotations

from ...system.versions import Library
from ..row import FLOAT32, INTEGERS, BytesOptions, Format, OtherRuntime, PassChoice, Precision

__all__ = ["ROW"]

ROW = Format(
    name="onnx",
    title="ONNX",
    summary="Write an ONNX file; onnxruntime executes it here.",
    suffix=".onnx",
    made_from="program",
    extra="onnx",
    libraries=(
        Library("onnx", "onnx", ">=1.18,<2"),
        Library("onnxruntime", "onnxruntime", ">=1.22,<2"),
        Library("onnxscript", "onnxscript", ">=0.5,<0.8"),
        Library("onnxsim", "onnxsim", ">=0.6,<0.9"),
    ),
    precisions=(
        Precision("fp32", FLOAT32, 32),
        Precision("int8", INTEGERS, 8, calibrated=True, integers=True),
        Precision("int16", INTEGERS, 8, calibrated=True, integers=True),
        Precision("int8-weights", INTEGERS, 8, arithmetic="fp32", integers=True),
        Precision("int8-dynamic", INTEGERS, 8, integers=True, dynamic=True),
        Precision("int4-weights", INTEGERS, 4, arithmetic="fp32", integers=True, block=32),
    ),
    lacks={
        "palette4": "ONNX has no operator for a table of weights",
        "palette6": "ONNX has no operator for a table of weights",
        "palette8": "ONNX has no operator for a table of weights",
        "fp16": "float16 arithmetic is up to the device's runtime, which is given float32",
    },
    lacks_options={
        "layout": "its convolutions read channels first",
        "target": "that is a version of iOS",
    },
    checked_by="onnxruntime",
    passes=PassChoice(
        add=("repeat_channels", "exclude_padding", "guard_padding", "settle_layouts"),
        native=(
            "acosh",
            "asinh",
            "bitwise_and",
            "bitwise_not",
            "bitwise_or",
            "bitwise_xor",
            "celu",
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose3d",
            "deform_conv2d",
            "exp2",
            "grid_sampler",
            "gru",
            "hardshrink",
            "index_put",
            "isnan",
            "log_softmax",
            "lstm",
            "masked_fill",
            "roi_align",
            "softshrink",
            "sort",
            "topk",
            "where",
        ),
    ),
    options=BytesOptions,
    sizes="free height and width",
    one_graph=True,
    any_size=True,
    open_axes=("batch", "size"),
    suppresses=True,
    runners=("onnxruntime", "perf-test", "arm-onnxruntime"),
    apps=("android_app",),
    other_runtimes=(
        OtherRuntime("openvino", Library("openvino", "openvino", ">=2026.0,<2027"), "openvino"),
    ),
)
