"""CRATE, NeurIPS 2023 (arXiv 2306.01129).

"White-Box Transformers via Sparse Rate Reduction", Yu et al. A ViT whose attention has one matrix
for queries, keys and values (§2.3, compression towards subspaces) and whose feed-forward is one
step of ISTA towards a sparse code (§2.4). Tiny: the official code.

Parameter names are those of the official checkpoints (github.com/Ma-Lab-Berkeley/CRATE).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import check_classes

__all__ = ["CRATE", "crate_tiny"]

PATCH = 16
STEP = 0.1
SPARSITY = 0.1


class Normed(nn.Module):
    """Layer norm, then ``fn``."""

    def __init__(self, dim: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fn(self.norm(x))
        return y


class SubspaceAttention(nn.Module):
    """Attention whose queries, keys and values are one projection: (B, N, dim) -> the same."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        w = self.qkv(x).reshape(batch, tokens, self.heads, -1).transpose(1, 2)
        weights = (w @ w.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1)
        y: Tensor = self.to_out((weights @ w).transpose(1, 2).reshape(batch, tokens, dim))
        return y


class SparseStep(nn.Module):
    """relu(x + step·(Dᵀx - DᵀDx) - step·λ): (B, N, dim) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, dim))
        nn.init.kaiming_uniform_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        coded = F.linear(x - F.linear(x, self.weight), self.weight.t())
        return F.relu(x + STEP * coded - STEP * SPARSITY)


class Transformer(nn.Module):
    """Layers of attention with a residual, and a step."""

    def __init__(self, dim: int, depth: int, heads: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [Normed(dim, SubspaceAttention(dim, heads)), Normed(dim, SparseStep(dim))]
            )
            for _ in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            attend, step = layer.children()
            x = step(attend(x) + x)
        return x


class Patches(nn.Module):
    """(B, C, H, W) -> (B, H·W/256, 256·C): rows of a patch, then columns, then channels."""

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        x = x.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
        return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, PATCH * PATCH * channels)


class CRATE(nn.Module):
    """CRATE classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are those of ``size``, multiples of 16.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        heads: int,
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.num_classes = num_classes
        tokens = size[0] // PATCH * (size[1] // PATCH)
        self.pos_embedding = nn.Parameter(torch.randn(1, tokens + 1, dim))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        values = PATCH * PATCH * in_chans
        self.to_patch_embedding = nn.Sequential(
            Patches(), nn.LayerNorm(values), nn.Linear(values, dim), nn.LayerNorm(dim)
        )
        self.transformer = Transformer(dim, depth, heads)
        self.mlp_head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.to_patch_embedding(x)
        x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1) + self.pos_embedding
        logits: Tensor = self.mlp_head(self.transformer(x)[:, 0])
        return logits


def crate_tiny(
    num_classes: int = 1000, *, size: tuple[int, int] = (224, 224), in_chans: int = 3
) -> CRATE:
    """CRATE-Tiny: 12 layers of 384 channels and 6 heads."""
    return CRATE(384, 12, 6, size=size, num_classes=num_classes, in_chans=in_chans)
