"""PVT (ICCV 2021; arXiv 2102.12122): pyramid vision transformer, the first version."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="pvt_tiny",
        family="PVT",
        builder="pvt.network:pvt_tiny",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 3",
            params_m=13.2,
            macs_m=1943,
            top1=75.1,
            code="https://github.com/whai362/PVT",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
