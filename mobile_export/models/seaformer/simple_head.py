"""The simple head of TopFormer (arXiv 2204.05525, §3.4), of its maps and of SeaFormer's."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from ..heads.layers import resized
from ..layers import ConvBNAct
from .fusion import ConvNorm

__all__ = ["EmbeddingHead", "SimpleHead"]


class SimpleHead(nn.Module):
    """The sum of the maps, brought to the finest one's size, and a classifier per pixel."""

    def __init__(self, width: int, classes: int, *, depthwise: bool) -> None:
        super().__init__()
        self.conv_seg = nn.Conv2d(width, classes, 1)
        self.linear_fuse = ConvBNAct(width, width, 1, groups=width if depthwise else 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.conv_seg.bias))

    def forward(self, maps: list[Tensor]) -> Tensor:
        first, *others = maps
        for x in others:
            first = first + resized(x, first.shape[2:])
        logits: Tensor = self.conv_seg(self.linear_fuse(first))
        return logits


class EmbeddingHead(SimpleHead):
    """The simple head of maps of several widths, each brought to ``width`` by a 1x1 convolution.

    No text or code says how SeaFormer's maps are brought to one width (Table 13 of arXiv
    2301.13156): of the ways tried, this one has the printed parameters and FLOPs of all variants.
    """

    def __init__(self, dims: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__(width, classes, depthwise=True)
        self.embeddings = nn.ModuleList([ConvNorm(dim, width) for dim in dims])

    def forward(self, maps: list[Tensor]) -> Tensor:
        pairs = zip(self.embeddings, maps, strict=True)
        return super().forward([embed(x) for embed, x in pairs])
