"""ParaTransCNN: a transformer beside a ResNet, for medical segmentation (arXiv 2401.15307).

"ParaTransCNN: Parallelized TransCNN Encoder for Medical Image Segmentation", Sun et al. The two
encoders' maps of strides 4 to 16 are joined, squeezed and excited, and decoded (§3). The ResNet-34
has no pooling behind its first convolution; positions are not embedded.

Parameter names are those of the official code (github.com/HongkunSun/ParaTransCNN).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Attention, check_classes, from_map, to_map
from ..resnet import BasicBlock
from ..segmentation import SegmentationOutput, check_output, finish

__all__ = ["ParaTransCNN", "paratranscnn"]

DIM = 320
HEADS = 8
DEPTH = 3
RATIO = 2
PATCH = 2
WIDTHS = (64, 128, 256, 512)
DEPTHS = (3, 4, 6, 3)
REDUCTION = 16


class FeedForward(nn.Module):
    """Linear, GELU, linear, under the official names."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        drop = nn.Identity()
        self.net = nn.Sequential(nn.Linear(dim, middle), nn.GELU(), drop, nn.Linear(middle, dim))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x)
        return y


class Normed(nn.Module):
    """A layer behind a norm."""

    def __init__(self, dim: int, layer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fn(self.norm(x))
        return y


class Residual(nn.Module):
    """A layer with a residual."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.fn = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fn(x) + x
        return y


class Transformer(nn.Module):
    """Attention and feed-forward in turns, of the pixels of a map: (B, dim, H, W) -> same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(DEPTH):
            layers.append(Residual(Normed(dim, Attention(dim, HEADS, bias=False))))
            layers.append(Residual(Normed(dim, FeedForward(dim, RATIO * dim))))
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return to_map(self.net(from_map(x)), (x.shape[2], x.shape[3]))


class Excite(nn.Module):
    """Squeeze-and-excitation without biases."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = dim // REDUCTION
        self.fc = nn.Sequential(
            nn.Linear(dim, middle, bias=False),
            nn.ReLU(),
            nn.Linear(middle, dim, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x * self.fc(x.mean((2, 3)))[:, :, None, None]
        return y


class Decoder(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(dim)
        self.conv3 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm3 = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm3(self.conv3(F.relu(self.norm1(self.conv1(x))))))


class ParaTransCNN(nn.Module):
    """ParaTransCNN: images (B, in_chans, H, W) -> one score map per class of the same size.

    H and W are multiples of 16. ``output``: see `models.segmentation`.
    """

    def __init__(
        self, *, num_classes: int = 9, in_chans: int = 3, output: SegmentationOutput = "logits"
    ) -> None:
        check_classes(num_classes)
        check_output(output)
        super().__init__()
        self.num_classes = num_classes
        self.output = output
        dims = [DIM * 2**index for index in range(3)]
        for index, dim in enumerate(dims):
            setattr(self, f"vit_{index + 1}", Transformer(dim))
        self.patch_embed_1 = nn.Conv2d(in_chans, dims[0], 2 * PATCH, 2 * PATCH)
        self.patch_embed_2 = nn.Conv2d(dims[0], dims[1], PATCH, PATCH)
        self.patch_embed_3 = nn.Conv2d(dims[1], dims[2], PATCH, PATCH)
        self.firstconv = nn.Conv2d(in_chans, WIDTHS[0], 7, 2, 3, bias=False)
        self.firstbn = nn.BatchNorm2d(WIDTHS[0])
        before = WIDTHS[0]
        for index, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
            first = BasicBlock(before, width, 2 if index else 1)
            others = [BasicBlock(width, width, 1) for _ in range(depth - 1)]
            setattr(self, f"encoder{index + 1}", nn.Sequential(first, *others))
            before = width
        fine, middle, coarse = (dim + width for dim, width in zip(dims, WIDTHS[1:], strict=True))
        self.SE_1, self.SE_2, self.SE_3 = Excite(coarse), Excite(middle), Excite(fine)
        self.decoder1 = Decoder(coarse)
        self.decoder2 = Decoder(2 * middle)
        self.decoder3 = Decoder(fine + middle)
        self.up3_1 = nn.ConvTranspose2d(coarse, middle, 2, 2)
        self.up2_1 = nn.ConvTranspose2d(2 * middle, middle, 2, 2)
        self.up1_1 = nn.ConvTranspose2d(fine + middle, dims[0], 4, 4)
        self.out = nn.Conv2d(dims[0], num_classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        conv, pixels = F.relu(self.firstbn(self.firstconv(x))), x
        maps: list[Tensor] = []
        for index in range(1, 5):
            conv = getattr(self, f"encoder{index}")(conv)
            if index > 1:
                pixels = getattr(self, f"patch_embed_{index - 1}")(pixels)
                pixels = getattr(self, f"vit_{index - 1}")(pixels)
                maps.append(torch.cat([pixels, conv], 1))
        y = self.up3_1(self.decoder1(self.SE_1(maps[2])))
        y = self.up2_1(self.decoder2(torch.cat([self.SE_2(maps[1]), y], 1)))
        y = self.up1_1(self.decoder3(torch.cat([self.SE_3(maps[0]), y], 1)))
        return finish(self.out(y), (x.shape[2], x.shape[3]), self.output)


def paratranscnn(
    num_classes: int = 9, *, in_chans: int = 3, output: SegmentationOutput = "logits"
) -> ParaTransCNN:
    """ParaTransCNN of the organs of Synapse's data and the background."""
    return ParaTransCNN(num_classes=num_classes, in_chans=in_chans, output=output)
