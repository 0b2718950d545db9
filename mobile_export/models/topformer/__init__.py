"""TopFormer (CVPR 2022; arXiv 2204.05525): segmenters with the simple head."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

_HEAD = (("head", ("simple", "light")),)
"""The heads of SeaFormer++ (arXiv 2301.13156), Table 13."""


def _segmenter(
    variant: str,
    params_m: float,
    macs_m: float,
    miou: float,
    option: tuple[tuple[str, tuple[str, ...]], ...] = (),
) -> ModelEntry:
    """FLOPs are those of SeaFormer++ (arXiv 2301.13156), Table 13, which has more digits."""
    return ModelEntry(
        name=f"topformer_{variant}_seg",
        family="TopFormer",
        builder=f"topformer.network:topformer_{variant}_seg",
        published=Published(
            source="TopFormer (arXiv 2204.05525), README of the official code",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code="https://github.com/hustvl/TopFormer",
        ),
        task="segmentation",
        size=(512, 512),
        num_classes=150,
        classes="ade20k150",
        options=SEGMENTATION + option + _HEAD,
        weight_options=tuple(key for key, _ in option + _HEAD),
    )


ROWS = (
    _segmenter("tiny", 1.4, 580, 34.6, (("fuse", ("depthwise", "dense")),)),
    _segmenter("small", 3.1, 1160, 37.0),
    _segmenter("base", 5.1, 1810, 39.2, (("width", ("256", "128")),)),
)
