"""Rows of the zoo for networks that the seeds name beside their own families.

Importable without torch, as `registry`, which takes them up.
"""

from __future__ import annotations

from ..graph.specs import IMAGENET_MEAN
from .entry import SEGMENTATION, ModelEntry, Published

__all__ = ["PEERS"]

_ZERO = (0.0, 0.0, 0.0)
_ONE = (1.0, 1.0, 1.0)
_HALF = (0.5, 0.5, 0.5)


def _cas_vit(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    """Parameters and accuracy without distillation: MODEL_ZOO.md of the official code at 041d2d6.

    MACs: the paper's Table 2. iFormer (arXiv 2501.15369) prints 0.56, 0.93 and 1.89 G for XS, S, M.
    """
    return ModelEntry(
        name=f"cas_vit_{variant}",
        family="CAS-ViT",
        builder=f"cas_vit:cas_vit_{variant}",
        published=Published(
            source="CAS-ViT (arXiv 2408.03703), Table 2, and MODEL_ZOO.md of the official code",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/Tianfang-Zhang/CAS-ViT",
        ),
        options=(("heads", ("2", "1")),),
        weight_options=("heads",),
    )


def _recnext(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    """Accuracy without distillation, as in the official README."""
    return ModelEntry(
        name=f"recnext_{variant}",
        family="RecNeXt",
        builder=f"recnext:recnext_{variant}",
        published=Published(
            source="RecConv (arXiv 2412.19628), README (norms and heads folded)",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/suous/RecNeXt",
        ),
    )


def _tvconv(width: str) -> ModelEntry:
    return ModelEntry(
        name=f"tvconv_mobilenetv2_{width}",
        family="TVConv",
        builder=f"tvconv:tvconv_mobilenetv2_{width}",
        published=Published(
            source="TVConv (arXiv 2203.10489), official code",
            params_m=None,
            macs_m=None,
            code="https://github.com/JierunChen/TVConv",
        ),
        task="embedding",
        size=(96, 96),
        size_step=16,
        sized=True,
        channel_order="BGR",
        mean=_HALF,
        std=_HALF,
        num_classes=None,
    )


def _lite_mono(name: str, params_m: float) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="Lite-Mono",
        builder=f"lite_mono:{name}",
        published=Published(
            source="Lite-Mono (arXiv 2211.13202), README of the official code",
            params_m=params_m,
            macs_m=None,
            code="https://github.com/noahzn/Lite-Mono",
        ),
        task="depth",
        size=(192, 640),
        size_step=16,
        min_size=32,
        mean=_ZERO,
        std=_ONE,
        num_classes=None,
        options=(
            ("output", ("disparity", "depth", "logits")),
            ("trained", ("640x192", "1024x320")),
        ),
    )


def _espcn(scale: int) -> ModelEntry:
    return ModelEntry(
        name=f"espcn_x{scale}",
        family="ESPCN",
        builder=f"super_resolution:espcn_x{scale}",
        published=Published(
            source="ESPCN (arXiv 1609.05158), §3.2; code of others",
            params_m=None,
            macs_m=None,
            code="https://github.com/leftthomas/ESPCN",
        ),
        task="super-resolution",
        size=(180, 320),
        channels=1,
        mean=(0.0,),
        std=(1.0,),
        num_classes=None,
    )


def _carn_m(scale: int, macs_m: float | None = None) -> ModelEntry:
    """The paper's Mult-Adds are for a result of 720x1280: 180x320 only at scale 4.

    The table is assets/table.png of the official code at 40d3514.
    """
    return ModelEntry(
        name=f"carn_m_x{scale}",
        family="CARN-M",
        builder=f"super_resolution:carn_m_x{scale}",
        published=Published(
            source="CARN (arXiv 1803.08664), table of the official README",
            params_m=0.412,
            macs_m=macs_m,
            code="https://github.com/nmhkahn/CARN-pytorch",
        ),
        task="super-resolution",
        size=(180, 320),
        mean=_ZERO,
        std=_ONE,
        num_classes=None,
    )


_SQUEEZETIME = ModelEntry(
    name="squeezetime",
    family="SqueezeTime",
    builder="squeezetime:squeezetime",
    published=Published(
        source="SqueezeTime (arXiv 2405.08344), Table 1 (parameters without the classifier)",
        params_m=28.7,
        macs_m=5500,
        top1=71.6,
        code="https://github.com/xinghaochen/SqueezeTime",
    ),
    task="video classification",
    min_size=29,
    frames=16,
    num_classes=400,
)

_LINKNET = ModelEntry(
    name="linknet",
    family="LinkNet",
    builder="linknet:linknet",
    published=Published(
        source="LinkNet (arXiv 1707.03718), Tables 2 and 4",
        params_m=11.5,
        macs_m=None,
        miou=76.4,
        code="https://github.com/e-lab/pytorch-linknet",
    ),
    task="segmentation",
    size=(512, 1024),
    size_step=32,
    channel_order="BGR",
    mean=IMAGENET_MEAN[::-1],
    std=(0.225, 0.224, 0.229),
    num_classes=19,
    options=SEGMENTATION,
)

_U2NETP = ModelEntry(
    name="u2netp",
    family="U²-Net",
    builder="u2net:u2netp",
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
)

PEERS = (
    _cas_vit("xs", 3.20, 560, 78.3),
    _cas_vit("s", 5.76, 932, 80.9),
    _cas_vit("m", 12.42, 1887, 82.8),
    _cas_vit("t", 21.76, 3597, 83.9),
    _recnext("m0", 2.5, 400, 73.2),
    _recnext("m1", 5.2, 900, 78.0),
    _recnext("m2", 6.8, 1200, 79.2),
    _recnext("m3", 8.2, 1400, 79.6),
    _recnext("m4", 14.1, 2400, 81.4),
    _recnext("m5", 22.9, 4700, 82.9),
    _recnext("a0", 2.8, 400, 73.6),
    _recnext("a1", 5.9, 900, 78.3),
    _recnext("a2", 7.9, 1200, 79.6),
    _recnext("a3", 9.0, 1400, 80.1),
    _recnext("a4", 15.8, 2400, 81.6),
    _recnext("a5", 25.7, 4700, 83.1),
    _recnext("t", 12.1, 300, 75.1),
    _recnext("s", 15.8, 700, 78.3),
    _recnext("b", 19.3, 1100, 80.3),
    _tvconv("x0_1"),
    _tvconv("x0_2"),
    _tvconv("x0_3"),
    _tvconv("x0_5"),
    _tvconv("x1_0"),
    _lite_mono("lite_mono", 3.1),
    _lite_mono("lite_mono_small", 2.5),
    _lite_mono("lite_mono_tiny", 2.2),
    _lite_mono("lite_mono_8m", 8.7),
    _espcn(2),
    _espcn(3),
    _espcn(4),
    _carn_m(2),
    _carn_m(3),
    _carn_m(4, 32500),
    _SQUEEZETIME,
    _LINKNET,
    _U2NETP,
)
