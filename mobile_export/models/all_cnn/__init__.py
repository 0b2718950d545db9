"""All-CNN-C (ICLR 2015 workshop; arXiv 1412.6806): convolutions alone, for 32x32 pixels."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="all_cnn_c",
        family="All-CNN",
        builder="all_cnn.network:all_cnn_c",
        published=Published(
            source="All convolutional net (arXiv 1412.6806), Table 2",
            params_m=None,
            macs_m=None,
            code=None,
        ),
        size=(32, 32),
        num_classes=10,
    ),
)
