"""Plain vision transformers: one resolution and one width from the patches to the head.

Pixel Transformer ("An Image is Worth More Than 16x16 Patches", arXiv 2406.09415): a ViT (arXiv
2010.11929) every token of which is one pixel, with learnt positions and a class token. Tiny: the
width, depth and heads of DeiT-Tiny (arXiv 2012.12877).

UViT ("A Simple Single-Scale Vision Transformer for Object Localization and Instance Segmentation",
arXiv 2112.09747): patches of 8 pixels, 18 narrow blocks, no class token; a detector reads the map
of stride 8. Tiny: width and heads as in Google's code (moe_mtl/modeling). As in JAX, GELU is the
approximation by tanh.

Parameter names are those of timm's vision transformers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..layers import TransformerBlock, check_classes, drop_rates, from_map, initialize_linear

__all__ = ["PlainViT", "pixel_transformer_tiny", "uvit_tiny"]

EPS = 1e-6


@dataclass(frozen=True)
class PlainConfig:
    """One variant.

    Attributes:
        patch: side of a token in pixels.
        dim: channels; ``heads`` share them.
        class_token: whether the head reads a token of its own, and not the mean of all.
        approximate: as that of `layers.FeedForward`.
    """

    patch: int
    dim: int
    depth: int
    heads: int
    class_token: bool
    approximate: str = "none"
    mlp_ratio: int = 4


PIXEL_TINY = PlainConfig(patch=1, dim=192, depth=12, heads=3, class_token=True)
UVIT_TINY = PlainConfig(patch=8, dim=222, depth=18, heads=6, class_token=False, approximate="tanh")


class Patches(nn.Module):
    """(B, C, H, W) -> tokens (B, h·w, dim)."""

    def __init__(self, dim_in: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim_in, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return from_map(self.proj(x))


class PlainViT(nn.Module):
    """Normalised images (B, in_chans, H, W) -> logits (B, num_classes).

    H and W are those of ``size``, multiples of the patch.
    """

    classifier_parts = ("cls_token", "head")

    def __init__(
        self,
        config: PlainConfig,
        *,
        size: tuple[int, int],
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ) -> None:
        check_classes(num_classes)
        super().__init__()
        self.config = config
        self.num_classes = num_classes
        dim, extra = config.dim, int(config.class_token)
        tokens = size[0] // config.patch * (size[1] // config.patch)
        if config.class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
            nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.pos_embed = nn.Parameter(torch.zeros(1, extra + tokens, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.patch_embed = Patches(in_chans, dim, config.patch)
        self.blocks = nn.Sequential(
            *(
                TransformerBlock(
                    dim,
                    config.heads,
                    config.mlp_ratio,
                    drop,
                    eps=EPS,
                    approximate=config.approximate,
                )
                for drop in drop_rates(drop_path_rate, config.depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.head = nn.Linear(dim, num_classes)
        self.apply(initialize_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        """The tokens behind the last norm, the class token first: (B, N, dim)."""
        x = self.patch_embed(x)
        if self.config.class_token:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], 1)
        y: Tensor = self.norm(self.blocks(x + self.pos_embed))
        return y

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.forward_features(x)
        logits: Tensor = self.head(tokens[:, 0] if self.config.class_token else tokens.mean(1))
        return logits


def pixel_transformer_tiny(
    num_classes: int = 1000,
    *,
    size: tuple[int, int] = (28, 28),
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
) -> PlainViT:
    """Pixel Transformer of DeiT-Tiny's width: 5.7 M parameters."""
    return PlainViT(
        PIXEL_TINY,
        size=size,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )


def uvit_tiny(
    num_classes: int = 1000,
    *,
    size: tuple[int, int] = (224, 224),
    in_chans: int = 3,
    drop_path_rate: float = 0.0,
) -> PlainViT:
    """UViT-T: 13.5 M parameters at 896x896 without the classifier, 11.1 M at 224x224 with it."""
    return PlainViT(
        UVIT_TINY,
        size=size,
        num_classes=num_classes,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
    )
