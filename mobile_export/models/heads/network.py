"""A backbone's feature maps, and the networks of a backbone and a head."""

from __future__ import annotations

import importlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..layers import check_classes
from ..segmentation import SegmentationOutput, check_output, finish
from . import Head
from .detector import DetectionOutput, Detector, check_detection_output

__all__ = [
    "Backbone",
    "Chosen",
    "ComposedDetector",
    "ComposedSegmenter",
    "backbone_of",
    "nominal_strides",
    "parts_of",
]


@dataclass(frozen=True)
class Backbone:
    """A module that returns feature maps, finest first.

    Attributes:
        module: its ``feature_maps`` or, without that, its ``forward`` takes images and returns the
            maps: a sequence or a mapping of (B, C, h, w), or of (B, h, w, C).
        strides: of each map, as if no stage were dilated: pixels of the image a pixel of the map.
        channels: of each map.
        last: of each map, whether the channels are its last axis.
    """

    module: nn.Module
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    last: tuple[bool, ...]


def backbone_of(
    module: nn.Module,
    image: Tensor,
    strides: Sequence[int] | None = None,
    channels: Sequence[int] | None = None,
) -> Backbone:
    """A module with what must be known of its maps, found out by one image.

    Args:
        image: (B, in_chans, H, W) on the module's device.
        strides: of the maps; None: by their sizes.
        channels: of the maps; None: their second axis.

    Raises:
        ValueError: it does not return feature maps.
    """
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            maps = _maps(module, image)
    finally:
        module.train(was_training)
    for x in maps:
        if not isinstance(x, Tensor) or x.ndim != 4:
            shown = f"{tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"the backbone returns {shown} where feature maps (B, C, h, w) belong")
    found = [x.shape[1] for x in maps] if channels is None else list(channels)
    last = tuple(x.shape[1] != c == x.shape[3] for x, c in zip(maps, found, strict=True))
    if strides is None:
        heights = [x.shape[1 if end else 2] for x, end in zip(maps, last, strict=True)]
        strides = [2 ** round(math.log2(image.shape[2] / h)) for h in heights]
    if list(strides) != sorted(strides):
        raise ValueError(
            f"the backbone's feature maps have strides {', '.join(map(str, strides))}: the finest "
            "must come first"
        )
    return Backbone(module, tuple(strides), tuple(found), last)


def nominal_strides(strides: Sequence[int]) -> list[int]:
    """Strides of a backbone whose later stages are dilated, as if they were not.

    (2, 4, 8, 8, 8) -> [2, 4, 8, 16, 32]
    """
    found: list[int] = []
    for stride in strides:
        found.append(max(stride, 2 * found[-1]) if found else stride)
    return found


def _maps(module: nn.Module, x: Tensor) -> list[Tensor]:
    maps = cast(Any, getattr(module, "feature_maps", module))(x)
    if isinstance(maps, Tensor):
        return [maps]
    return list(maps.values() if isinstance(maps, Mapping) else maps)


class Chosen:
    """The maps of a backbone that a head takes, channels first."""

    def __init__(self, backbone: Backbone, head: Head) -> None:
        self.indices = head.choose(backbone.strides)
        self.last = backbone.last
        self.channels = tuple(backbone.channels[index] for index in self.indices)

    def of(self, module: nn.Module, x: Tensor) -> list[Tensor]:
        maps = _maps(module, x)
        return [
            maps[index].permute(0, 3, 1, 2) if self.last[index] else maps[index]
            for index in self.indices
        ]


def parts_of(
    head: Head, chosen: Chosen, width: int | None, classes: int
) -> tuple[nn.Module | None, Any]:
    """Neck and head of a row of `HEADS`."""
    module, function = head.network.split(":")
    build = getattr(importlib.import_module(f"{__package__}.{module}"), function)
    return cast("tuple[nn.Module | None, Any]", build(chosen.channels, width, classes))


class ComposedSegmenter(nn.Module):
    """Backbone and segmentation head: images (B, in_chans, H, W) -> one score map per class.

    ``output``: see `models.segmentation`.
    """

    training_only = ("auxiliary_head.",)

    def __init__(
        self, backbone: Backbone, head: Head, classes: int, width: int | None, output: str
    ) -> None:
        super().__init__()
        check_classes(classes)
        check_output(output)
        self.num_classes = classes
        self.output = cast(SegmentationOutput, output)
        self.chosen = Chosen(backbone, head)
        self.backbone = backbone.module
        neck, self.decode_head = parts_of(head, self.chosen, width, classes)
        self.neck = neck
        nn.init.normal_(self.decode_head.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.decode_head.conv_seg.bias)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.chosen.of(self.backbone, x)
        if self.neck is not None:
            maps = self.neck(maps)
        return finish(self.decode_head(maps), (x.shape[2], x.shape[3]), self.output)


class ComposedDetector(Detector):
    """Backbone and a detection head of one stage: images (B, in_chans, H, W) -> boxes and scores.

    ``output``: see `heads.detector.DetectionOutput`.
    """

    def __init__(
        self, backbone: Backbone, head: Head, classes: int, width: int | None, output: str
    ) -> None:
        check_detection_output(output, classes)
        chosen = Chosen(backbone, head)
        neck, bbox_head = parts_of(head, chosen, width, classes)
        super().__init__(
            backbone.module,
            cast(nn.Module, neck),
            bbox_head,
            num_classes=classes,
            output=cast(DetectionOutput, output),
        )
        self.chosen = chosen

    def classes_of(self, values: int) -> int | None:
        """Number of classes of a head with so many values per pixel (for `sources.weights`)."""
        return cast("int | None", cast(Any, self.bbox_head).classes_of(values))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        return self.chosen.of(self.backbone, x)
