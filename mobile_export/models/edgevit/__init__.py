"""EdgeViT (ECCV 2022; arXiv 2205.03436): attention of a few delegates."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _classifier(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"edgevit_{variant}",
        family="EdgeViT",
        builder=f"edgevit.network:edgevit_{variant}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7 (which says 256x256; FLOPs of 224x224)",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/saic-fi/edgevit",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    )


ROWS = (_classifier("xxs", 4.1, 557, 74.4), _classifier("xs", 6.7, 1136, 77.5))
