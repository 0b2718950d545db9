"""MiT, the backbone of SegFormer (NeurIPS 2021; arXiv 2105.15203)."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _classifier(variant: str) -> ModelEntry:
    return ModelEntry(
        name=f"mit_{variant}",
        family="MiT",
        builder=f"mit.network:mit_{variant}",
        published=Published(
            source="SegFormer (arXiv 2105.15203), appendix",
            params_m=None,
            macs_m=None,
            code="https://github.com/NVlabs/SegFormer",
        ),
        min_size=29,
        strides=(4, 8, 16, 32),
    )


ROWS = (_classifier("b0"), _classifier("b1"))
