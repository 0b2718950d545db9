"""Restormer (CVPR 2022; arXiv 2111.09881): rain, blur and noise taken out of pictures."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="restormer",
        family="Restormer",
        builder="restormer.network:restormer",
        published=Published(
            source="Restormer (arXiv 2111.09881), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/swz30/Restormer",
        ),
        task="restoration",
        size=(256, 256),
        size_step=8,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=None,
        options=(("norm", ("bias", "bias_free")),),
        weight_options=("norm",),
    ),
)
