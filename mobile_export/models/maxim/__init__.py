"""MAXIM (CVPR 2022; arXiv 2201.02973): pictures restored by gated mixing along two axes."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="maxim_2s",
        family="MAXIM",
        builder="maxim.network:maxim_2s",
        published=Published(
            source="MAXIM (arXiv 2201.02973); its FLOPs, 216 G, count two for each product",
            params_m=14.1,
            macs_m=None,
            code="https://github.com/google-research/maxim",
        ),
        task="restoration",
        size=(256, 256),
        size_step=64,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    ),
)
