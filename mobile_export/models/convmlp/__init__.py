"""ConvMLP (arXiv 2109.04454): convolutions between channel MLPs."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="convmlp_s",
        family="ConvMLP",
        builder="convmlp.network:convmlp_s",
        published=Published(
            source="ConvMLP (arXiv 2109.04454), README of the official code",
            params_m=9.0,
            macs_m=2400,
            top1=76.8,
            code="https://github.com/SHI-Labs/Convolutional-MLPs",
        ),
        strides=(4, 8, 16, 32),
    ),
)
