"""EdgeViT, ECCV 2022 (arXiv 2205.03436).

"EdgeViTs: Competing Light-weight CNNs on Mobile Devices with Vision Transformers", Pan et al. The
pyramid and the blocks of UniFormer; each block aggregates neighbours, lets one delegate of every
window attend to the others, and spreads what they found over their windows by a transposed
convolution (local-global-local, §3.1). Stage 4 attends to all pixels. Variants: the official code.

Parameter names are those of the official checkpoints (github.com/saic-fi/edgevit).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Attention, from_map, to_map
from ..uniformer.network import GlobalBlock, LocalBlock, Pyramid

__all__ = ["EdgeViT", "edgevit_xs", "edgevit_xxs"]

WINDOWS = (4, 2, 2, 1)
"""Side of the window that a delegate stands for, stage by stage; 1: every pixel attends."""


class DelegateAttention(Attention):
    """Attention of every ``window``-th pixel, spread over its window.

    (B, H·W, dim) -> (B, H·W, dim); H and W are multiples of ``window``.
    """

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__(dim, heads)
        self.window = window
        if window > 1:
            self.LocalProp = nn.ConvTranspose2d(dim, dim, window, window, groups=dim)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        if size is None or self.window == 1:
            return super().forward(x)
        delegates = from_map(F.avg_pool2d(to_map(x, size), 1, self.window))
        small = (size[0] // self.window, size[1] // self.window)
        spread = from_map(self.LocalProp(to_map(self.mix(delegates), small)))
        y: Tensor = self.proj(self.norm(spread))
        return y


class Block(nn.Module):
    """Local aggregation, where there are windows, and attention of delegates."""

    def __init__(self, dim: int, heads: int, window: int, drop_path: float) -> None:
        super().__init__()
        self.LocalAgg = LocalBlock(dim, drop_path) if window > 1 else nn.Identity()
        self.SelfAttn = GlobalBlock(dim, DelegateAttention(dim, heads, window), drop_path)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.SelfAttn(self.LocalAgg(x))
        return y


class EdgeViT(Pyramid):
    """EdgeViT classifier; see `models.uniformer.network.Pyramid`.

    Args:
        head_dim: channels of a head of attention.
    """

    def __init__(
        self,
        dims: Sequence[int],
        depths: Sequence[int],
        head_dim: int,
        *,
        num_classes: int,
        in_chans: int,
        drop_path_rate: float,
    ) -> None:
        def block(stage: int, drop: float) -> nn.Module:
            return Block(dims[stage], dims[stage] // head_dim, WINDOWS[stage], drop)

        super().__init__(
            dims,
            depths,
            block,
            num_classes=num_classes,
            in_chans=in_chans,
            drop_path_rate=drop_path_rate,
        )


def edgevit_xxs(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> EdgeViT:
    """EdgeViT-XXS: 4.1 M parameters, 74.4 % top-1 on ImageNet."""
    return EdgeViT(
        (36, 72, 144, 288),
        (1, 1, 3, 2),
        36,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )


def edgevit_xs(
    num_classes: int = 1000, *, in_chans: int = 3, drop_path_rate: float = 0.0
) -> EdgeViT:
    """EdgeViT-XS: 6.7 M parameters, 77.5 % top-1 on ImageNet."""
    return EdgeViT(
        (48, 96, 240, 384),
        (1, 1, 3, 1),
        48,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
