"""CARN-M (arXiv 1803.08664): super-resolution of colour images."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(scale: int, macs_m: float | None = None) -> ModelEntry:
    """The paper's Mult-Adds are for a result of 720x1280: 180x320 only at scale 4.

    The table is assets/table.png of the official code at 40d3514.
    """
    return ModelEntry(
        name=f"carn_m_x{scale}",
        family="CARN-M",
        builder=f"carn_m.network:carn_m_x{scale}",
        published=Published(
            source="CARN (arXiv 1803.08664), table of the official README",
            params_m=0.412,
            macs_m=macs_m,
            code="https://github.com/nmhkahn/CARN-pytorch",
        ),
        task="super-resolution",
        size=(180, 320),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    )


ROWS = (
    _row(2),
    _row(3),
    _row(4, 32500),
)
