"""Mask R-CNN (arXiv 1703.06870): a detector of two stages, in three parts.

Between its stages stand decisions that depend on the picture: which boxes are looked at again, and
of which masks are made. They are the app's (`mobile_export.detection.two_stages`); each part is a
network of fixed shapes:

- ``proposals``: image -> boxes (1, N, 4) that may hold something, in pixels of the input, inside
  it, with scores (1, N, 1), and the maps of strides 4 to 32 that the other parts take. The boxes
  are in the order of the maps (strides 4 to 64), then of rows, columns and three aspects.
- ``boxes``: these maps and ``regions`` (1, K, 4) -> boxes (1, K, classes, 4), of each class its
  own, and scores (1, K, classes), without the background.
- ``masks``: these maps and regions -> masks (1, K, classes, 28, 28), probabilities inside a region.

Widths, anchors and the coding of boxes are those of mmdetection's ``mask-rcnn_r50_fpn_1x_coco``,
as are parameter names. RoIAlign takes 2 x 2 samples of each bin, as the paper does (§3: "four
regularly sampled locations"); mmdetection takes as many as the box has pixels, which is no fixed
graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv, check_classes
from .detector import decode_boxes, grid_anchors, per_anchor
from .network import Chosen, parts_of
from .pyramid import WIDTH

if TYPE_CHECKING:
    from . import Head
    from .network import Backbone

__all__ = ["MAP_NAMES", "MaskRCNN", "MaskRCNNHead"]

STRIDES = (4, 8, 16, 32, 64)
MAP_NAMES = tuple(f"map{stride}" for stride in STRIDES[:-1])
SIZE = 8.0
"""Of a pixel's square anchor, in strides."""
ASPECTS = (0.5, 1.0, 2.0)
FINEST = 56.0
"""Boxes of twice this side or more are pooled from a coarser map than the finest."""
SAMPLES = 2
"""Of a bin, along each axis."""
BOX_BINS, MASK_BINS = 7, 14
HIDDEN = 1024
MASK_CONVS = 4
PROPOSAL_SCALES = (1.0, 1.0)
BOX_SCALES = (0.1, 0.2)


class RegionProposals(nn.Module):
    """Logits (B, N, 1) and deltas (B, N, 4) of all anchors of all maps."""

    def __init__(self) -> None:
        super().__init__()
        self.rpn_conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.rpn_cls = nn.Conv2d(WIDTH, len(ASPECTS), 1)
        self.rpn_reg = nn.Conv2d(WIDTH, len(ASPECTS) * 4, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        features = [F.relu(self.rpn_conv(x)) for x in maps]
        logits = torch.cat([per_anchor(self.rpn_cls(x), 1) for x in features], 1)
        deltas = torch.cat([per_anchor(self.rpn_reg(x), 4) for x in features], 1)
        return logits, deltas


class BoxHead(nn.Module):
    """Pooled regions (1, K, values) -> class logits (1, K, classes + 1), the background's the last,
    and deltas (1, K, classes, 4)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.fc_cls = nn.Linear(HIDDEN, classes + 1)
        self.fc_reg = nn.Linear(HIDDEN, 4 * classes)
        self.shared_fcs = nn.ModuleList(
            (nn.Linear(WIDTH * BOX_BINS * BOX_BINS, HIDDEN), nn.Linear(HIDDEN, HIDDEN))
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for layer in self.shared_fcs:
            x = F.relu(layer(x))
        return self.fc_cls(x), self.fc_reg(x).reshape(1, x.shape[1], -1, 4)


class MaskHead(nn.Module):
    """Pooled regions (K, WIDTH, 14, 14) -> logits (K, classes, 28, 28)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(WIDTH, WIDTH, 3) for _ in range(MASK_CONVS))
        self.upsample = nn.ConvTranspose2d(WIDTH, WIDTH, 2, 2)
        self.conv_logits = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for conv in self.convs:
            x = F.relu(conv(x))
        logits: Tensor = self.conv_logits(F.relu(self.upsample(x)))
        return logits


class RegionHead(nn.Module):
    """What looks at regions, named as mmdetection's ``StandardRoIHead``."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.bbox_head = BoxHead(classes)
        self.mask_head = MaskHead(classes)


class MaskRCNNHead(nn.Module):
    """The three heads; `MaskRCNN` has them by their names."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.rpn_head = RegionProposals()
        self.roi_head = RegionHead(classes)
        for module in self.rpn_head.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)


class MaskRCNN(nn.Module):
    """Backbone, pyramid and heads; what ``forward`` takes and returns is one part's.

    Args:
        output: which part: "proposals", "boxes" or "masks".
    """

    def __init__(
        self, backbone: Backbone, head: Head, classes: int, width: int | None, output: str
    ) -> None:
        super().__init__()
        check_classes(classes)
        self.num_classes = classes
        self.output = output
        self.chosen = Chosen(backbone, head)
        self.backbone = backbone.module
        self.neck, heads = parts_of(head, self.chosen, width, classes)
        self.rpn_head: RegionProposals = heads.rpn_head
        self.roi_head: RegionHead = heads.roi_head

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """The maps of strides 4 to 64."""
        assert self.neck is not None
        maps: list[Tensor] = self.neck(self.chosen.of(self.backbone, image))
        return maps

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        if self.output == "proposals":
            return self.proposals(*inputs)
        *maps, regions = inputs
        if self.output == "boxes":
            return self.boxes(maps, regions)
        return {"masks": self.masks(maps, regions)}

    def proposals(self, image: Tensor) -> dict[str, Tensor]:
        """The first stage, and the maps."""
        maps = self.pyramid(image)
        logits, deltas = self.rpn_head(maps)
        anchors = torch.cat(
            [
                grid_anchors(stride, (SIZE,), ASPECTS, x.shape[2], x.shape[3], x)
                for stride, x in zip(STRIDES, maps, strict=True)
            ]
        )
        boxes = decode_boxes(anchors, deltas, image.shape[2], image.shape[3], PROPOSAL_SCALES)
        named = dict(zip(MAP_NAMES, maps[:-1], strict=True))
        return {"boxes": boxes, "scores": logits.sigmoid(), **named}

    def boxes(self, maps: Sequence[Tensor], regions: Tensor) -> dict[str, Tensor]:
        """The second stage: class and place of each region.

        Boxes are cut at the border of the finest map, which is that of the image where its sides
        are multiples of 4.
        """
        pooled = pool_regions(maps, regions, BOX_BINS)
        logits, deltas = self.roi_head.bbox_head(pooled.flatten(2))
        corner, end = regions[..., :2], regions[..., 2:]
        anchors = torch.cat([(corner + end) * 0.5, end - corner], -1).unsqueeze(2)
        height, width = (STRIDES[0] * extent for extent in maps[0].shape[2:])
        boxes = decode_boxes(anchors, deltas, height, width, BOX_SCALES)
        return {"boxes": boxes, "scores": logits.softmax(-1)[..., :-1]}

    def masks(self, maps: Sequence[Tensor], regions: Tensor) -> Tensor:
        """Of each region, for each class, the probability that a pixel belongs to the object."""
        pooled = pool_regions(maps, regions, MASK_BINS).squeeze(0)
        found: Tensor = self.roi_head.mask_head(pooled).sigmoid().unsqueeze(0)
        return found


def pool_regions(maps: Sequence[Tensor], regions: Tensor, bins: int) -> Tensor:
    """RoIAlign: (1, C, h, w) of each stride and (1, K, 4) -> (1, K, C, bins, bins).

    A region is pooled from the map of its size: level ⌊log2(side / 56)⌋, side² its area (FPN,
    arXiv 1612.03144, §4.2), of which the finest is 0.

    Args:
        regions: left, top, right, bottom in pixels of the image, inside it.
    """
    count, dim = regions.shape[1], maps[0].shape[1]
    total: Tensor | None = None
    for stride, x, share in zip(STRIDES, maps, _shares(regions, len(maps)), strict=False):
        points = _points(regions, bins * SAMPLES, stride, x)
        sampled = F.grid_sample(x, points, padding_mode="border", align_corners=False)
        weights = share.unsqueeze(-1).expand(1, count, bins).reshape(1, 1, count * bins, 1)
        pooled = F.avg_pool2d(sampled, SAMPLES) * weights
        total = pooled if total is None else total + pooled
    assert total is not None
    return total.reshape(1, dim, count, bins, bins).transpose(1, 2)


def _shares(regions: Tensor, levels: int) -> Iterator[Tensor]:
    """Of every level, which regions (1, K) are pooled from it: one or zero."""
    sides = regions[..., 2:] - regions[..., :2]
    area = sides[..., 0] * sides[..., 1]
    above = torch.ones_like(area)
    for level in range(1, levels):
        least = (FINEST * (2.0**level - 1e-6)) ** 2
        reached = (area >= least).to(area.dtype)
        yield above - reached
        above = reached
    yield above


def _points(regions: Tensor, steps: int, stride: int, x: Tensor) -> Tensor:
    """The middles of steps x steps cells of each region, as `grid_sample` takes positions:
    (1, K·steps, steps, 2), from -1 to 1 over a map."""
    count = regions.shape[1]
    place = (torch.arange(steps, dtype=regions.dtype, device=regions.device) + 0.5) / steps
    corner, sides = regions[..., :2], regions[..., 2:] - regions[..., :2]
    axes = []
    for axis, extent in ((0, x.shape[3]), (1, x.shape[2])):
        along = corner[..., axis : axis + 1] + sides[..., axis : axis + 1] * place
        axes.append(along * (2.0 / (stride * extent)) - 1.0)
    columns = axes[0].reshape(1, count, 1, steps).expand(1, count, steps, steps)
    rows = axes[1].reshape(1, count, steps, 1).expand(1, count, steps, steps)
    shape = (1, count * steps, steps)
    return torch.stack([columns.reshape(shape), rows.reshape(shape)], -1)
