"""TVConv (CVPR 2022, arXiv 2203.10489): face recognisers."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(width: str) -> ModelEntry:
    return ModelEntry(
        name=f"tvconv_mobilenetv2_{width}",
        family="TVConv",
        builder=f"tvconv.network:tvconv_mobilenetv2_{width}",
        published=Published(
            source="TVConv (arXiv 2203.10489), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/JierunChen/TVConv",
        ),
        task="embedding",
        size=(96, 96),
        size_step=16,
        sized=True,
        channel_order="BGR",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        num_classes=None,
    )


ROWS = (
    _row("x0_1"),
    _row("x0_2"),
    _row("x0_3"),
    _row("x0_5"),
    _row("x1_0"),
)
