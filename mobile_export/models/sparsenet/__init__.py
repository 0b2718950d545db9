"""SparseNet (ECCV 2018; arXiv 1801.05895): layers read those 1, 2, 4, 8, … before them."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


ROWS = (
    ModelEntry(
        name="sparsenet_bc_100_24",
        family="SparseNet",
        builder="sparsenet.network:sparsenet_bc_100_24",
        published=Published(
            source="SparseNet (arXiv 1801.05895), README of the official code (CIFAR-100)",
            params_m=1.46,
            macs_m=None,
            code="https://github.com/Lyken17/SparseNet",
        ),
        size=(32, 32),
        size_step=4,
        min_size=4,
        num_classes=100,
    ),
)
