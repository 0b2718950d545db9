"""Mobile-Former (CVPR 2022, arXiv 2108.05895): classifiers."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"mobile_former_{variant}",
        family="Mobile-Former",
        builder=f"mobile_former.network:mobile_former_{variant}",
        published=Published(
            source="Mobile-Former (arXiv 2108.05895), table of the official code",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/AAboys/MobileFormer",
        ),
        strides=(2, 4, 8, 16, 32),
    )


ROWS = (
    _row("96m", 4.6, 96, 72.8),
    _row("151m", 7.6, 151, 75.2),
    _row("214m", 9.4, 214, 76.7),
    _row("294m", 11.4, 294, 77.9),
    _row("508m", 14.0, 508, 79.3),
)
