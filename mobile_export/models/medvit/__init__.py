"""MedViT (Computers in Biology and Medicine 2023; arXiv 2302.09462): convolutions and attention."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="medvit_small",
        family="MedViT",
        builder="medvit.network:medvit_small",
        published=Published(
            source="MedViT (arXiv 2302.09462), README of the official code",
            params_m=None,
            macs_m=None,
            top1=83.7,
            code="https://github.com/Omid-Nejati/MedViT",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
