"""CAS-ViT (arXiv 2408.03703): classifiers."""

from __future__ import annotations

from ...graph.specs import Recipe
from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

_RECIPE = Recipe(
    0.875,
    "center",
    "bicubic",
    "classification/data/datasets.py of the official code, for images below 384 pixels",
)


def _row(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    """Parameters and accuracy without distillation: MODEL_ZOO.md of the official code at 041d2d6.

    MACs: the paper's Table 2. iFormer (arXiv 2501.15369) prints 0.56, 0.93 and 1.89 G for XS, S, M.
    """
    return ModelEntry(
        name=f"cas_vit_{variant}",
        family="CAS-ViT",
        builder=f"cas_vit.network:cas_vit_{variant}",
        published=Published(
            source="CAS-ViT (arXiv 2408.03703), Table 2, and MODEL_ZOO.md of the official code",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/Tianfang-Zhang/CAS-ViT",
        ),
        recipe=_RECIPE,
        strides=(4, 8, 16, 32),
        options=(("heads", ("2", "1")),),
        weight_options=("heads",),
    )


ROWS = (
    _row("xs", 3.20, 560, 78.3),
    _row("s", 5.76, 932, 80.9),
    _row("m", 12.42, 1887, 82.8),
    _row("t", 21.76, 3597, 83.9),
)
