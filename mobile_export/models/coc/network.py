"""Context Cluster (CoC), ICLR 2023 (arXiv 2303.01494).

"Image as Set of Points", Ma et al. A region's pixels are points; centres are averages of quarters
of it. Each point belongs to the centre that it is most alike, gives to it by how alike they are and
takes from it by the same measure (context cluster, §3.2). The number of centres and points is
fixed, so the graph is; which point belongs where is an arg-max.

Parameter names are those of the official checkpoints (github.com/ma-xu/Context-Cluster).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import (
    DropPath,
    FeedForward,
    PoolFormerFrame,
    Projection,
    check_classes,
    drop_rates,
)

__all__ = ["ContextCluster", "coc_tiny"]

FOLDS = (8, 4, 2, 1)
"""Regions along height and along width, stage by stage."""
CENTRES = 2
"""Of a region, along height and along width."""
SCALE = 1e-5


class Cluster(nn.Module):
    """Clusters the points of every region and head: (B, dim, H, W) -> (B, dim, H, W)."""

    def __init__(self, dim: int, heads: int, head_dim: int, fold: int) -> None:
        super().__init__()
        self.heads, self.fold = heads, fold
        self.sim_alpha = nn.Parameter(torch.ones(1))
        self.sim_beta = nn.Parameter(torch.zeros(1))
        self.f = nn.Conv2d(dim, heads * head_dim, 1)
        self.proj = nn.Conv2d(heads * head_dim, dim, 1)
        self.v = nn.Conv2d(dim, heads * head_dim, 1)

    def regions(self, x: Tensor) -> Tensor:
        """(B, heads·c, H, W) -> (B·heads·fold², c, H/fold, W/fold)."""
        batch, dim, height, width = x.shape
        down, across = height // self.fold, width // self.fold
        parts = x.reshape(batch * self.heads, dim // self.heads, self.fold, down, self.fold, across)
        return parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, dim // self.heads, down, across)

    def whole(self, points: Tensor, size: tuple[int, int]) -> Tensor:
        """Points (B·heads·fold², N, c) of regions -> (B, heads·c, H, W)."""
        height, width = size
        dim = points.shape[2]
        parts = points.reshape(
            -1, self.fold, self.fold, height // self.fold, width // self.fold, dim
        )
        return parts.permute(0, 5, 1, 3, 2, 4).reshape(-1, self.heads * dim, height, width)

    def forward(self, x: Tensor) -> Tensor:
        values, points = self.regions(self.v(x)), self.regions(self.f(x))
        centres = F.adaptive_avg_pool2d(points, CENTRES).flatten(2).transpose(1, 2)
        gathered = F.adaptive_avg_pool2d(values, CENTRES).flatten(2).transpose(1, 2)
        alike = F.normalize(centres, dim=-1) @ F.normalize(points.flatten(2), dim=1)
        alike = torch.sigmoid(self.sim_beta + self.sim_alpha * alike)
        order = torch.arange(alike.shape[1], device=x.device)[:, None]
        own = alike * (alike.argmax(1, keepdim=True) == order)
        gathered = own @ values.flatten(2).transpose(1, 2) + gathered
        gathered = gathered / (own.sum(-1, keepdim=True) + 1)
        given = own.transpose(1, 2) @ gathered
        y: Tensor = self.proj(self.whole(given, (x.shape[2], x.shape[3])))
        return y


class Block(nn.Module):
    """Clustering and feed-forward, each scaled per channel, with a residual."""

    def __init__(
        self, dim: int, heads: int, head_dim: int, fold: int, ratio: int, drop_path: float
    ) -> None:
        super().__init__()
        self.layer_scale_1 = nn.Parameter(torch.full((dim,), SCALE))
        self.layer_scale_2 = nn.Parameter(torch.full((dim,), SCALE))
        self.norm1 = nn.GroupNorm(1, dim)
        self.token_mixer = Cluster(dim, heads, head_dim, fold)
        self.norm2 = nn.GroupNorm(1, dim)
        self.mlp = FeedForward(dim, ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.token_mixer(self.norm1(x))
        x = x + self.drop_path(self.layer_scale_1[:, None, None] * mixed)
        wide = self.mlp(self.norm2(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        y: Tensor = x + self.drop_path(self.layer_scale_2[:, None, None] * wide)
        return y


def positions(size: tuple[int, int], like: Tensor) -> Tensor:
    """Row and column of every pixel, from -0.5 to 0.5: (1, 2, H, W)."""
    down, across = (
        torch.arange(extent, dtype=like.dtype, device=like.device) / (extent - 1) - 0.5
        for extent in size
    )
    height, width = size
    return torch.stack([down[:, None].expand(height, width), across.expand(height, width)])[None]


class ContextCluster(PoolFormerFrame):
    """CoC classifier: normalised images (B, in_chans, H, W) -> logits (B, num_classes)."""

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        ratios: tuple[int, ...],
        *,
        head_dim: int,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        stem = Projection(in_chans + 2, dims[0], 4, 4, 0)
        drops = iter(drop_rates(drop_path_rate, sum(depths)))
        network: list[nn.Module] = []
        for stage, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            shape = (heads[stage], head_dim, FOLDS[stage], ratios[stage])
            network.append(nn.Sequential(*(Block(dim, *shape, next(drops)) for _ in range(depth))))
            if stage < len(dims) - 1:
                network.append(Projection(dim, dims[stage + 1], 3, 2, 1))
        super().__init__(stem, network, dims[-1], num_classes=num_classes)

    def feature_maps(self, x: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 32, of the image with the places of its pixels."""
        places = positions((x.shape[2], x.shape[3]), x).expand(x.shape[0], -1, -1, -1)
        return super().feature_maps(torch.cat([x, places], 1))


def coc_tiny(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> ContextCluster:
    """CoC-Tiny with regions: 5.3 M parameters, 73.2 % top-1 on ImageNet."""
    return ContextCluster(
        (32, 64, 196, 320),
        (3, 4, 5, 2),
        (4, 4, 8, 8),
        (8, 8, 4, 4),
        head_dim=24,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
