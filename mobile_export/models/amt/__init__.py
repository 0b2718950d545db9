"""AMT (CVPR 2023; arXiv 2304.09790): the frame between two."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="amt_s",
        family="AMT",
        builder="amt.network:amt_s",
        published=Published(
            source="AMT (arXiv 2304.09790), Table 1",
            params_m=3.0,
            macs_m=None,
            code="https://github.com/MCG-NKU/AMT",
        ),
        task="restoration",
        size=(256, 448),
        size_step=16,
        min_size=64,
        frames=2,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    ),
)
