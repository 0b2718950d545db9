"""tiny-MOAT (ICLR 2023; arXiv 2210.01820): inverted bottlenecks, and attention behind them."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(size: int, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"tiny_moat_{size}",
        family="MOAT",
        builder=f"moat.network:tiny_moat_{size}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/google-research/deeplab2",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    )


ROWS = (_row(0, 3.4, 800, 75.5), _row(1, 5.1, 1200, 78.3))
