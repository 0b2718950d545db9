"""DeepMAD (arXiv 2303.02165): a searched network of bottlenecks."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="deepmad_r18",
        family="DeepMAD",
        builder="deepmad.network:deepmad_r18",
        published=Published(
            source="DeepMAD (arXiv 2303.02165), README of the official code",
            params_m=11.69,
            macs_m=1820,
            top1=77.7,
            code="https://github.com/alibaba/lightweight-neural-architecture-search",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
