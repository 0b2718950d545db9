"""AANet (CVPR 2020; arXiv 2004.09548): disparity of two pictures."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="aanet",
        family="AANet",
        builder="aanet.network:aanet",
        published=Published(
            source="AANet (arXiv 2004.09548), MODEL_ZOO.md of the official code (Scene Flow)",
            params_m=3.93,
            macs_m=None,
            code="https://github.com/haofeixu/aanet",
        ),
        task="depth",
        size=(576, 960),
        size_step=12,
        frames=2,
        num_classes=None,
        options=(("output", ("disparity",)),),
    ),
)
