"""Attention within rectangles of a map, which may be shifted."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["RectangleAttention", "TwoWindows", "padded", "shifted_masks"]

MASKED = -100.0
TRAINED = (64, 64)
"""Height and width whose masks of shifted windows checkpoints hold."""


class PositionBias(nn.Module):
    """A number per head for every offset of two pixels, computed from the offset (CrossFormer,
    arXiv 2108.00154, §3.3)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.pos_proj = nn.Linear(2, dim)
        for name, out in (("pos1", dim), ("pos2", dim), ("pos3", heads)):
            layers = (nn.LayerNorm(dim), nn.ReLU(), nn.Linear(dim, out))
            self.add_module(name, nn.Sequential(*layers))

    def forward(self, offsets: Tensor) -> Tensor:
        x: Tensor = self.pos_proj(offsets)
        for name in ("pos1", "pos2", "pos3"):
            x = self.get_submodule(name)(x)
        return x


class RectangleAttention(nn.Module):
    """Queries, keys and values (B, 3, dim, H, W) -> (B, dim, H, W), within windows.

    Args:
        window: (height, width), of which the map's are multiples.
    """

    rpe_biases: Tensor
    relative_position_index: Tensor

    def __init__(self, dim: int, heads: int, window: tuple[int, int]) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.pos = PositionBias(dim // 4 // 4, heads)
        height, width = window
        offsets = torch.meshgrid(
            torch.arange(1 - height, height), torch.arange(1 - width, width), indexing="ij"
        )
        self.register_buffer("rpe_biases", torch.stack(offsets, -1).reshape(-1, 2).float())
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        place = rows.flatten() * (2 * width - 1) + columns.flatten()
        middle = (height - 1) * (2 * width - 1) + width - 1
        self.register_buffer("relative_position_index", place[:, None] - place[None] + middle)

    def forward(self, x: Tensor, masks: Tensor | None) -> Tensor:
        batch, _, dim, rows, columns = x.shape
        height, width = self.window
        down, across = rows // height, columns // width
        cut = x.reshape(batch, 3, self.heads, dim // self.heads, down, height, across, width)
        windows = cut.permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(
            3, batch * down * across, self.heads, height * width, dim // self.heads
        )
        q, k, v = windows.unbind(0)
        weights = q * (dim // self.heads) ** -0.5 @ k.transpose(-2, -1)
        area = height * width
        bias = self.pos(self.rpe_biases)[self.relative_position_index.flatten()]
        weights = weights + bias.reshape(area, area, self.heads).permute(2, 0, 1)
        if masks is not None:
            apart = weights.reshape(batch, down * across, self.heads, area, area)
            weights = (apart + masks[:, None]).reshape(weights.shape)
        mixed: Tensor = (weights.softmax(-1) @ v).reshape(
            batch, down, across, self.heads, height, width, dim // self.heads
        )
        return mixed.permute(0, 3, 6, 1, 4, 2, 5).reshape(batch, dim, rows, columns)


class TwoWindows(nn.Module):
    """Attention within windows: one half of the channels within rectangles, the other within the
    same rectangles lying down. A module of which the layers are a part; see `add_windows`."""

    attns: nn.ModuleList

    def add_windows(self, dim: int, heads: int, window: tuple[int, int], *, shifted: bool) -> None:
        """Add the layers, and the masks of windows that lie half a window further."""
        shift = (window[0] // 2, window[1] // 2) if shifted else (0, 0)
        self.directions = ((window, shift), (window[::-1], shift[::-1]))
        self.attns = nn.ModuleList(
            RectangleAttention(dim // 2, heads // 2, each) for each, _ in self.directions
        )
        for index, (each, step) in enumerate(self.directions):
            masks = shifted_masks(TRAINED, each, step) if shifted else None
            self.register_buffer(f"attn_mask_{index}", masks)

    def attend_windows(self, x: Tensor) -> Tensor:
        """Queries, keys and values (B, 3·dim, H, W) -> (B, dim, H, W)."""
        batch, _, height, width = x.shape
        halves = x.reshape(batch, 3, 2, -1, height, width).unbind(2)
        found = []
        for index, (window, shift) in enumerate(self.directions):
            half, attention = halves[index], self.attns[index]
            if not any(shift):
                found.append(attention(half, None))
                continue
            masks = self.get_buffer(f"attn_mask_{index}")
            if (height, width) != TRAINED:
                masks = shifted_masks((height, width), window, shift).to(x)
            rolled = torch.roll(half, (-shift[0], -shift[1]), (3, 4))
            found.append(torch.roll(attention(rolled, masks), shift, (2, 3)))
        return torch.cat(found, 1)


def padded(x: Tensor, step: int) -> Tensor:
    """A map with zeros below and on the right, so that its sides are multiples of ``step``."""
    down, across = (-extent % step for extent in x.shape[2:])
    return F.pad(x, (0, across, 0, down)) if down or across else x


def shifted_masks(size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """(windows, area, area): `MASKED` where two pixels of a window are no neighbours in the image,
    because the map was rolled by ``shift``; else 0."""
    ids = torch.zeros(size, dtype=torch.long)
    for axis, (extent, side, step) in enumerate(zip(size, window, shift, strict=True)):
        place = torch.arange(extent)
        part = (place >= extent - side).long() + (place >= extent - step).long()
        ids = ids * 3 + (part[:, None] if axis == 0 else part[None])
    height, width = window
    cut = ids.reshape(size[0] // height, height, size[1] // width, width).permute(0, 2, 1, 3)
    cut = cut.reshape(-1, height * width)
    apart = cut[:, None] != cut[:, :, None]
    return apart * MASKED
