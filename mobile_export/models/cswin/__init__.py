"""CSWin (CVPR 2022; arXiv 2107.00652): windows that are stripes, upright and lying."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="cswin_tiny",
        family="CSWin",
        builder="cswin.network:cswin_tiny",
        published=Published(
            source="CSWin (arXiv 2107.00652), README of the official code (which has 22.3 M)",
            params_m=23,
            macs_m=4300,
            top1=82.8,
            code="https://github.com/microsoft/CSWin-Transformer",
        ),
        size_step=224,
        strides=(4, 8, 16, 32),
    ),
)
