"""Layers that must not compute in float16 whatever their numbers are."""

from __future__ import annotations

import numpy as np
import pytest

from mobile_export.exporters.ncnn.files import (
    FEATURE_MASK,
    NO_FLOAT16_ARITHMETIC,
    NO_FLOAT16_STORAGE,
    NcnnLayer,
)
from mobile_export.exporters.ncnn.fp16 import float32_masks, with_conversions
from mobile_export.lowering import ir


@pytest.mark.parametrize(
    ("channels", "stride", "width", "masked"),
    [(8, 2, 14, True), (96, 2, 7, True), (8, 2, 28, False), (8, 2, 13, False), (8, 1, 14, False),
     (12, 2, 14, False)],
)  # fmt: skip
def test_depthwise_convolutions_that_ncnn_gets_wrong_on_arm(
    channels: int, stride: int, width: int, masked: bool
) -> None:
    """Which are wrong was seen in ncnn's own aarch64 kernels under qemu, against PyTorch."""
    x = ir.Value("x", (channels, width * stride, width * stride))
    y = ir.Value("y", (channels, width, width))
    weight = np.full((channels, 1, 3, 3), 0.1, dtype=np.float32)
    layer = ir.Convolution(
        inputs=(x,), output=y, weight=weight, bias=None, stride=(stride, stride),
        padding=((1, 2 - 1),) * 2, dilation=(1, 1), groups=channels,
    )  # fmt: skip
    graph = ir.LayerGraph((x,), (y,), (layer,))
    masks = float32_masks(graph, [np.ones((1, *x.shape))])
    assert masks == ({"y": NO_FLOAT16_ARITHMETIC} if masked else {})


def test_layers_in_float32_get_their_inputs_in_float32() -> None:
    """Each taker through a Dropout of its own; blobs that are float32 already stay."""
    exact = {FEATURE_MASK: NO_FLOAT16_ARITHMETIC | NO_FLOAT16_STORAGE}
    layers = [
        NcnnLayer("Input", "image", (), ("image",)),
        NcnnLayer("ReLU", "a", ("image",), ("a",)),
        NcnnLayer("BinaryOp", "b", ("a", "image"), ("b",), exact),
        NcnnLayer("BinaryOp", "c", ("b", "a"), ("c",), exact),
        NcnnLayer("BinaryOp", "d", ("c", "a"), ("d",), {FEATURE_MASK: NO_FLOAT16_ARITHMETIC}),
    ]
    made = {layer.name: layer for layer in with_conversions(layers)}
    converting = [layer for layer in made.values() if layer.type == "Dropout"]
    assert [layer.inputs for layer in converting] == [("a",), ("a",)]
    assert all(FEATURE_MASK not in layer.params for layer in converting)
    assert made["b"].inputs == (*converting[0].outputs, "image")
    assert made["c"].inputs == ("b", *converting[1].outputs)
    assert made["d"].inputs == ("c", "a")
