"""SPANet (ICCV 2023; arXiv 2308.11568): low frequencies and the others in balance."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="spanet_small",
        family="SPANet",
        builder="spanet.network:spanet_small",
        published=Published(
            source="SPANet (arXiv 2308.11568), README of the official code",
            params_m=28.7,
            macs_m=4600,
            top1=83.1,
            code="https://github.com/DoranLyong/SPANet-official",
        ),
        size_step=32,
        sized=True,
        strides=(4, 8, 16, 32),
    ),
)
