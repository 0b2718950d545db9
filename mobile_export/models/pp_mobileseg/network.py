"""PP-MobileSeg: strided SEA attention on MobileNetV3 blocks (arXiv 2304.05152).

"PP-MobileSeg: Explore the Fast and Accurate Semantic Segmentation Model on Mobile Devices", Tang et
al. Four stages of MobileNetV3 blocks; behind the last two, SeaFormer's attention at half their
resolution (StrideFormer, §3.1). The aggregated attention module multiplies the gates of three maps
(§3.2). Its valid interpolate module (§3.3), which enlarges the scores of those classes alone that a
pixel has, is not a graph of fixed sizes: the option ``output`` enlarges all, with the same result
wherever the largest score of a pixel of the image is of such a class.

Written after the official code, which is of Paddle (github.com/PaddlePaddle/PaddleSeg).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import ConvBNAct, check_classes, drop_rates
from ..seaformer.network import ConvNorm, SeaAttention, SeaLayer, SeaStage
from ..segmentation import SegmentationOutput, check_output, finish

__all__ = ["PPMobileSeg", "pp_mobileseg_tiny"]

STEM = 16
STAGES: tuple[tuple[tuple[int, int, int, bool, int], ...], ...] = (
    ((3, 16, 16, True, 1), (3, 64, 32, False, 2), (3, 48, 24, False, 1)),
    ((5, 96, 32, True, 2), (5, 96, 32, True, 1)),
    ((5, 160, 64, True, 2), (5, 160, 64, True, 1)),
    ((3, 384, 128, True, 2), (3, 384, 128, True, 1)),
)
"""Kernel, inner channels, channels, squeeze-and-excitation, stride. The first stage has ReLU, the
others hard swish."""
DEPTH = 2
HEADS = 4
KEY_DIMS = (16, 24)
MLP_RATIOS = (2, 4)
FUSED = 256
REDUCTION = 4


class Gate(nn.Module):
    """Squeeze-and-excitation whose sigmoid is max(0, min(1, x / 5 + 1 / 2))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim // REDUCTION, 1)
        self.conv2 = nn.Conv2d(dim // REDUCTION, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True))))
        y: Tensor = x * (0.2 * gate + 0.5).clamp(0, 1)
        return y


class MobileBlock(nn.Module):
    """MobileNetV3 block, which expands even to its own width."""

    def __init__(
        self, dim_in: int, block: tuple[int, int, int, bool, int], act: type[nn.Module]
    ) -> None:
        super().__init__()
        kernel, middle, dim, gated, stride = block
        self.residual = stride == 1 and dim_in == dim
        self.act = act()
        self.expand_conv = ConvNorm(dim_in, middle)
        self.bottleneck_conv = ConvNorm(middle, middle, kernel, stride=stride, groups=middle)
        self.mid_se = Gate(middle) if gated else nn.Identity()
        self.linear_conv = ConvNorm(middle, dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bottleneck_conv(self.act(self.expand_conv(x))))
        y = self.linear_conv(self.mid_se(y))
        return x + y if self.residual else y


class StridedSeaAttention(SeaAttention):
    """SEA attention of every second row and column, enlarged again: (B, dim, H, W) -> same."""

    def __init__(self, dim: int, key_dim: int, heads: int) -> None:
        super().__init__(dim, key_dim, heads)
        conv = nn.Conv2d(dim, dim, 3, 2, 1, groups=dim)
        self.stride_conv = nn.Sequential(conv, nn.BatchNorm2d(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(self.stride_conv(x))
        return F.interpolate(y, size=x.shape[2:], mode="bilinear", align_corners=False)


class StrideFormer(nn.Module):
    """Images (B, in_chans, H, W) -> maps of strides 8, 16 and 32."""

    def __init__(self, *, in_chans: int, drop_path_rate: float) -> None:
        super().__init__()
        self.stem = ConvNorm(in_chans, STEM, 3, stride=2)
        dim = STEM
        for index, blocks in enumerate(STAGES):
            layers = []
            for block in blocks:
                layers.append(MobileBlock(dim, block, nn.Hardswish if index else nn.ReLU))
                dim = block[2]
            setattr(self, f"smb{index + 1}", nn.Sequential(*layers))
        for index, (key_dim, ratio) in enumerate(zip(KEY_DIMS, MLP_RATIOS, strict=True)):
            dim = STAGES[index + 2][-1][2]
            drops = drop_rates(drop_path_rate, DEPTH)
            layers_of = [
                SeaLayer(StridedSeaAttention(dim, key_dim, HEADS), dim, ratio, drop)
                for drop in drops
            ]
            setattr(self, f"trans{index + 1}", SeaStage(layers_of))

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = []
        x = self.get_submodule("smb1")(F.hardswish(self.stem(x)))
        for names in (("smb2",), ("smb3", "trans1"), ("smb4", "trans2")):
            for name in names:
                x = self.get_submodule(name)(x)
            maps.append(x)
        return maps


class Aggregation(nn.Module):
    """Aggregated attention module: three maps -> (B, 256, h, w) of the second one's size."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__()
        self.embedding_list = nn.ModuleList(
            ConvBNAct(dim, FUSED, 1, act=nn.Identity) for dim in dims
        )
        self.act_embedding_list = nn.ModuleList(
            ConvBNAct(dim, FUSED, 1, act=nn.Sigmoid) for dim in dims
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        size = maps[1].shape[2:]
        fine = F.interpolate(maps[0], size=size, mode="bilinear", align_corners=False)
        taken = [fine, maps[1], maps[2]]
        gates = [gate(x) for gate, x in zip(self.act_embedding_list, taken, strict=True)]
        values = [embed(x) for embed, x in zip(self.embedding_list, taken, strict=True)]
        gate, value = (
            F.interpolate(x, size=size, mode="bilinear", align_corners=False)
            for x in (gates[2], values[2])
        )
        y: Tensor = gates[0] * gates[1] * gate * (values[0] + values[1]) + value
        return y


class PPMobileSeg(nn.Module):
    """PP-MobileSeg: normalised images (B, in_chans, H, W) -> one score map per class.

    H and W are multiples of 16. ``output``: see `models.segmentation`.
    """

    def __init__(
        self,
        *,
        num_classes: int = 150,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        output: SegmentationOutput = "logits",
    ) -> None:
        check_classes(num_classes)
        check_output(output)
        super().__init__()
        self.num_classes = num_classes
        self.output = output
        self.backbone = StrideFormer(in_chans=in_chans, drop_path_rate=drop_path_rate)
        self.inj_module = Aggregation(tuple(blocks[-1][2] for blocks in STAGES[1:]))
        self.linear_fuse = ConvBNAct(FUSED, FUSED, 1, groups=FUSED)
        self.conv_seg = nn.Conv2d(FUSED, num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.conv_seg(self.linear_fuse(self.inj_module(self.backbone(x))))
        return finish(scores, (x.shape[2], x.shape[3]), self.output)


def pp_mobileseg_tiny(
    num_classes: int = 150,
    *,
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
    output: SegmentationOutput = "logits",
) -> PPMobileSeg:
    """PP-MobileSeg-Tiny: 36.4 % mIoU on ADE20K."""
    return PPMobileSeg(
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        output=output,
    )
