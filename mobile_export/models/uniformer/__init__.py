"""UniFormer (ICLR 2022; arXiv 2201.04676): convolutions first, attention last."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="uniformer_small",
        family="UniFormer",
        builder="uniformer.network:uniformer_small",
        published=Published(
            source="UniFormer (arXiv 2201.04676), README of the official code (which has 21.5 M)",
            params_m=22,
            macs_m=3600,
            top1=82.9,
            code="https://github.com/Sense-X/UniFormer",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
