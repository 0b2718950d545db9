"""U²-Net (arXiv 2005.09007): a detector of salient objects."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="u2netp",
        family="U²-Net",
        builder="u2net.network:u2netp",
        published=Published(
            source="U²-Net (arXiv 2005.09007), abstract: 4.7 MB",
            params_m=None,
            macs_m=None,
            code="https://github.com/xuebinqin/U-2-Net",
        ),
        task="saliency",
        size=(320, 320),
        num_classes=None,
        options=(("output", ("probabilities", "logits", "labels")),),
    ),
)
