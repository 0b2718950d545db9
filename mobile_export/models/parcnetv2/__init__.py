"""ParCNetV2 (ICCV 2023; arXiv 2211.07157): convolutions as large as the map, and gates."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="parcnetv2_xt",
        family="ParCNetV2",
        builder="parcnetv2.network:parcnetv2_xt",
        published=Published(
            source="ParCNetV2 (arXiv 2211.07157), README of the official code",
            params_m=7.4,
            macs_m=1600,
            top1=79.4,
            code="https://github.com/XuRuihan/ParCNetV2",
        ),
        min_size=3,
        strides=(4, 8, 16, 32),
    ),
)
