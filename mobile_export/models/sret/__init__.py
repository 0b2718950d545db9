"""SReT (ECCV 2022; arXiv 2111.05297): blocks whose weights are used twice."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="sret_tiny",
        family="SReT",
        builder="sret.network:sret_tiny",
        published=Published(
            source="SReT (arXiv 2111.05297), README of the official code, without slices",
            params_m=4.8,
            macs_m=1400,
            top1=76.1,
            code="https://github.com/szq0214/SReT",
        ),
        size_step=8,
        sized=True,
        strides=(8, 16, 32),
    ),
)
