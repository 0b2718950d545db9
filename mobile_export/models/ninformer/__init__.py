"""NiNformer (arXiv 2403.02411): a token mixer makes the gates of a linear layer."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="ninformer",
        family="NiNformer",
        builder="ninformer.network:ninformer",
        published=Published(
            source="NiNformer (arXiv 2403.02411), train.py of the official code (CIFAR-10)",
            params_m=None,
            macs_m=None,
            code="https://github.com/Abdullah-88/NiNformer",
        ),
        size=(32, 32),
        size_step=4,
        sized=True,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        num_classes=10,
    ),
)
