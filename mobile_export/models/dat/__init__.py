"""DAT (ICCV 2023; arXiv 2308.03364): super-resolution by attention over space and channels."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(scale: int, params_m: float | None, macs_m: float | None) -> ModelEntry:
    """The README's figures are of scale 4, for a result of 720x1280."""
    return ModelEntry(
        name=f"dat_light_x{scale}",
        family="DAT (super-resolution)",
        builder=f"dat.network:dat_light_x{scale}",
        published=Published(
            source="DAT (arXiv 2308.03364), README of the official code",
            params_m=params_m,
            macs_m=macs_m,
            code="https://github.com/zhengchen1999/DAT",
        ),
        task="super-resolution",
        size=(180, 320),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
    )


ROWS = (_row(2, None, None), _row(4, 0.573, 49690))
