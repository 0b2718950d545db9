"""AGG-Net (arXiv 2309.01624): completion of a depth image."""

from __future__ import annotations

from ...graph.specs import IMAGENET_MEAN, IMAGENET_STD
from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="agg_net",
        family="AGG-Net",
        builder="agg_net.network:agg_net",
        published=Published(
            source="AGG-Net (arXiv 2309.01624), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/htx0601/AGG-Net",
        ),
        task="depth",
        size=(192, 288),
        size_step=32,
        sized=True,
        channels=5,
        mean=(*IMAGENET_MEAN, 0.0, 0.0),
        std=(*IMAGENET_STD, 1.0, 1.0),
        num_classes=None,
    ),
)
