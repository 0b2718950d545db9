"""CCNN (ICLR 2023; arXiv 2301.10540): convolutions whose kernels a network makes of positions."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="ccnn_4_140",
        family="CCNN",
        builder="ccnn.network:ccnn_4_140",
        published=Published(
            source="CCNN (arXiv 2301.10540), CCNN-4,140 for CIFAR10 in the official experiments",
            params_m=None,
            macs_m=None,
            code="https://github.com/david-knigge/ccnn",
        ),
        size=(32, 32),
        num_classes=10,
    ),
)
