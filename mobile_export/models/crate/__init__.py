"""CRATE (NeurIPS 2023; arXiv 2306.01129): layers that are steps of an optimisation."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="crate_tiny",
        family="CRATE",
        builder="crate.network:crate_tiny",
        published=Published(
            source="CRATE (arXiv 2306.01129), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/Ma-Lab-Berkeley/CRATE",
        ),
        size_step=16,
        sized=True,
    ),
)
