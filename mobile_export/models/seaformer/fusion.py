"""SeaFormer's fusion blocks and light head (arXiv 2301.13156, §3.1.3 and §3.1.4)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvNorm", "FusionBlock", "LightHead"]


class ConvNorm(nn.Module):
    """Convolution of kernel 1 without bias, and batch norm, named as mmcv names them."""

    def __init__(self, dim_in: int, dim_out: int, *, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, 1, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.bn(self.conv(x))
        return y


class FusionBlock(nn.Module):
    """local(x) · upsampled gate(context): (B, C, H, W) and (B, D, h, w) -> (B, dim, H, W).

    ``fusion`` is one of Table 11: without "sigmoid" what is upsampled is no gate, and with "add"
    the two are added.
    """

    def __init__(
        self, dim_local: int, dim_context: int, dim: int, fusion: str = "sigmoid_multiply"
    ) -> None:
        super().__init__()
        self.fusion = fusion
        self.local_embedding = ConvNorm(dim_local, dim)
        self.global_act = ConvNorm(dim_context, dim)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        context = self.global_act(context)
        if self.fusion.startswith("sigmoid"):
            context = F.hardsigmoid(context)
        gate = F.interpolate(context, size=x.shape[2:], mode="bilinear", align_corners=False)
        local: Tensor = self.local_embedding(x)
        return local + gate if self.fusion.endswith("add") else local * gate


class LightHead(nn.Module):
    """Fusion blocks, a 1x1 convolution and a classifier per pixel, all at stride 8.

    ``depthwise``: the convolution is a scale of every channel.
    """

    def __init__(
        self,
        detail_dim: int,
        context_dims: tuple[int, ...],
        dims: tuple[int, ...],
        classes: int,
        fusion: str = "sigmoid_multiply",
        *,
        depthwise: bool = True,
    ) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(dims[-1], classes, 1)
        self.linear_fuse = ConvNorm(dims[-1], dims[-1], groups=dims[-1] if depthwise else 1)
        for index, dim in enumerate(dims):
            block = FusionBlock(detail_dim, context_dims[index], dim, fusion)
            setattr(self, f"fuse{index + 1}", block)
            detail_dim = dim
        self.depth = len(dims)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.conv_seg.bias))

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[0]
        for index in range(self.depth):
            x = getattr(self, f"fuse{index + 1}")(x, features[index + 1])
        logits: Tensor = self.conv_seg(F.relu(self.linear_fuse(x)))
        return logits
