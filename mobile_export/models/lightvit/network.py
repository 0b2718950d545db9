"""LightViT (arXiv 2207.05557).

"LightViT: Towards Light-Weight Convolution-Free Vision Transformers", Huang et al. Three stages of
strides 8 to 32. Every block attends inside windows of 7x7 pixels; a few learnt tokens gather from
the whole image and are broadcast to it again (§3.2), and the feed-forward is gated per channel and
per pixel (§3.3). Tiny: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/hunto/LightViT, whose classifier
is in github.com/hunto/image_classification_sota).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import DropPath, check_classes, drop_rates, from_map, initialize_linear

__all__ = ["LightViT", "lightvit_tiny"]

EPS = 1e-6
WINDOW = 7
NECK = 1280
DIMS = (64, 128, 256)
HEADS = (2, 4, 8)
DEPTHS = (2, 6, 6)
MLP_RATIOS = (8, 4, 4)
TOKENS = 8

Size = tuple[int, int]


class Stem(nn.Module):
    """Convolutions: images (B, in_chans, H, W) -> tokens (B, h·w, dim), and (h, w) = (H, W) / 8."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        half = dim // 2
        layers: list[nn.Module] = []
        for dim_in, groups, stride in ((in_chans, 1, 2), (half, half, 1), (half, half, 1)):
            layers += self._conv(dim_in, half, groups, stride)
        self.stem = nn.Sequential(*layers, *self._conv(half, half, half, 2))
        self.proj = nn.Conv2d(half, dim, 3, 2, 1)
        self.norm = nn.LayerNorm(dim)

    @staticmethod
    def _conv(dim_in: int, dim: int, groups: int, stride: int) -> list[nn.Module]:
        conv = nn.Conv2d(dim_in, dim, 3, stride, 1, groups=groups, bias=False)
        return [conv, nn.BatchNorm2d(dim), nn.GELU()]

    def forward(self, x: Tensor) -> tuple[Tensor, Size]:
        x = self.proj(self.stem(x))
        return self.norm(from_map(x)), (x.shape[2], x.shape[3])


class Gate(nn.Module):
    """Tokens times a gate per channel and one per pixel: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = dim // 4
        self.norm = nn.LayerNorm(dim)
        self.global_reduce = nn.Linear(dim, middle)
        self.local_reduce = nn.Linear(dim, middle)
        self.channel_select = nn.Linear(middle, dim)
        self.spatial_select = nn.Linear(2 * middle, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        whole = F.gelu(self.global_reduce(normed.mean(1, keepdim=True)))
        local = F.gelu(self.local_reduce(normed))
        channels = self.channel_select(whole).sigmoid()
        joined = torch.cat([local, whole.expand(-1, x.shape[1], -1)], 2)
        pixels = self.spatial_select(joined).sigmoid()
        y: Tensor = x * (channels * pixels)
        return y


class GatedFeedForward(nn.Module):
    """Linear, GELU, linear, gate: (B, N, dim) -> (B, N, dim)."""

    def __init__(self, dim: int, middle: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, middle)
        self.fc2 = nn.Linear(middle, dim)
        self.attn = Gate(dim)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.attn(self.fc2(F.gelu(self.fc1(x))))
        return y


def relative_positions(window: int) -> Tensor:
    """Which entry of the table of relative positions each pair of a window's pixels has, flat."""
    steps = torch.arange(window)
    points = torch.stack(torch.meshgrid(steps, steps, indexing="ij")).flatten(1)
    apart = points[:, :, None] - points[:, None, :] + window - 1
    return (apart[0] * (2 * window - 1) + apart[1]).flatten()


class Attention(nn.Module):
    """Attention inside windows, and through the global tokens: (B, TOKENS + h·w, dim) -> same."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (dim // heads) ** -0.5
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.kv_global = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", relative_positions(WINDOW))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, heads, N, d), (B, heads, M, d), (B, heads, M, d) -> (B, N, heads·d)."""
        weights = q * self.scale @ k.transpose(-2, -1)
        weights = (weights if bias is None else weights + bias).softmax(-1)
        y: Tensor = (weights @ v).transpose(1, 2).flatten(2)
        return y

    def _padded(self, x: Tensor, size: Size, whole: Size) -> Tensor:
        """The tokens, with zeros right of and below the map: (B, TOKENS + h·w, dim)."""
        pixels = x[:, TOKENS:].reshape(x.shape[0], *size, -1)
        pixels = F.pad(pixels, (0, 0, 0, whole[1] - size[1], 0, whole[0] - size[0]))
        return torch.cat([x[:, :TOKENS], pixels.flatten(1, 2)], 1)

    def _cut(self, x: Tensor, size: Size, whole: Size) -> Tensor:
        """(B, heads, tokens of ``whole``, d) -> (B, heads, those of ``size``, d)."""
        x = x.reshape(*x.shape[:2], *whole, x.shape[3])
        return x[:, :, : size[0], : size[1]].flatten(2, 3)

    def _windows(self, x: Tensor, size: Size) -> Tensor:
        """(B, heads, h·w, d) -> (B·windows, heads, 49, d)."""
        batch, heads, _, dim = x.shape
        rows, columns = size[0] // WINDOW, size[1] // WINDOW
        x = x.reshape(batch, heads, rows, WINDOW, columns, WINDOW, dim)
        return x.permute(0, 2, 4, 1, 3, 5, 6).reshape(-1, heads, WINDOW**2, dim)

    def _local(self, q: Tensor, k: Tensor, v: Tensor, size: Size) -> Tensor:
        table = self.relative_position_bias_table[self.relative_position_index]
        bias = table.reshape(WINDOW**2, WINDOW**2, self.heads).permute(2, 0, 1)
        windows = [self._windows(part, size) for part in (q, k, v)]
        x = self._attend(windows[0], windows[1], windows[2], bias)
        rows, columns = size[0] // WINDOW, size[1] // WINDOW
        x = x.reshape(q.shape[0], rows, columns, WINDOW, WINDOW, -1)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(q.shape[0], size[0] * size[1], -1)

    def forward(self, x: Tensor, size: Size) -> Tensor:
        batch, _, dim = x.shape
        whole = (-(-size[0] // WINDOW) * WINDOW, -(-size[1] // WINDOW) * WINDOW)
        qkv = self.qkv(x if size == whole else self._padded(x, size, whole))
        qkv = qkv.reshape(batch, -1, 3, self.heads, dim // self.heads)
        parts = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        q, k, v = (part[:, :, TOKENS:] for part in parts)
        local = self._local(q, k, v, whole)
        if size != whole:
            local = self._cut(local[:, None], size, whole)[:, 0]
            q, k, v = (self._cut(part, size, whole) for part in (q, k, v))
        gathered = self._attend(parts[0][:, :, :TOKENS], k, v)
        kv = self.kv_global(gathered).reshape(batch, TOKENS, 2, self.heads, dim // self.heads)
        keys, values = kv.permute(2, 0, 3, 1, 4).unbind(0)
        local = local + self._attend(q, keys, values)
        y: Tensor = self.proj(torch.cat([gathered, local], 1))
        return y


class Block(nn.Module):
    """Attention and gated feed-forward, each after a norm and with a residual."""

    def __init__(self, dim: int, heads: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPS)
        self.attn = Attention(dim, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=EPS)
        self.mlp = GatedFeedForward(dim, mlp_ratio * dim)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        x = x + self.drop_path(self.attn(self.norm1(x), size))
        return x + self.drop_path(self.mlp(self.norm2(x))), size


class Merge(nn.Module):
    """Halves the map by joining 2x2 pixels, with their maximum as residual; the tokens follow."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, dim_out, bias=False)
        self.norm2 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim_out, bias=False)
        self.res_proj = nn.Linear(dim, dim_out, bias=False)

    def forward(self, x: Tensor, size: Size) -> tuple[Tensor, Size]:
        tokens, pixels = x[:, :TOKENS], x[:, TOKENS:]
        batch, _, dim = x.shape
        rows, columns = size[0] // 2, size[1] // 2
        grid = pixels.reshape(batch, rows, 2, columns, 2, dim)
        corners = [grid[:, :, row, :, column] for column in (0, 1) for row in (0, 1)]
        largest = torch.maximum(
            torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3])
        )
        joined = torch.cat(corners, 3).flatten(1, 2)
        merged = self.reduction(self.norm(joined)) + self.res_proj(largest.flatten(1, 2))
        return torch.cat([self.proj(self.norm2(tokens)), merged], 1), (rows, columns)


class LightViT(nn.Module):
    """LightViT classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 32. Maps that are no whole windows of 7 are padded with zeros for the
    attention inside windows, as the official detector does; at multiples of 224 none is.
    """

    def __init__(
        self, *, num_classes: int = 1000, in_chans: int = 3, drop_path_rate: float = 0.0
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.global_token = nn.Parameter(torch.zeros(1, TOKENS, DIMS[0]))
        self.patch_embed = Stem(in_chans, DIMS[0])
        drops = iter(drop_rates(drop_path_rate, sum(DEPTHS)))
        stages: list[nn.Module] = []
        for index, dim in enumerate(DIMS):
            merge = [Merge(DIMS[index - 1], dim)] if index else []
            blocks = [
                Block(dim, HEADS[index], MLP_RATIOS[index], next(drops))
                for _ in range(DEPTHS[index])
            ]
            stages.append(nn.Sequential(*merge, *blocks))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(DIMS[-1], eps=EPS)
        self.neck = nn.Sequential(nn.Linear(DIMS[-1], NECK), nn.LayerNorm(NECK), nn.GELU())
        self.head = nn.Linear(NECK, num_classes)
        nn.init.trunc_normal_(self.global_token, std=0.02)
        self.apply(initialize_linear)

    def forward(self, x: Tensor) -> Tensor:
        x, size = self.patch_embed(x)
        x = torch.cat([self.global_token.expand(x.shape[0], -1, -1), x], 1)
        for stage in self.stages:
            for layer in stage.children():
                x, size = layer(x, size)
        logits: Tensor = self.head(self.neck(self.norm(x)).mean(1))
        return logits


def lightvit_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> LightViT:
    """LightViT-T: 9.4 M parameters, 78.7 % top-1 on ImageNet."""
    return LightViT(num_classes=num_classes, in_chans=in_chans, drop_path_rate=drop_path_rate)
