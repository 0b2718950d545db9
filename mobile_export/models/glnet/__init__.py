"""GLNet (NeurIPS 2024; arXiv 2411.14429): convolutions beside attention of slots."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="glnet_stl",
        family="GLNet",
        builder="glnet.network:glnet_stl",
        published=Published(
            source="GLNet (arXiv 2411.14429), README of the official code",
            params_m=30,
            macs_m=4400,
            top1=82.5,
            code="https://github.com/rayleizhu/GLMix",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
