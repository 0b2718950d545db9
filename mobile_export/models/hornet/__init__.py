"""HorNet (NeurIPS 2022; arXiv 2207.14284): recursive gated convolutions."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="hornet_tiny_7x7",
        family="HorNet",
        builder="hornet.network:hornet_tiny_7x7",
        published=Published(
            source="HorNet (arXiv 2207.14284), README of the official code (which has 22.4 M)",
            params_m=22,
            macs_m=4000,
            top1=82.8,
            code="https://github.com/raoyongming/HorNet",
        ),
        min_size=32,
        strides=(4, 8, 16, 32),
    ),
)
