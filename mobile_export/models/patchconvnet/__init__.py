"""PatchConvNet (arXiv 2112.13692): one resolution, and attention only where pixels are pooled."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="patchconvnet_s60",
        family="PatchConvNet",
        builder="patchconvnet.network:patchconvnet_s60",
        published=Published(
            source="PatchConvNet (arXiv 2112.13692), README_patchconvnet.md of the official code",
            params_m=25.2,
            macs_m=4000,
            top1=82.1,
            code="https://github.com/facebookresearch/deit",
        ),
    ),
)
