"""The deformable ResNet-50 against torchvision's ResNet-50 with torchvision's own operator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mobile_export.models.dcn.network import resnet50_dcnv2

torchvision = pytest.importorskip("torchvision")


class Pack(nn.Module):
    """torchvision's deformable convolution, with offsets and weights as mmcv makes them."""

    def __init__(self, dim: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.zeros(dim, dim, 3, 3))
        self.conv_offset = nn.Conv2d(dim, 27, 3, stride, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns, mask = self.conv_offset(x).chunk(3, 1)
        y: Tensor = torchvision.ops.deform_conv2d(
            x,
            torch.cat([rows, columns], 1),
            self.weight,
            stride=self.stride,
            padding=1,
            mask=mask.sigmoid(),
        )
        return y


def test_outputs_and_names_are_torchvisions() -> None:
    torch.manual_seed(0)
    module = resnet50_dcnv2(7).eval().double()
    with torch.no_grad():
        for name, value in module.named_parameters():
            if "conv_offset" in name:
                value.normal_(std=0.05)
    reference = torchvision.models.resnet50(num_classes=7)
    for stage in (reference.layer2, reference.layer3, reference.layer4):
        for block in stage:
            block.conv2 = Pack(block.conv2.in_channels, block.conv2.stride[0])
    reference = reference.eval().double()
    reference.load_state_dict(module.state_dict())
    image = torch.randn(2, 3, 70, 64, dtype=torch.float64)
    with torch.no_grad():
        expected, found = reference(image), module(image)
    assert float(expected.std()) > 0.01
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
