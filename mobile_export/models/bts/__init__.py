"""BTS (arXiv 1907.10326): depth from one image, guided by local planes."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="bts_densenet121",
        family="BTS",
        builder="bts.network:bts_densenet121",
        published=Published(
            source="BTS (arXiv 1907.10326), README of the official code (NYU Depth V2)",
            params_m=21.2,
            macs_m=None,
            code="https://github.com/cogaplex-bts/bts",
        ),
        task="depth",
        size=(480, 640),
        size_step=32,
        num_classes=None,
    ),
)
