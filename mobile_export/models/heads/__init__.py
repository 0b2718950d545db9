"""The heads that stand on a backbone's feature maps: ``BACKBONE+HEAD`` is a model name.

One row a head; its network is in the module that the row names. The rows import no torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...graph.specs import Task
from ..entry import DETECTION, SEGMENTATION, TWO_STAGES

__all__ = ["DEEPEST", "HEADS", "Head", "head_names"]

DEEPEST = 32
"""Stride of the feature map that is called the last one; a backbone without it has another."""


@dataclass(frozen=True)
class Head:
    """One head.

    Attributes:
        name: what stands behind the ``+``.
        title: as papers write it.
        network: ``module:function`` of this folder, which takes channels of the maps, the width and
            the number of classes, and returns neck (None: there is none) and head.
        source: the paper, and the official framework's definition that is followed.
        task: "segmentation" or "detection".
        strides: of the feature maps that it takes, finest first; 0: the finest one that the
            backbone has and that is not yet taken.
        width: its channels, as the framework's configurations have them; None: they are fixed.
        size: default (height, width) of the images in pixels.
        classes: names of the default classes, a list of `sources.labels`.
        num_classes: how many these are.
        regions: of a detector of two stages: how many boxes each part of its second stage takes, by
            the option ``output`` of that part; empty: it has one stage.
    """

    name: str
    title: str
    network: str
    source: str
    strides: tuple[int, ...]
    width: int | None
    task: Task = "segmentation"
    size: tuple[int, int] = (512, 512)
    classes: str = "ade20k150"
    num_classes: int = 150
    regions: tuple[tuple[str, int], ...] = ()

    @property
    def options(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The forms of its result, the first being the default."""
        if self.regions:
            return TWO_STAGES
        return DETECTION if self.task == "detection" else SEGMENTATION

    def choose(self, strides: Sequence[int]) -> tuple[int, ...]:
        """Which of a backbone's feature maps it takes, as indices.

        Args:
            strides: of these maps, finest first.

        Raises:
            ValueError: one that it takes is not there.
        """
        chosen: list[int] = []
        for stride in self.strides:
            if stride == 0:
                index = next((i for i in range(len(strides)) if i not in chosen), None)
            elif stride in strides:
                index = len(strides) - 1 - list(reversed(strides)).index(stride)
            else:
                index = len(strides) - 1 if stride == DEEPEST and strides else None
            if index is None or (chosen and index <= chosen[-1]):
                wanted = ", ".join("the finest" if s == 0 else str(s) for s in self.strides)
                raise ValueError(
                    f"{self.name} takes feature maps of strides {wanted}, and the backbone has "
                    f"{', '.join(map(str, strides)) or 'none'}"
                )
            chosen.append(index)
        return tuple(chosen)


_MMSEG = "as in mmsegmentation 1.2.2"
_MMDET = "as in mmdetection 3.3.0"
_PYRAMID = (4, 8, 16, 32)

HEADS = {
    head.name: head
    for head in (
        Head(
            "semantic_fpn",
            "Semantic FPN",
            "build:semantic_fpn",
            f"Panoptic FPN (arXiv 1901.02446), {_MMSEG}",
            _PYRAMID,
            128,
        ),
        Head("fcn", "FCN", "build:fcn", f"FCN (arXiv 1411.4038), {_MMSEG}", (32,), 512),
        Head(
            "fcn_joined",
            "FCN on joined maps",
            "build:fcn_joined",
            f"HRNet (arXiv 1908.07919), {_MMSEG}",
            _PYRAMID,
            None,
        ),
        Head(
            "nonlocal",
            "Non-local network",
            "build:nonlocal_fcn",
            f"Non-local network (arXiv 1711.07971), {_MMSEG}",
            (32,),
            512,
        ),
        Head(
            "pspnet", "PSPNet", "build:pspnet", f"PSPNet (arXiv 1612.01105), {_MMSEG}", (32,), 512
        ),
        Head(
            "deeplabv3",
            "DeepLabv3",
            "build:deeplabv3",
            f"DeepLabv3 (arXiv 1706.05587), {_MMSEG}",
            (32,),
            512,
        ),
        Head(
            "deeplabv3plus",
            "DeepLabv3+",
            "build:deeplabv3plus",
            f"DeepLabv3+ (arXiv 1802.02611), {_MMSEG}",
            (4, 32),
            512,
        ),
        Head(
            "lraspp",
            "LR-ASPP",
            "build:lraspp",
            f"MobileNetV3 (arXiv 1905.02244), {_MMSEG}",
            (0, 0, 32),
            128,
        ),
        Head(
            "segformer",
            "SegFormer",
            "build:segformer",
            f"SegFormer (arXiv 2105.15203), {_MMSEG}",
            _PYRAMID,
            256,
        ),
        Head(
            "retinanet",
            "RetinaNet",
            "build:retinanet",
            f"RetinaNet (arXiv 1708.02002), {_MMDET}",
            (8, 16, 32),
            None,
            task="detection",
            classes="coco80",
            num_classes=80,
        ),
        Head(
            "mask_rcnn",
            "Mask R-CNN",
            "build:mask_rcnn",
            f"Mask R-CNN (arXiv 1703.06870), {_MMDET}",
            _PYRAMID,
            None,
            task="detection",
            classes="coco80",
            num_classes=80,
            regions=(("boxes", 1000), ("masks", 100)),
        ),
        Head(
            "ssdlite",
            "SSDLite",
            "build:ssdlite",
            f"MobileNetV2 (arXiv 1801.04381), {_MMDET}",
            (16, 32),
            None,
            task="detection",
            size=(320, 320),
            classes="coco80",
            num_classes=80,
        ),
    )
}
"""Every head by its name."""


def head_names() -> tuple[str, ...]:
    """Names of all heads, sorted."""
    return tuple(sorted(HEADS))
