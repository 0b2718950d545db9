"""SCNet (arXiv 2307.16140): super-resolution of 1x1 convolutions and shifts."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="scnet_t_x4",
        family="SCNet",
        builder="scnet.network:scnet_t_x4",
        published=Published(
            source="SCNet (arXiv 2307.16140), options of the official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/Aitical/SCNet",
        ),
        task="super-resolution",
        size=(180, 320),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    ),
)
