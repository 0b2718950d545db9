"""Gather-Excite (arXiv 1810.12348): a ResNet-50 that gathers context."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

_OPTION = (("gather", ("learnt", "learnt_plus", "mean")),)

ROWS = (
    ModelEntry(
        name="ge_resnet50",
        family="Gather-Excite",
        builder="gather_excite.network:ge_resnet50",
        published=Published(
            source="Gather-Excite (arXiv 1810.12348), §3; official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/hujie-frank/GENet",
        ),
        sized=True,
        options=_OPTION,
        weight_options=("gather",),
    ),
)
