"""RecNeXt (arXiv 2412.19628): classifiers."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    """Accuracy without distillation, as in the official README."""
    return ModelEntry(
        name=f"recnext_{variant}",
        family="RecNeXt",
        builder=f"recnext.network:recnext_{variant}",
        published=Published(
            source="RecConv (arXiv 2412.19628), README (norms and heads folded)",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/suous/RecNeXt",
        ),
        strides=(8, 16, 32, 64) if variant in ("t", "s", "b") else (4, 8, 16, 32),
    )


ROWS = (
    _row("m0", 2.5, 400, 73.2),
    _row("m1", 5.2, 900, 78.0),
    _row("m2", 6.8, 1200, 79.2),
    _row("m3", 8.2, 1400, 79.6),
    _row("m4", 14.1, 2400, 81.4),
    _row("m5", 22.9, 4700, 82.9),
    _row("a0", 2.8, 400, 73.6),
    _row("a1", 5.9, 900, 78.3),
    _row("a2", 7.9, 1200, 79.6),
    _row("a3", 9.0, 1400, 80.1),
    _row("a4", 15.8, 2400, 81.6),
    _row("a5", 25.7, 4700, 83.1),
    _row("t", 12.1, 300, 75.1),
    _row("s", 15.8, 700, 78.3),
    _row("b", 19.3, 1100, 80.3),
)
