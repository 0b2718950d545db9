"""Attentions of whole pictures in few products, which SeaFormer++ (arXiv 2301.13156, Table 8) puts
into Swin: ISSA's and, with twice as many blocks, CCNet's and A2-Nets'. All are (B, H, W, dim) ->
(B, H, W, dim).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CrissCrossAttention", "DoubleAttention", "InterlacedAttention"]

KEY_RATIO = 8
"""Channels of CCNet's values over its queries'."""
GATHER_RATIO = 16
"""Channels of the map over those that A2-Nets' attention gathers. The paper does not print it: of
the powers of two, only this makes the printed 37.2 M parameters."""
STEP = 4
"""Of ISSA's first attention, which pixels of so many rows and columns further meet in, and the side
of the squares that its second one stays in. The paper does not print it, and ISSA's code has 8 for
its segmenters; of the powers of two, only this comes near the printed FLOPs."""
NEVER = -1e4
"""Added to what is to have no share in a softmax."""


class CrissCrossAttention(nn.Module):
    """Every pixel attends to its row and its column in one softmax, to itself once (CCNet, arXiv
    1811.11721, §3.2); the residual is the block's. Named as in its code (github.com/speedinghzl).
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query_conv = nn.Conv2d(dim, dim // KEY_RATIO, 1)
        self.key_conv = nn.Conv2d(dim, dim // KEY_RATIO, 1)
        self.value_conv = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        # rows are (B, H, W, …), columns (B, W, H, …)
        q, k, v = (
            conv(x).permute(0, 2, 3, 1)
            for conv in (self.query_conv, self.key_conv, self.value_conv)
        )
        height = x.shape[2]
        itself = NEVER * torch.eye(height, dtype=x.dtype, device=x.device)
        along_row = q @ k.transpose(2, 3)
        along_column = q.transpose(1, 2) @ k.permute(0, 2, 3, 1) + itself
        weights = torch.cat([along_column.transpose(1, 2), along_row], 3).softmax(-1)
        down = weights[..., :height].transpose(1, 2) @ v.transpose(1, 2)
        found: Tensor = down.transpose(1, 2) + weights[..., height:] @ v
        return found


class DoubleAttention(nn.Module):
    """What maps of attention gather of the whole picture is handed out to the pixels by shares of
    their own (A2-Nets, arXiv 1810.11579, §3.1 to §3.3)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        middle = dim // GATHER_RATIO
        self.features = nn.Linear(dim, middle)
        self.gathering = nn.Linear(dim, middle)
        self.handing = nn.Linear(dim, middle)
        self.proj = nn.Linear(middle, dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)
        where = self.gathering(tokens).softmax(1)
        gathered = where.transpose(1, 2) @ self.features(tokens)
        handed = self.handing(tokens).softmax(2) @ gathered
        y: Tensor = self.proj(handed)
        return y.reshape(x.shape)


class Mixing(nn.Module):
    """Multi-head attention of tokens, with keys of half the width: (B, N, dim) -> the same."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(dim, dim // 2)
        self.k = nn.Linear(dim, dim // 2)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            layer(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        weights = (q @ k.transpose(2, 3) * q.shape[3] ** -0.5).softmax(-1)
        y: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return y


class InterlacedAttention(nn.Module):
    """Pixels `STEP` rows or columns apart attend to each other, then those of a square of so many
    pixels (ISSA, arXiv 1907.12273, §3.1); maps are padded with zeros to whole squares."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.long = Mixing(dim, heads)
        self.short = Mixing(dim, heads)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        below, right = -height % STEP, -width % STEP
        x = F.pad(x, (0, 0, 0, right, 0, below)) if below or right else x
        batch, rows, columns, dim = x.shape
        cut = x.reshape(batch, rows // STEP, STEP, columns // STEP, STEP, dim)
        apart = cut.permute(0, 2, 4, 1, 3, 5)
        far = self.long(apart.reshape(batch * STEP**2, -1, dim)).reshape(apart.shape)
        squares = far.permute(0, 3, 4, 1, 2, 5)
        near = self.short(squares.reshape(-1, STEP**2, dim)).reshape(squares.shape)
        y = near.transpose(2, 3).reshape(batch, rows, columns, dim)
        inside: Tensor = y[:, :height, :width]
        return inside
