"""TransNeXt (CVPR 2024; arXiv 2311.17132): attention to neighbours and to averages at once."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(name: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="TransNeXt",
        builder=f"transnext.network:{name}",
        published=Published(
            source="TransNeXt (arXiv 2311.17132), README of the official code (FLOPs with the "
            "networks of positions, which are constants here)",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/DaiShiResearch/TransNeXt",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    )


ROWS = (
    _row("transnext_micro", 12.8, 2700, 82.5),
    _row("transnext_tiny", 28.2, 5700, 84.0),
)
