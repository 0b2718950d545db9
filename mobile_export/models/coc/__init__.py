"""Context Cluster (ICLR 2023; arXiv 2303.01494): an image as a set of points in clusters."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="coc_tiny",
        family="CoC",
        builder="coc.network:coc_tiny",
        published=Published(
            source="Context Cluster (arXiv 2303.01494), README of the official code (its M: 1024²)",
            params_m=5.3,
            macs_m=None,
            top1=73.2,
            code="https://github.com/ma-xu/Context-Cluster",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
