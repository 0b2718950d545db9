"""SqueezeTime (arXiv 2405.08344): a classifier of video clips."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="squeezetime",
        family="SqueezeTime",
        builder="squeezetime.network:squeezetime",
        published=Published(
            source="SqueezeTime (arXiv 2405.08344), Table 1 (parameters without the classifier)",
            params_m=28.7,
            macs_m=5500,
            top1=71.6,
            code="https://github.com/xinghaochen/SqueezeTime",
        ),
        task="video classification",
        min_size=29,
        frames=16,
        num_classes=400,
    ),
)
