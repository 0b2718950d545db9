"""MobileNetV3, ICCV 2019 (arXiv 1905.02244).

"Searching for MobileNetV3", Howard et al. Inverted residuals with squeeze-and-excitation and
hard swish (Tables 1 and 2). Of timm and torchvision's widths none has the printed size of 0.5 and
1.25: there the last layer is scaled, or the first one is not. Here every layer is scaled but the
one before the classifier, which stays at 1280 channels.

Parameter names are those of torchvision's checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["LARGE", "SMALL", "Block", "MobileNetV3", "features", "mobilenetv3_large", "rounded"]

NORM_EPS = 1e-3
LAST = 1280


@dataclass(frozen=True)
class Block:
    """One inverted residual of the paper's tables.

    Attributes:
        kernel: of the depthwise convolution.
        middle: channels between the pointwise convolutions; ``dim``: those that leave.
        squeeze: whether there is squeeze-and-excitation.
        swish: hard swish instead of ReLU.
        stride, dilation: of the depthwise convolution; a dilated one has no stride.
    """

    kernel: int
    middle: int
    dim: int
    squeeze: bool
    swish: bool
    stride: int
    dilation: int = 1


LARGE = (
    Block(3, 16, 16, False, False, 1),
    Block(3, 64, 24, False, False, 2),
    Block(3, 72, 24, False, False, 1),
    Block(5, 72, 40, True, False, 2),
    Block(5, 120, 40, True, False, 1),
    Block(5, 120, 40, True, False, 1),
    Block(3, 240, 80, False, True, 2),
    Block(3, 200, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 184, 80, False, True, 1),
    Block(3, 480, 112, True, True, 1),
    Block(3, 672, 112, True, True, 1),
    Block(5, 672, 160, True, True, 2),
    Block(5, 960, 160, True, True, 1),
    Block(5, 960, 160, True, True, 1),
)
"""Table 1."""

SMALL = (
    Block(3, 16, 16, True, False, 2),
    Block(3, 72, 24, False, False, 2),
    Block(3, 88, 24, False, False, 1),
    Block(5, 96, 40, True, True, 2),
    Block(5, 240, 40, True, True, 1),
    Block(5, 240, 40, True, True, 1),
    Block(5, 120, 48, True, True, 1),
    Block(5, 144, 48, True, True, 1),
    Block(5, 288, 96, True, True, 2),
    Block(5, 576, 96, True, True, 1),
    Block(5, 576, 96, True, True, 1),
)
"""Table 2."""


def rounded(value: float) -> int:
    """The nearest multiple of 8, not below 8, and not more than a tenth below the value."""
    near = max(8, int(value + 4) // 8 * 8)
    return near if near >= 0.9 * value else near + 8


def conv_norm(
    dim_in: int,
    dim_out: int,
    kernel: int,
    act: type[nn.Module] | None,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, batch norm and, unless it is None, an activation."""
    padding = dilation * (kernel // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(dim_in, dim_out, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(dim_out, eps=NORM_EPS, momentum=0.01),
    ]
    return nn.Sequential(*layers, *([] if act is None else [act()]))


class SqueezeExcite(nn.Module):
    """Channels scaled by what the averages say: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = rounded(dim / 4)
        self.fc1 = nn.Conv2d(dim, middle, 1)
        self.fc2 = nn.Conv2d(middle, dim, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        average = x.mean((2, 3), keepdim=True)
        scale = self.scale_activation(self.fc2(self.activation(self.fc1(average))))
        y: Tensor = scale * x
        return y


class InvertedResidual(nn.Module):
    """Pointwise, depthwise and pointwise convolution, with a residual where shapes allow."""

    def __init__(self, dim_in: int, block: Block) -> None:
        super().__init__()
        stride = 1 if block.dilation > 1 else block.stride
        act: type[nn.Module] = nn.Hardswish if block.swish else nn.ReLU
        layers: list[nn.Module] = []
        if block.middle != dim_in:
            layers.append(conv_norm(dim_in, block.middle, 1, act))
        layers.append(
            conv_norm(
                block.middle,
                block.middle,
                block.kernel,
                act,
                stride=stride,
                dilation=block.dilation,
                groups=block.middle,
            )
        )
        if block.squeeze:
            layers.append(SqueezeExcite(block.middle))
        self.block = nn.Sequential(*layers, conv_norm(block.middle, block.dim, 1, None))
        self.residual = block.stride == 1 and block.dim == dim_in

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.residual else y


def features(blocks: tuple[Block, ...], stem: int, in_chans: int) -> nn.Sequential:
    """Stem, blocks and the last pointwise convolution, whose output is six times as wide."""
    dims = (stem, *(block.dim for block in blocks))
    return nn.Sequential(
        conv_norm(in_chans, stem, 3, nn.Hardswish, stride=2),
        *(InvertedResidual(dim, block) for dim, block in zip(dims[:-1], blocks, strict=True)),
        conv_norm(dims[-1], 6 * dims[-1], 1, nn.Hardswish),
    )


class MobileNetV3(nn.Module):
    """MobileNetV3 classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self, blocks: tuple[Block, ...], stem: int, *, num_classes: int, in_chans: int
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.features = features(blocks, stem, in_chans)
        self.classifier = nn.Sequential(
            nn.Linear(6 * blocks[-1].dim, LAST),
            nn.Hardswish(),
            nn.Dropout(0.2),
            nn.Linear(LAST, num_classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits


def mobilenetv3_large(
    num_classes: int = 1000, *, in_chans: int = 3, width: str = "1.0"
) -> MobileNetV3:
    """MobileNetV3-Large: 5.4 M parameters, 75.2 % top-1; of width 0.5 2.6 M, of 1.25 7.5 M."""
    scale = float(width)
    blocks = tuple(
        Block(
            block.kernel,
            rounded(scale * block.middle),
            rounded(scale * block.dim),
            block.squeeze,
            block.swish,
            block.stride,
        )
        for block in LARGE
    )
    return MobileNetV3(blocks, rounded(scale * 16), num_classes=num_classes, in_chans=in_chans)
