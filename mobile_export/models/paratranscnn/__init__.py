"""ParaTransCNN (arXiv 2401.15307): medical segmentation."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="paratranscnn",
        family="ParaTransCNN",
        builder="paratranscnn.network:paratranscnn",
        published=Published(
            source="ParaTransCNN (arXiv 2401.15307), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/HongkunSun/ParaTransCNN",
        ),
        task="segmentation",
        size_step=16,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        num_classes=9,
        options=SEGMENTATION,
    ),
)
