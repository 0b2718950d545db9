"""Swin Transformer (ICCV 2021; arXiv 2103.14030), and with the attentions of SeaFormer++."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="swin_tiny",
        family="Swin",
        builder="swin.network:swin_tiny",
        published=Published(
            source="Swin (arXiv 2103.14030), Table 1",
            params_m=29,
            macs_m=4500,
            top1=81.3,
            code="https://github.com/microsoft/Swin-Transformer",
        ),
        size_step=32,
        options=(
            (
                "attention",
                (
                    "window",
                    "local",
                    "axial",
                    "global",
                    "mixformer",
                    "acmix",
                    "seaformer",
                    "ccnet",
                    "a2",
                    "issa",
                ),
            ),
        ),
        weight_options=("attention",),
    ),
)
