"""SeaFormer (ICLR 2023; arXiv 2301.13156): classifiers and segmenters."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

_CODE = "https://github.com/fudan-zvg/SeaFormer"


def _classifier(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"seaformer_{variant}",
        family="SeaFormer",
        builder=f"seaformer.network:seaformer_{variant}",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Table 14",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=_CODE,
        ),
        strides=(4, 8, 16, 32, 64),
    )


def _segmenter(
    variant: str,
    params_m: float,
    macs_m: float,
    miou: float,
    options: tuple[tuple[str, tuple[str, ...]], ...] = (),
    weight_options: tuple[str, ...] = (),
) -> ModelEntry:
    """A row of Table 2; the FLOPs are Table 13's, which has more digits, where it has the model."""
    return ModelEntry(
        name=f"seaformer_{variant}_seg",
        family="SeaFormer",
        builder=f"seaformer.segmenter:seaformer_{variant}_seg",
        published=Published(
            source="SeaFormer++ (arXiv 2301.13156), Tables 2 and 13",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code=_CODE,
        ),
        task="segmentation",
        size=(512, 512),
        num_classes=150,
        classes="ade20k150",
        options=SEGMENTATION + options,
        weight_options=weight_options,
    )


_ABLATIONS = (
    ("enhance", ("qkv", "conv", "upconv", "none", "alone")),
    ("mode", ("multiply", "add")),
    ("squeeze", ("mean", "max")),
    ("position", ("learnt", "none")),
    ("fusion", ("sigmoid_multiply", "multiply", "add", "sigmoid_add")),
)
"""What SeaFormer++'s Tables 6, 7, 11 and 12 change in SeaFormer-T."""

_ATTENTIONS = (("attention", ("sea", "conv", "local", "axial", "global", "acmix", "mixformer")),)
"""What its Table 9 puts in the place of SEA attention."""

_HEAD = (("head", ("light", "simple")),)
"""The heads of Table 13."""

ROWS = (
    _classifier("tiny", 1.8, 100, 67.9),
    _classifier("small", 4.1, 200, 73.3),
    _classifier("base", 8.7, 300, 76.0),
    _classifier("large", 14.0, 1200, 79.9),
    _segmenter(
        "tiny",
        1.7,
        600,
        35.8,
        _ABLATIONS + _HEAD + _ATTENTIONS,
        ("enhance", "position", "head", "attention"),
    ),
    _segmenter("small", 4.0, 1100, 39.4, _HEAD, ("head",)),
    _segmenter(
        "base",
        8.6,
        1820,
        41.0,
        (("fuse_dims", ("128-160", "64-96", "192-256")), *_HEAD),
        ("fuse_dims", "head"),
    ),
    _segmenter("large", 14.0, 6500, 43.7),
)
