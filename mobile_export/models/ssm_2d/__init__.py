"""2-D SSM (arXiv 2306.06635): a state space along rows and columns within a vision transformer."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="vit_ssm_2d",
        family="2-D SSM",
        builder="ssm_2d.network:vit_ssm_2d",
        published=Published(
            source="2-D SSM (arXiv 2306.06635), README of the official code (CIFAR-100)",
            params_m=None,
            macs_m=None,
            code="https://github.com/ethanbar11/ssm_2d",
        ),
        size=(32, 32),
        size_step=4,
        num_classes=100,
    ),
)
