"""CSWin, CVPR 2022 (arXiv 2107.00652).

"CSWin Transformer: A General Vision Transformer Backbone with Cross-Shaped Windows", Dong et al.
Half of the heads attend in upright stripes of the map, half in lying ones (§3.2); stripes grow from
one pixel to seven, and the last stage attends to all pixels. A depthwise convolution of the values,
inside each stripe, is added to what the heads gather ("LePE", §3.3). Tiny: Table 1 of the paper.

Parameter names are those of the official checkpoints (github.com/microsoft/CSWin-Transformer).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import (
    DropPath,
    FeedForward,
    check_classes,
    drop_rates,
    from_map,
    initialize_linear,
    to_map,
)

__all__ = ["CSWin", "cswin_tiny"]

STRIPES = (1, 2, 7, None)
"""Width of the stripes of each stage in pixels; None: the whole map."""
HEADS = (2, 4, 8, 16)
MLP_RATIO = 4


class StripeAttention(nn.Module):
    """Attention inside windows: queries, keys, values (B, N, dim) -> (B, N, dim).

    Args:
        upright: whether the stripes stand, as high as the map, or lie; of a whole map either.
        width: of the stripes; None: the whole map.
    """

    def __init__(self, dim: int, heads: int, width: int | None, *, upright: bool) -> None:
        super().__init__()
        self.heads, self.width, self.upright = heads, width, upright
        self.get_v = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def _windows(self, x: Tensor, size: tuple[int, int], window: tuple[int, int]) -> Tensor:
        """(B, N, dim) -> (B·windows, dim, window's height, width)."""
        batch, _, dim = x.shape
        (height, width), (rows, columns) = size, window
        grid = to_map(x, size).reshape(batch, dim, height // rows, rows, width // columns, columns)
        return grid.permute(0, 2, 4, 1, 3, 5).reshape(-1, dim, rows, columns)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, size: tuple[int, int]) -> Tensor:
        batch, _, dim = q.shape
        height, width = size
        window = size
        if self.width is not None:
            window = (height, self.width) if self.upright else (self.width, width)
        values = self._windows(v, size, window)
        split = (-1, self.heads, dim // self.heads, window[0] * window[1])
        queries = self._windows(q, size, window).reshape(split).transpose(2, 3)
        keys = self._windows(k, size, window).reshape(split)
        weights = (queries * (dim // self.heads) ** -0.5 @ keys).softmax(-1)
        gathered = values.reshape(split) @ weights.transpose(2, 3)
        mixed = gathered.reshape(values.shape) + self.get_v(values)
        grid = mixed.reshape(batch, height // window[0], width // window[1], dim, *window)
        return from_map(grid.permute(0, 3, 1, 4, 2, 5).reshape(batch, dim, height, width))


class Block(nn.Module):
    """Stripes of both directions, or the whole map, and feed-forward: (B, N, dim) -> the same."""

    def __init__(self, dim: int, heads: int, width: int | None, drop_path: float) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm1 = nn.LayerNorm(dim)
        self.proj = nn.Linear(dim, dim)
        self.branches = 1 if width is None else 2
        self.attns = nn.ModuleList(
            StripeAttention(
                dim // self.branches, heads // self.branches, width, upright=branch == 0
            )
            for branch in range(self.branches)
        )
        self.drop_path = DropPath(drop_path)
        self.mlp = FeedForward(dim, MLP_RATIO * dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, 2)
        shares = [part.chunk(self.branches, 2) for part in parts]
        attended = [
            attend(*(share[branch] for share in shares), size)
            for branch, attend in enumerate(self.attns)
        ]
        x = x + self.drop_path(self.proj(torch.cat(attended, 2)))
        y: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return y


class Merge(nn.Module):
    """A convolution that halves the map, normalised: (B, dim, H, W) -> tokens."""

    def __init__(self, dim: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(dim, dim_out, 3, 2, 1)
        self.norm = nn.LayerNorm(dim_out)

    def forward(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        x = self.conv(x)
        return self.norm(from_map(x)), (x.shape[2], x.shape[3])


class ToTokens(nn.Module):
    """(B, C, h, w) -> (B, h·w, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return from_map(x)


class CSWin(nn.Module):
    """CSWin classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are multiples of 224: stripes of 7 pixels must fit the map of stride 16.
    """

    classifier_parts = ("norm", "head")

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.stages = len(depths)
        self.stage1_conv_embed = nn.Sequential(
            nn.Conv2d(in_chans, dim, 7, 4, 2), ToTokens(), nn.LayerNorm(dim)
        )
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        for index, depth in enumerate(depths):
            if index:
                setattr(self, f"merge{index}", Merge(dim, 2 * dim))
                dim *= 2
            blocks = [Block(dim, HEADS[index], STRIPES[index], next(drops)) for _ in range(depth)]
            setattr(self, f"stage{index + 1}", nn.ModuleList(blocks))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        self.apply(initialize_linear)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32 that a head of `models.heads` stands on."""
        size = (x.shape[2] // 4, x.shape[3] // 4)
        tokens = self.stage1_conv_embed(x)
        maps: list[Tensor] = []
        for index in range(self.stages):
            if index:
                tokens, size = getattr(self, f"merge{index}")(maps[-1])
            for block in getattr(self, f"stage{index + 1}"):
                tokens = block(tokens, size)
            maps.append(to_map(tokens, size))
        return maps

    def forward(self, x: Tensor) -> Tensor:
        tokens = from_map(self.feature_maps(x)[-1])
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits


def cswin_tiny(num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0) -> CSWin:
    """CSWin-T: 23 M parameters, 82.8 % top-1 on ImageNet."""
    return CSWin(
        64,
        (1, 2, 21, 1),
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
