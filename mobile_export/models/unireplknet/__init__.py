"""UniRepLKNet (CVPR 2024; arXiv 2311.15599): large kernels with dilated branches."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="unireplknet_a",
        family="UniRepLKNet",
        builder="unireplknet.network:unireplknet_a",
        published=Published(
            source="UniRepLKNet (arXiv 2311.15599), README of the official code (branches merged)",
            params_m=4.4,
            macs_m=600,
            top1=77.0,
            code="https://github.com/AILab-CVC/UniRepLKNet",
        ),
        strides=(4, 8, 16, 32),
    ),
)
