"""Attention within windows of a map: Swin's (arXiv 2103.14030, §3.2), and those that stand in its
place in SeaFormer++ (arXiv 2301.13156, Table 8). All are (B, H, W, dim) -> (B, H, W, dim).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..dat.windows import shifted_masks
from ..layers import Attention

__all__ = [
    "WINDOW",
    "ACmix",
    "LocalAttention",
    "MapWindows",
    "MixingAttention",
    "WindowAttention",
    "merge",
    "partition",
]

WINDOW = 7
"""Side of Swin's windows in pixels."""


def padded(x: Tensor, window: int = WINDOW) -> Tensor:
    """A map (B, H, W, C) with zeros below and to the right, to whole windows."""
    below, right = -x.shape[1] % window, -x.shape[2] % window
    return F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x


def partition(x: Tensor, window: int = WINDOW) -> Tensor:
    """A map (B, H, W, C) -> the tokens of its windows (B·windows, window², C)."""
    batch, height, width, dim = x.shape
    cut = x.reshape(batch, height // window, window, width // window, window, dim)
    return cut.transpose(2, 3).reshape(-1, window**2, dim)


def merge(x: Tensor, height: int, width: int, window: int = WINDOW) -> Tensor:
    """Back from `partition`: the map (B, height, width, C)."""
    dim = x.shape[-1]
    cut = x.reshape(-1, height // window, width // window, window, window, dim)
    return cut.transpose(2, 3).reshape(-1, height, width, dim)


class WindowAttention(Attention):
    """Attention within windows, with a bias for every offset: (windows, window², dim) -> the
    same."""

    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: int = WINDOW) -> None:
        super().__init__(dim, heads)
        self.window = window
        offsets = 2 * window - 1
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets**2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
        place = rows.flatten() * offsets + columns.flatten()
        middle = (window - 1) * offsets + window - 1
        self.register_buffer("relative_position_index", place[:, None] - place[None] + middle)

    def split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(windows, N, 3·C) -> queries, keys and values (windows, heads, N, C / heads)."""
        windows, area, _ = qkv.shape
        parts = qkv.reshape(windows, area, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def gather(self, q: Tensor, k: Tensor, v: Tensor, masks: Tensor | None) -> Tensor:
        """What the tokens gather, before `proj`: (windows, window², C).

        Args:
            masks: (windows, window², window²), added to the similarities.
        """
        area = q.shape[2]
        weights = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        weights = weights + bias.reshape(area, area, self.heads).permute(2, 0, 1)
        if masks is not None:
            apart = weights.reshape(-1, len(masks), self.heads, area, area)
            weights = (apart + masks[:, None]).reshape(weights.shape)
        mixed: Tensor = (weights.softmax(-1) @ v).transpose(1, 2).flatten(2)
        return mixed

    def attend(self, x: Tensor, masks: Tensor | None) -> Tensor:
        """Of the windows' tokens, with ``masks`` of `gather`."""
        y: Tensor = self.proj(self.gather(*self.split(self.qkv(x)), masks))
        return y


class MapWindows(WindowAttention):
    """Windows of a map, which is padded to whole ones; half a window further if ``shifted``."""

    def __init__(self, dim: int, heads: int, *, shifted: bool, window: int = WINDOW) -> None:
        super().__init__(dim, heads, window)
        self.shift = window // 2 if shifted else 0

    def attend_map(self, x: Tensor, masks: Tensor | None) -> Tensor:
        """Of a map of whole windows."""
        tokens = self.attend(partition(x, self.window), masks)
        return merge(tokens, x.shape[1], x.shape[2], self.window)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = padded(x, self.window)
        if not self.shift or min(height, width) <= self.window:
            return self.attend_map(x, None)[:, :height, :width]
        step = (self.shift, self.shift)
        masks = shifted_masks((x.shape[1], x.shape[2]), (self.window, self.window), step).to(x)
        rolled = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        y = torch.roll(self.attend_map(rolled, masks), step, (1, 2))
        return y[:, :height, :width]


class LocalAttention(Attention):
    """Attention within windows as in Twins (arXiv 2104.13840): no bias, no shift, and the last
    layer takes the map without its padding."""

    def __init__(self, dim: int, heads: int, window: int = WINDOW) -> None:
        super().__init__(dim, heads)
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x = padded(x, self.window)
        mixed = merge(self.mix(partition(x, self.window)), x.shape[1], x.shape[2], self.window)
        y: Tensor = self.proj(mixed[:, :height, :width])
        return y


class MixingAttention(MapWindows):
    """MixFormer's (arXiv 2204.02557, §3.1): half of the channels attends within windows, and a
    depthwise convolution runs beside it; each gates the other. Named as in its code (PaddleClas).
    """

    def __init__(self, dim: int, heads: int, *, shifted: bool, window: int = WINDOW) -> None:
        super().__init__(dim, heads, shifted=shifted, window=window)
        half = dim // 2
        self.proj_attn = nn.Linear(dim, half)
        self.proj_attn_norm = nn.LayerNorm(half)
        self.proj_cnn = nn.Linear(dim, dim)
        self.proj_cnn_norm = nn.LayerNorm(dim)
        self.dwconv3x3 = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1, groups=dim), nn.BatchNorm2d(dim), nn.GELU()
        )
        self.channel_interaction = _gate(dim, dim // 8, half)
        self.projection = nn.Conv2d(dim, half, 1)
        self.conv_norm = nn.BatchNorm2d(half)
        self.qkv = nn.Linear(half, 3 * half)
        self.spatial_interaction = _gate(half, dim // 16, 1)
        self.attn_norm = nn.LayerNorm(half)

    def attend_map(self, x: Tensor, masks: Tensor | None) -> Tensor:
        _, height, width, dim = x.shape
        convolved = self.proj_cnn_norm(self.proj_cnn(x)).permute(0, 3, 1, 2)
        convolved = self.dwconv3x3(convolved)
        by_channel = self.channel_interaction(convolved.mean((2, 3), keepdim=True)).sigmoid()
        tokens = self.proj_attn_norm(self.proj_attn(partition(x, self.window)))
        q, k, v = self.split(self.qkv(tokens))
        gates = by_channel.reshape(-1, 1, self.heads, 1, dim // 2 // self.heads)
        v = (v.reshape(len(gates), -1, *v.shape[1:]) * gates).reshape(v.shape)
        mixed = self.gather(q, k, v, masks)
        by_pixel = self.spatial_interaction(
            merge(mixed, height, width, self.window).permute(0, 3, 1, 2)
        )
        convolved = self.conv_norm(by_pixel.sigmoid() * self.projection(convolved))
        beside = partition(convolved.permute(0, 2, 3, 1), self.window)
        y: Tensor = self.proj(torch.cat([self.attn_norm(mixed), beside], -1))
        return merge(y, height, width, self.window)


def _gate(dim: int, middle: int, out: int) -> nn.Sequential:
    layers = (nn.Conv2d(dim, middle, 1), nn.BatchNorm2d(middle), nn.GELU())
    return nn.Sequential(*layers, nn.Conv2d(middle, out, 1))


class ACmix(MapWindows):
    """ACmix (arXiv 2111.14556): beside the attention a convolution that is made of the same
    queries, keys and values. Named as in its code (github.com/LeapLabTHU/ACmix).
    """

    def __init__(self, dim: int, heads: int, *, shifted: bool, window: int = WINDOW) -> None:
        super().__init__(dim, heads, shifted=shifted, window=window)
        self.fc = nn.Conv2d(3 * heads, 9, 1)
        width = dim // heads
        self.dep_conv = nn.Conv2d(9 * width, dim, 3, padding=1, groups=width, bias=False)
        self.rate1 = nn.Parameter(torch.full((1,), 0.5))
        self.rate2 = nn.Parameter(torch.full((1,), 0.5))

    def attend_map(self, x: Tensor, masks: Tensor | None) -> Tensor:
        batch, height, width, _ = x.shape
        qkv = self.qkv(x)
        mixed = self.proj(self.gather(*self.split(partition(qkv, self.window)), masks))
        shares = qkv.reshape(batch, height * width, 3 * self.heads, -1).transpose(1, 2)
        shares = self.fc(shares).permute(0, 3, 1, 2).reshape(batch, -1, height, width)
        beside = self.dep_conv(shares).permute(0, 2, 3, 1)
        y: Tensor = self.rate1 * merge(mixed, height, width, self.window) + self.rate2 * beside
        return y
