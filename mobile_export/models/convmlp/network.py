"""ConvMLP (arXiv 2109.04454).

"ConvMLP: Hierarchical Convolutional MLPs for Vision", Li et al. A convolutional tokenizer and
stage (§3.2), then stages whose blocks are two channel MLPs with a depthwise convolution between
them (§3.4). Small: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/SHI-Labs/Convolutional-MLPs). A
head of `models.heads` takes the maps that the official segmenter takes: the tokenizer's, that of
the convolutional stage, and those of the first and the last MLP stage.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..layers import DropPath, FeedForward, check_classes, drop_rates, initialize_linear

__all__ = ["ConvMLP", "convmlp_s"]


def _convs(*dims: tuple[int, int, int, int]) -> list[nn.Module]:
    """Convolution, batch norm and ReLU of each (dim_in, dim_out, kernel, stride)."""
    layers: list[nn.Module] = []
    for dim_in, dim_out, kernel, stride in dims:
        conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2, bias=False)
        layers += [conv, nn.BatchNorm2d(dim_out), nn.ReLU()]
    return layers


class Tokenizer(nn.Module):
    """Images (B, in_chans, H, W) -> (B, dim, H/4, W/4)."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        convs = _convs((in_chans, half, 3, 2), (half, half, 3, 1), (half, dim, 3, 1))
        self.block = nn.Sequential(*convs, nn.MaxPool2d(3, 2, 1))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class ConvStage(nn.Module):
    """Bottlenecks with residuals, and a convolution that halves the map's height and width."""

    def __init__(self, dim: int, dim_out: int, depth: int) -> None:
        super().__init__()
        self.conv_blocks = nn.ModuleList(
            nn.Sequential(
                *_convs((dim, dim_out, 1, 1), (dim_out, dim_out, 3, 1), (dim_out, dim, 1, 1))
            )
            for _ in range(depth)
        )
        self.downsample = nn.Conv2d(dim, dim_out, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.conv_blocks:
            x = x + block(x)
        y: Tensor = self.downsample(x)
        return y


class Block(nn.Module):
    """Channel MLP, depthwise convolution, channel MLP; channels last: (B, H, W, dim)."""

    def __init__(self, dim: int, middle: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.channel_mlp1 = FeedForward(dim, middle)
        self.norm2 = nn.LayerNorm(dim)
        self.connect = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.connect_norm = nn.LayerNorm(dim)
        self.channel_mlp2 = FeedForward(dim, middle)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.channel_mlp1(self.norm1(x)))
        x = self.connect(self.connect_norm(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y: Tensor = x + self.drop_path(self.channel_mlp2(self.norm2(x)))
        return y


class Downsample(nn.Module):
    """A convolution that halves, channels last."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.downsample = nn.Conv2d(dim, dim_out, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.downsample(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y


class Stage(nn.Module):
    """Blocks and, but for the last stage, a `Downsample`; channels last."""

    def __init__(
        self, dim: int, dim_out: int | None, depth: int, mlp_ratio: int, drop_path_rate: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, mlp_ratio * dim, drop) for drop in drop_rates(drop_path_rate, depth)
        )
        self.downsample_mlp = nn.Identity() if dim_out is None else Downsample(dim, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.downsample_mlp(x)
        return y


class ConvMLP(nn.Module):
    """ConvMLP classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        *,
        width: int,
        conv_depth: int,
        mlp_ratio: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.tokenizer = Tokenizer(in_chans, width)
        self.conv_stages = ConvStage(width, dims[0], conv_depth)
        self.stages = nn.ModuleList(
            Stage(dim, dim_out, depth, mlp_ratio, drop_path_rate)
            for dim, dim_out, depth in zip(dims, (*dims[1:], None), depths, strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        first = self.tokenizer(x)
        second = self.conv_stages(first)
        maps = [first, second]
        x = second.permute(0, 2, 3, 1)
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index != 1:
                maps.append(x.permute(0, 3, 1, 2))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        last = self.feature_maps(x)[-1].permute(0, 2, 3, 1)
        logits: Tensor = self.head(self.norm(last).mean((1, 2)))
        return logits


def convmlp_s(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> ConvMLP:
    """ConvMLP-S: 9.0 M parameters, 76.8 % top-1 on ImageNet."""
    return ConvMLP(
        (128, 256, 512),
        (2, 4, 2),
        width=64,
        conv_depth=2,
        mlp_ratio=2,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
