"""PVT-Tiny with iRMB (EMO, arXiv 2301.01146, Table 3).

The paper puts iRMB (§2.3) where PVT has its blocks of attention and feed-forward. What it does not
say follows from its parameters and FLOPs, which are met within 1 and 2 %: a block is as wide as
PVT's feed-forward, its convolution is 3x3, and keys and values are of PVT's smaller map, with the
convolution and the norm that make it (without them there are 9.9 M parameters, and 11.7 M are
printed). The convolution needs a map, so there is no class token, and the classifier averages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import attend, check_classes, from_map, to_map
from ..pvt.network import TINY, PatchEmbed
from .network import EPS, ChannelLayerNorm, InvertedResidualMobileBlock

__all__ = ["PVTIRMB", "pvt_tiny_irmb"]


class ReducedBlock(InvertedResidualMobileBlock):
    """iRMB that attends to a map smaller by ``reduction``, made as PVT makes it."""

    def __init__(self, dim: int, *, expansion: int, head_dim: int, reduction: int) -> None:
        super().__init__(
            dim,
            dim,
            expansion=expansion,
            kernel=3,
            norm="layer",
            activation="gelu",
            head_dim=head_dim,
        )
        self.sr: nn.Module = nn.Identity()
        if reduction > 1:
            reduced = nn.Conv2d(dim, dim, reduction, reduction)
            self.sr = nn.Sequential(reduced, ChannelLayerNorm(dim))

    def attend(self, x: Tensor, head_dim: int) -> Tensor:
        dim = x.shape[1]
        smaller = self.sr(x)
        qk = self.qk.conv
        assert isinstance(qk, nn.Conv2d)
        assert qk.bias is not None
        q = nn.functional.conv2d(x, qk.weight[:dim], qk.bias[:dim])
        k = nn.functional.conv2d(smaller, qk.weight[dim:], qk.bias[dim:])
        mixed = attend(q.flatten(2), k.flatten(2), smaller.flatten(2), dim // head_dim)
        y: Tensor = self.v(mixed.reshape(x.shape))
        return y


class PVTIRMB(nn.Module):
    """Images (B, in_chans, H, W) of ``size``, multiples of 32 -> logits (B, num_classes)."""

    def __init__(self, *, num_classes: int, in_chans: int, size: tuple[int, int]) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.patch_embeds, self.stages = nn.ModuleList(), nn.ModuleList()
        self.pos_embeds = nn.ParameterList()
        dim_in, stride = in_chans, 1
        for dim, heads, ratio, depth, reduction in zip(
            TINY.dims, TINY.heads, TINY.mlp_ratios, TINY.depths, TINY.reductions, strict=True
        ):
            patch = 4 if stride == 1 else 2
            stride *= patch
            self.patch_embeds.append(PatchEmbed(dim_in, dim, patch, patch))
            position = torch.zeros(1, dim, size[0] // stride, size[1] // stride)
            self.pos_embeds.append(nn.Parameter(nn.init.trunc_normal_(position, std=0.02)))
            blocks = (
                ReducedBlock(dim, expansion=ratio, head_dim=dim // heads, reduction=reduction)
                for _ in range(depth)
            )
            self.stages.append(nn.Sequential(*blocks))
            dim_in = dim
        self.norm = nn.LayerNorm(dim_in, eps=EPS)
        self.head = nn.Linear(dim_in, num_classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        parts = zip(self.patch_embeds, self.pos_embeds, self.stages, strict=True)
        for embed, position, blocks in parts:
            tokens, size = embed(x)
            x = blocks(to_map(tokens, size) + position)
        logits: Tensor = self.head(self.norm(from_map(x)).mean(1))
        return logits


def pvt_tiny_irmb(
    num_classes: int = 1000, *, in_chans: int = 3, size: tuple[int, int] = (224, 224)
) -> PVTIRMB:
    """PVT-Tiny with iRMB: 11.7 M parameters, 75.4 % top-1 (Table 3)."""
    return PVTIRMB(num_classes=num_classes, in_chans=in_chans, size=size)
