"""FreeNet (AAAI 2025): classifiers."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"freenet_{variant}",
        family="FreeNet",
        builder=f"freenet.network:freenet_{variant}",
        published=Published(
            source="FreeNet (AAAI 2025), Tables 1 and 3",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=None,
        ),
        strides=(4, 8, 16, 32),
    )


ROWS = (
    _row("s1", 2.4, 280, 71.9),
    _row("s2", 6.8, 900, 78.8),
    _row("s3", 9.6, 1310, 79.4),
    _row("s4", 15.3, 2010, 81.0),
)
