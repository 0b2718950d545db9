"""ViT-ResNAS (arXiv 2109.00642): a searched vision transformer of three stages."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="vit_resnas_tiny",
        family="ViT-ResNAS",
        builder="vit_resnas.network:vit_resnas_tiny",
        published=Published(
            source="ViT-ResNAS (arXiv 2109.00642), the searched network in the official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/yilunliao/vit-search",
        ),
        size_step=56,
        sized=True,
    ),
)
