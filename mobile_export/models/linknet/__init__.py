"""LinkNet (arXiv 1707.03718): a segmenter of street scenes."""

from __future__ import annotations

from ...graph.specs import IMAGENET_MEAN
from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="linknet",
        family="LinkNet",
        builder="linknet.network:linknet",
        published=Published(
            source="LinkNet (arXiv 1707.03718), Tables 2 and 4",
            params_m=11.5,
            macs_m=None,
            miou=76.4,
            code="https://github.com/e-lab/pytorch-linknet",
        ),
        task="segmentation",
        size=(512, 1024),
        size_step=32,
        channel_order="BGR",
        mean=IMAGENET_MEAN[::-1],
        std=(0.225, 0.224, 0.229),
        num_classes=19,
        options=SEGMENTATION,
    ),
)
