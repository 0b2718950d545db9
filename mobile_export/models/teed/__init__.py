"""TEED (arXiv 2308.06468): a detector of edges."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="teed",
        family="TEED",
        builder="teed.network:teed",
        published=Published(
            source="TEED (arXiv 2308.06468), abstract",
            params_m=0.058,
            macs_m=None,
            code="https://github.com/xavysp/TEED",
        ),
        task="saliency",
        size=(352, 352),
        size_step=4,
        channel_order="BGR",
        mean=(104.007 / 255, 116.669 / 255, 122.679 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        num_classes=None,
        options=(("output", ("probabilities", "logits", "labels")),),
    ),
)
