"""Neck and head of each row of `HEADS`."""

from __future__ import annotations

from functools import partial

from torch import nn

from .context import DeepLabHead, DeepLabPlusHead, FCNHead, JoinedFCNHead, NonLocalHead, PSPHead
from .fusion import LRASPPHead, SegFormerHead
from .mask_rcnn import MaskRCNNHead
from .pyramid import FPN, WIDTH, SemanticFPNHead
from .retinanet import RetinaHead
from .ssdlite import EXTRA_DIMS, SSDLiteHead, SSDNeck

__all__ = [
    "deeplabv3",
    "deeplabv3plus",
    "fcn",
    "fcn_joined",
    "lraspp",
    "mask_rcnn",
    "nonlocal_fcn",
    "pspnet",
    "retinanet",
    "segformer",
    "semantic_fpn",
    "ssdlite",
]

Parts = tuple[nn.Module | None, nn.Module]


def _alone(head: type[nn.Module], dims: tuple[int, ...], width: int, classes: int) -> Parts:
    """A head that takes the backbone's maps themselves."""
    return None, head(dims, width, classes)


fcn = partial(_alone, FCNHead)
nonlocal_fcn = partial(_alone, NonLocalHead)
pspnet = partial(_alone, PSPHead)
deeplabv3 = partial(_alone, DeepLabHead)
deeplabv3plus = partial(_alone, DeepLabPlusHead)
lraspp = partial(_alone, LRASPPHead)
segformer = partial(_alone, SegFormerHead)


def fcn_joined(dims: tuple[int, ...], width: int | None, classes: int) -> Parts:
    """FCN on all maps, as wide as these together."""
    return None, JoinedFCNHead(dims, classes)


def semantic_fpn(dims: tuple[int, ...], width: int, classes: int) -> Parts:
    """A feature pyramid, and Semantic FPN on it."""
    return FPN(dims), SemanticFPNHead((WIDTH,) * len(dims), width, classes)


def retinanet(dims: tuple[int, ...], width: int | None, classes: int) -> Parts:
    """A feature pyramid of five maps, and RetinaNet's head."""
    return FPN(dims, extra=2), RetinaHead(classes)


def mask_rcnn(dims: tuple[int, ...], width: int | None, classes: int) -> Parts:
    """A feature pyramid of five maps, and Mask R-CNN's three heads."""
    return FPN(dims, pooled=True), MaskRCNNHead(classes)


def ssdlite(dims: tuple[int, ...], width: int | None, classes: int) -> Parts:
    """Four further maps, and SSDLite's head."""
    return SSDNeck(dims), SSDLiteHead((*dims, *EXTRA_DIMS), classes)
