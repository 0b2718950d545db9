"""Small layers that several families share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = [
    "Attention",
    "ChannelNorm",
    "Conv",
    "ConvBNAct",
    "ConvNeXtFrame",
    "ConvFeedForward",
    "DropPath",
    "FeedForward",
    "MetaFormerBlock",
    "PoolFormerFrame",
    "Projection",
    "Scale",
    "TransformerBlock",
    "attend",
    "attend_channels",
    "check_classes",
    "drop_rates",
    "from_map",
    "initialize_layer",
    "initialize_linear",
    "to_map",
    "values_at",
    "values_beside",
]


class ConvBNAct(nn.Module):
    """Convolution with "same" padding of odd kernels, batch norm, activation; named as in mmcv.

    (B, dim_in, H, W) -> (B, dim_out, ⌈H/stride⌉, ⌈W/stride⌉)
    """

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        kernel: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        eps: float = 1e-5,
        act: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(
            dim_in, dim_out, kernel, stride, padding, dilation, groups, bias=False
        )
        self.bn = nn.BatchNorm2d(dim_out, eps=eps)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


def check_classes(num_classes: int) -> None:
    """Refuse a head without classes."""
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; it must be at least 1")


def drop_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth's rates of ``depth`` blocks: from 0 to ``last`` in equal steps."""
    return [last * index / max(1, depth - 1) for index in range(depth)]


class DropPath(nn.Module):
    """Stochastic depth: while training, drops a residual branch per sample with this rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * (mask / keep)


def attend(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    """Multi-head attention, channels first: (B, C, N), (B, C, M), (B, D, M) -> (B, D, N).

    Every head mixes its values: Σ softmax(q·k / √d) v, with d = C / heads channels of a key.
    """
    batch, channels, length = q.shape
    queries = q.reshape(batch, heads, -1, length).transpose(-2, -1)
    keys = k.reshape(batch, heads, -1, k.shape[2])
    values = v.reshape(batch, heads, -1, v.shape[2])
    scale: float = (channels // heads) ** -0.5
    weights = (queries @ keys * scale).softmax(-1)
    return (values @ weights.transpose(-2, -1)).reshape(batch, -1, length)


def attend_channels(q: Tensor, k: Tensor, v: Tensor, temperature: Tensor) -> Tensor:
    """Attention of channels to channels (XCiT, arXiv 2106.09681): (B, heads, C, N) -> the same.

    Queries and keys have length one over the N tokens; ``temperature`` (heads, 1, 1) scales their
    products.
    """
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    weights = (q @ k.transpose(-2, -1) * temperature).softmax(-1)
    return weights @ v


def to_map(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Tokens (B, N, C) -> a map (B, C, *size)."""
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], *size)


def from_map(x: Tensor) -> Tensor:
    """A map (B, C, h, w) -> tokens (B, h·w, C)."""
    return x.flatten(2).transpose(1, 2)


def values_at(x: Tensor, places: Tensor) -> Tensor:
    """Values between the pixels of maps, bilinear, zeros outside: (B, C, H, W) -> (B, C, N, M).

    Args:
        places: (B, N, M, 2), along width and along height, in pixels; 0 is the first one's centre.
    """
    extent = torch.tensor([x.shape[3], x.shape[2]], dtype=x.dtype, device=x.device)
    # grid_sample's positions, of which pixel p of n is at (2 p + 1) / n - 1
    grid = (2 * places + 1) / extent - 1
    return F.grid_sample(x, grid, "bilinear", "zeros", align_corners=False)


def values_beside(
    x: Tensor, offsets: Tensor, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> Tensor:
    """Values that a deformable 3x3 convolution takes, bilinear, zeros outside.

    Args:
        x: (B, C, H, W).
        offsets: (B, groups·2·9, h, w): how far each point is from its place in the undeformed
            kernel, along height and along width, in pixels; each group of channels has its own.

    Returns:
        (B, C, 9, h, w); the kernel's points go row by row.
    """
    batch, channels, *extent = x.shape
    height, width = offsets.shape[2:]
    moved = offsets.reshape(batch * groups, 9, 2, height, width)
    point = torch.arange(9, device=x.device)[:, None, None]
    rows = torch.arange(height, device=x.device)[:, None] * stride
    columns = torch.arange(width, device=x.device) * stride
    down = moved[:, :, 0] + (rows + (point // 3 - 1) * dilation)
    across = moved[:, :, 1] + (columns + (point % 3 - 1) * dilation)
    places = torch.stack([across, down], -1).reshape(batch * groups, -1, 1, 2)
    values = values_at(x.reshape(batch * groups, channels // groups, *extent), places)
    return values.reshape(batch, channels, 9, height, width)


def initialize_linear(module: nn.Module) -> None:
    """Linear layers as vision transformers start them: to be given to `torch.nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class FeedForward(nn.Module):
    """Linear, GELU, linear over the last axis: (…, dim) -> (…, dim); named as in timm.

    Args:
        approximate: "tanh" for GELU's approximation, as JAX has it; "none" for GELU itself.
    """

    def __init__(self, dim: int, middle: int, *, approximate: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, middle)
        self.fc2 = nn.Linear(middle, dim)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))
        return y


class ConvFeedForward(nn.Module):
    """`FeedForward` of a map, as 1x1 convolutions: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(dim, middle, 1)
        self.fc2 = nn.Conv2d(middle, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class Attention(nn.Module):
    """Multi-head self-attention of tokens, named as in timm: (B, N, dim) -> (B, N, dim).

    Args:
        bias: whether the layer that makes queries, keys and values has one.
        head_dim: channels of a head; None: those of ``dim`` are shared out.
    """

    def __init__(
        self, dim: int, heads: int, *, bias: bool = True, head_dim: int | None = None
    ) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_dim or dim // heads
        inner = heads * self.head_dim
        self.qkv = nn.Linear(dim, 3 * inner, bias=bias)
        self.proj = nn.Linear(inner, dim)

    def mix(self, x: Tensor) -> Tensor:
        """What the heads gather, before `proj`."""
        batch, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, self.head_dim)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        weights = (q @ k.transpose(-2, -1) * self.head_dim**-0.5).softmax(-1)
        mixed: Tensor = (weights @ v).transpose(1, 2).flatten(2)
        return mixed

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(self.mix(x))
        return y


class TransformerBlock(nn.Module):
    """Attention and feed-forward of tokens, each after a norm and with a residual, named as in
    timm: (B, N, dim) -> (B, N, dim).

    Args:
        bias: as that of `Attention`.
        eps: of the norms.
        approximate: as that of `FeedForward`.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp_ratio: int,
        drop_path: float,
        *,
        bias: bool = True,
        eps: float = 1e-6,
        approximate: str = "none",
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads, bias=bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = FeedForward(dim, mlp_ratio * dim, approximate=approximate)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attn(self.norm1(x)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class ChannelNorm(nn.Module):
    """Layer norm over the channels of a map: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        last = x.permute(0, 2, 3, 1)
        y = F.layer_norm(last, (x.shape[1],), self.weight, self.bias, self.eps)
        return y.permute(0, 3, 1, 2)


class Scale(nn.Module):
    """One learnt factor per channel: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[:, None, None]


class ConvNeXtFrame(nn.Module):
    """ConvNeXt's frame (arXiv 2201.03545): stages of blocks, each behind a layer that makes the map
    smaller, then a norm and a linear classifier over the mean. (B, in_chans, H, W) -> (B, classes).

    Args:
        downsample_layers: one in front of each stage; the first is the stem, of stride 4.
        stages: maps -> maps of the same size.
        width: channels behind the last stage.
        eps: of the last norm.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        downsample_layers: Iterable[nn.Module],
        stages: Iterable[nn.Module],
        width: int,
        *,
        num_classes: int,
        eps: float,
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.downsample_layers = nn.ModuleList(downsample_layers)
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.head = nn.Linear(width, num_classes)
        self.apply(initialize_layer)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        maps: list[Tensor] = []
        for reduce, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(reduce(x))
            maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1].mean((2, 3))))
        return logits


class MetaFormerBlock(nn.Module):
    """A token mixer and a feed-forward of maps, each behind a norm and with a residual that may be
    scaled (MetaFormer, arXiv 2210.13452): (B, dim, H, W) -> (B, dim, H, W).

    A family sets the parts, in the order of its official checkpoints.
    """

    norm1: nn.Module
    token_mixer: nn.Module
    norm2: nn.Module
    mlp: nn.Module
    res_scale1: nn.Module
    res_scale2: nn.Module
    drop_path: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_scale1(x) + self.drop_path(self.token_mixer(self.norm1(x)))
        y: Tensor = self.res_scale2(x) + self.drop_path(self.mlp(self.norm2(x)))
        return y


class Conv(nn.Module):
    """A convolution with bias and nothing behind it, named as mmcv names it."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim_in, dim_out, kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return y


class Projection(nn.Module):
    """One convolution, named as in PoolFormer: (B, dim_in, H, W) -> (B, dim_out, H', W')."""

    def __init__(self, dim_in: int, dim_out: int, kernel: int, stride: int, padding: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim_out, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y


class PoolFormerFrame(nn.Module):
    """PoolFormer's frame (arXiv 2111.11418): a stem of stride 4, stages with a layer that makes the
    map smaller between them, a norm and a linear classifier over the mean.
    (B, channels of the stem, H, W) -> (B, classes).

    Args:
        network: a stage, a layer of stride 2, a stage, …
        width: channels behind the last stage.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self, patch_embed: nn.Module, network: Iterable[nn.Module], width: int, *, num_classes: int
    ) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.patch_embed = patch_embed
        self.network = nn.ModuleList(network)
        self.norm = nn.GroupNorm(1, width)
        self.head = nn.Linear(width, num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        x = self.patch_embed(x)
        maps: list[Tensor] = []
        for index, part in enumerate(self.network):
            x = part(x)
            if index % 2 == 0:
                maps.append(x)
        return maps

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.feature_maps(x)[-1]).mean((2, 3)))
        return logits


def initialize_layer(module: nn.Module) -> None:
    """`initialize_linear`, of convolutions too."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
