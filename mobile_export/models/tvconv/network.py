"""TVConv: a depthwise convolution with weights of its own at every pixel (arXiv 2203.10489).

"TVConv: Efficient Translation Variant Convolution for Layout-aware Visual Processing", Chen et
al., CVPR 2022. For images with a fixed layout, such as aligned faces: a small network makes the
weights from learnt position maps ("affinity maps", §3.2). They do not depend on the image, so the
pass that folds constants computes them once, and a file holds the weights alone. Here it stands in
the paper's face recogniser, MobileNetV2 whose 3x3 depthwise convolutions are TVConvs.

Parameter and buffer names are those of the official code, whose weights are not public
(github.com/JierunChen/TVConv, face_recognition/model/mobilenetv2.py with the settings of
face_recognition/train_test.py).
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "TVConv",
    "TVConvMobileNetV2",
    "tvconv_mobilenetv2_x0_1",
    "tvconv_mobilenetv2_x0_2",
    "tvconv_mobilenetv2_x0_3",
    "tvconv_mobilenetv2_x0_5",
    "tvconv_mobilenetv2_x1_0",
]

KERNEL = 3
MAPS = 4
WIDTH = 64
LAYERS = 4
LAST_DIM = 512
STRIDE = 16
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, number of blocks and stride of each stage, before the width multiplier."""


def _layer_norm_block(dim_in: int, dim_out: int, size: tuple[int, int]) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(dim_in, dim_out, 3, padding=1, bias=False),
        nn.LayerNorm([dim_out, *size]),
        nn.ReLU(),
    )


class TVConv(nn.Module):
    """y[c, p] = Σ_k weight[c, k, p] · x[c, stride·p + k]: (B, C, H, W) -> (B, C, *size).

    Args:
        size: (height, width) of the output, for which the weights are made.
    """

    def __init__(self, dim: int, size: tuple[int, int], stride: int) -> None:
        super().__init__()
        self.size = size
        self.step = stride
        self.posi_map = nn.Parameter(torch.ones(1, MAPS, *size))
        facts = (KERNEL, KERNEL**2, stride, dim, *size)
        names = ("TVConv_k", "TVConv_k_square", "stride", "channels", "h", "w")
        for name, value in zip(names, facts, strict=True):
            self.register_buffer(name, torch.as_tensor(value))  # in the official state dict
        blocks = [_layer_norm_block(MAPS if n == 0 else WIDTH, WIDTH, size) for n in range(LAYERS)]
        last = nn.Conv2d(WIDTH, KERNEL**2 * dim, 3, padding=1, bias=False)
        self.weight_layers = nn.Sequential(*blocks, last)

    def forward(self, x: Tensor) -> Tensor:
        height, width = self.size
        weight = self.weight_layers(self.posi_map).reshape(1, -1, KERNEL**2, height, width)
        x = F.pad(x, (KERNEL // 2,) * 4)
        products: list[Tensor] = []
        for tap in range(KERNEL**2):
            top, left = divmod(tap, KERNEL)
            rows = slice(top, top + self.step * (height - 1) + 1, self.step)
            columns = slice(left, left + self.step * (width - 1) + 1, self.step)
            products.append(weight[:, :, tap] * x[:, :, rows, columns])
        return sum(products[1:], products[0])


class ConvNormReLU(nn.Sequential):
    """Convolution without bias, batch norm and ReLU6."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int = 1) -> None:
        super().__init__(
            nn.Conv2d(dim_in, dim_out, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(dim_out),
            nn.ReLU6(),
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's block around a TVConv: (B, C, H, W) -> (B, D, *size)."""

    def __init__(
        self, dim_in: int, dim_out: int, size: tuple[int, int], *, stride: int, expansion: int
    ) -> None:
        super().__init__()
        middle = dim_in * expansion
        self.skip = stride == 1 and dim_in == dim_out
        expand = [ConvNormReLU(dim_in, middle)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            nn.Sequential(TVConv(middle, size, stride), nn.BatchNorm2d(middle), nn.ReLU6()),
            nn.Conv2d(middle, dim_out, 1, bias=False),
            nn.BatchNorm2d(dim_out),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.skip else y


class Embedding(nn.Module):
    """Norm, global mean, linear layer and norm: (B, C, H, W) -> (B, embedding_dim)."""

    def __init__(self, dim: int, embedding_dim: int) -> None:
        super().__init__()
        self.layer1 = nn.BatchNorm2d(dim)
        self.layer2 = nn.Sequential(nn.Linear(dim, embedding_dim), nn.BatchNorm1d(embedding_dim))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer2(self.layer1(x).mean((2, 3))))


def _round_to_8(channels: float) -> int:
    """The nearest multiple of 8, but not more than 10 % below (MobileNetV2's rule)."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class TVConvMobileNetV2(nn.Module):
    """Face recogniser: aligned faces (B, in_chans, *size) -> embeddings (B, 512).

    Args:
        width: multiplier of the channels.
        size: (height, width) of the images, multiples of 16, for which the weights are made; a
            checkpoint fits the size that it was trained on (the paper: 96x96) and no other.
    """

    def __init__(
        self, width: float, *, size: tuple[int, int] = (96, 96), in_chans: int = 3
    ) -> None:
        super().__init__()
        if any(extent % STRIDE for extent in size):
            raise ValueError(f"size is {size}; both must be multiples of {STRIDE}")
        dim = _round_to_8(32 * width)
        features: list[nn.Module] = [ConvNormReLU(in_chans, dim, 3)]
        height, columns = size
        for expansion, channels, depth, first_stride in STAGES:
            height, columns = height // first_stride, columns // first_stride
            dim_out = _round_to_8(channels * width)
            for block in range(depth):
                stride = 1 if block else first_stride
                features.append(
                    InvertedResidual(
                        dim, dim_out, (height, columns), stride=stride, expansion=expansion
                    )
                )
                dim = dim_out
        features.append(ConvNormReLU(dim, LAST_DIM))
        self.features = nn.Sequential(*features)
        self.output_layer = Embedding(LAST_DIM, LAST_DIM)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.output_layer(self.features(x)))


def tvconv_mobilenetv2_x0_1(**kwargs: Any) -> TVConvMobileNetV2:
    """A tenth of MobileNetV2's width. Keywords: those of `TVConvMobileNetV2`."""
    return TVConvMobileNetV2(0.1, **kwargs)


def tvconv_mobilenetv2_x0_2(**kwargs: Any) -> TVConvMobileNetV2:
    """A fifth of MobileNetV2's width. Keywords: those of `TVConvMobileNetV2`."""
    return TVConvMobileNetV2(0.2, **kwargs)


def tvconv_mobilenetv2_x0_3(**kwargs: Any) -> TVConvMobileNetV2:
    """Three tenths of MobileNetV2's width. Keywords: those of `TVConvMobileNetV2`."""
    return TVConvMobileNetV2(0.3, **kwargs)


def tvconv_mobilenetv2_x0_5(**kwargs: Any) -> TVConvMobileNetV2:
    """Half of MobileNetV2's width. Keywords: those of `TVConvMobileNetV2`."""
    return TVConvMobileNetV2(0.5, **kwargs)


def tvconv_mobilenetv2_x1_0(**kwargs: Any) -> TVConvMobileNetV2:
    """MobileNetV2's width. Keywords: those of `TVConvMobileNetV2`."""
    return TVConvMobileNetV2(1.0, **kwargs)
