"""ESPCN (arXiv 1609.05158): super-resolution of the luma channel."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(scale: int) -> ModelEntry:
    return ModelEntry(
        name=f"espcn_x{scale}",
        family="ESPCN",
        builder=f"espcn.network:espcn_x{scale}",
        published=Published(
            source="ESPCN (arXiv 1609.05158), §3.2; code of others",
            params_m=None,
            macs_m=None,
            code="https://github.com/leftthomas/ESPCN",
        ),
        task="super-resolution",
        size=(180, 320),
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        num_classes=None,
    )


ROWS = (
    _row(2),
    _row(3),
    _row(4),
)
