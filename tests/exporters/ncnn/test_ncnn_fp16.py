"""Layers that must not compute in float16 whatever their numbers are."""

from __future__ import annotations

import numpy as np
import pytest

from mobile_export.exporters.layers import ir
from mobile_export.exporters.ncnn.files import NO_FLOAT16_ARITHMETIC
from mobile_export.exporters.ncnn.fp16 import float32_masks


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
