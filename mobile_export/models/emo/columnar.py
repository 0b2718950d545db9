"""DeiT-Tiny with iRMB (EMO, arXiv 2301.01146, Table 3).

The paper puts iRMB of expansion λ = 4 (§2.3) where DeiT has its blocks of attention and
feed-forward. What it does not say follows from its parameters and FLOPs, which are met within 1 %:
every block attends to the whole map (windows of 7 would be 0.96 G) and its convolution is 3x3. The
convolution needs a map, so there is no class token, and the classifier averages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..layers import check_classes
from .network import EPS, InvertedResidualMobileBlock

__all__ = ["DeiTIRMB", "deit_tiny_irmb"]

PATCH = 16
DIM = 192
DEPTH = 12
HEAD_DIM = 64
EXPANSION = 4


class WholeMapBlock(InvertedResidualMobileBlock):
    """iRMB that attends to all pixels of its map, whatever its sides."""

    def attend(self, x: Tensor, head_dim: int) -> Tensor:
        batch, channels = x.shape[:2]
        heads = channels // head_dim
        q, k = self.qk(x).reshape(batch, 2, heads, head_dim, -1).unbind(1)
        weights = (q.transpose(-2, -1) @ k * head_dim**-0.5).softmax(-1)
        values = x.reshape(batch, heads, head_dim, -1)
        y: Tensor = self.v((values @ weights.transpose(-2, -1)).reshape(x.shape))
        return y


class DeiTIRMB(nn.Module):
    """Images (B, in_chans, H, W) of ``size`` -> logits (B, num_classes)."""

    def __init__(self, *, num_classes: int, in_chans: int, size: tuple[int, int]) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        self.patch_embed = nn.Conv2d(in_chans, DIM, PATCH, PATCH)
        self.pos_embed = nn.Parameter(torch.zeros(1, DIM, size[0] // PATCH, size[1] // PATCH))
        self.blocks = nn.Sequential(
            *(
                WholeMapBlock(
                    DIM,
                    DIM,
                    expansion=EXPANSION,
                    kernel=3,
                    norm="layer",
                    activation="gelu",
                    head_dim=HEAD_DIM,
                )
                for _ in range(DEPTH)
            )
        )
        self.norm = nn.LayerNorm(DIM, eps=EPS)
        self.head = nn.Linear(DIM, num_classes)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.patch_embed(x) + self.pos_embed)
        tokens = x.flatten(2).transpose(1, 2)
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits


def deit_tiny_irmb(
    num_classes: int = 1000, *, in_chans: int = 3, size: tuple[int, int] = (224, 224)
) -> DeiTIRMB:
    """DeiT-Tiny with iRMB: 4.9 M parameters, 74.3 % top-1 (Table 3)."""
    return DeiTIRMB(num_classes=num_classes, in_chans=in_chans, size=size)
