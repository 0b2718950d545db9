"""LightViT (arXiv 2207.05557): windows and a few global tokens, no convolutions but the stem."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="lightvit_tiny",
        family="LightViT",
        builder="lightvit.network:lightvit_tiny",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=9.4,
            macs_m=700,
            top1=78.7,
            code="https://github.com/hunto/image_classification_sota",
        ),
        size_step=32,
    ),
)
