"""Monodepth (arXiv 1609.03677): disparity of a single picture."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="monodepth_vgg",
        family="Monodepth",
        builder="monodepth.network:monodepth_vgg",
        published=Published(
            source="Monodepth (arXiv 1609.03677), §4.1",
            params_m=31,
            macs_m=None,
            code="https://github.com/mrharicot/monodepth",
        ),
        task="depth",
        size=(256, 512),
        size_step=128,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
        options=(("output", ("disparity", "logits")),),
    ),
)
