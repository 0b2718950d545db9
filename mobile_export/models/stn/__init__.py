"""Spatial transformer network (arXiv 1506.02025)."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="stn_mnist",
        family="Spatial transformer",
        builder="stn.network:stn_mnist",
        published=Published(
            source="Spatial transformer (arXiv 1506.02025), §3; layers of PyTorch's tutorial",
            params_m=None,
            macs_m=None,
            code=None,
        ),
        size=(28, 28),
        min_size=18,
        sized=True,
        channels=1,
        channel_order="L",
        mean=(0.1307,),
        std=(0.3081,),
        num_classes=10,
    ),
)
