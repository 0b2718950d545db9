"""Plain vision transformers: Pixel Transformer (arXiv 2406.09415), UViT (arXiv 2112.09747)."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="pixel_transformer_tiny",
        family="Pixel Transformer",
        builder="plain_vit.network:pixel_transformer_tiny",
        published=Published(
            source="Pixel Transformer (arXiv 2406.09415); width, depth and heads of DeiT-Tiny",
            params_m=None,
            macs_m=None,
            code=None,
        ),
        size=(28, 28),
        sized=True,
    ),
    ModelEntry(
        name="uvit_tiny",
        family="UViT",
        builder="plain_vit.network:uvit_tiny",
        published=Published(
            source="UViT (arXiv 2112.09747), Google's code (which says 13.5 M, of the backbone at "
            "896x896)",
            params_m=None,
            macs_m=None,
            code="https://github.com/google-research/google-research/tree/master/moe_mtl/modeling",
        ),
        size_step=8,
        min_size=8,
        sized=True,
    ),
)
