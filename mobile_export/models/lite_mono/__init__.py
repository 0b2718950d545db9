"""Lite-Mono (CVPR 2023, arXiv 2211.13202): depth from one image."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(name: str, params_m: float) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="Lite-Mono",
        builder=f"lite_mono.network:{name}",
        published=Published(
            source="Lite-Mono (arXiv 2211.13202), README of the official code",
            params_m=params_m,
            macs_m=None,
            code="https://github.com/noahzn/Lite-Mono",
        ),
        task="depth",
        size=(192, 640),
        size_step=16,
        min_size=32,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
        options=(
            ("output", ("disparity", "depth", "logits")),
            ("trained", ("640x192", "1024x320")),
        ),
    )


ROWS = (
    _row("lite_mono", 3.1),
    _row("lite_mono_small", 2.5),
    _row("lite_mono_tiny", 2.2),
    _row("lite_mono_8m", 8.7),
)
