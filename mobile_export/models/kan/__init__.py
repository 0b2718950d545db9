"""Convolutions of Kolmogorov-Arnold networks (arXiv 2407.01092): a small classifier of CIFAR."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="kan_conv",
        family="KAN convolutions",
        builder="kan.network:kan_conv",
        published=Published(
            source="KAN convolutions (arXiv 2407.01092), README of the official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/IvanDrokin/torch-conv-kan",
        ),
        size=(32, 32),
        min_size=5,
        num_classes=10,
    ),
)
