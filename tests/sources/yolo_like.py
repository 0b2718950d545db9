"""A small detector with the interface of ultralytics' YOLO, written for the tests.

Its classes say that they come from ultralytics' modules, for these are known by their names. What
its head returns has the layouts of ultralytics 8.4: behind the network (1, 4 + classes, anchors),
the boxes as centre and size in pixels; of the head that needs no suppression the transposed, boxes
as corners, through its ``postprocess``. With ``export`` that alone, else with raw maps beside it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["CLASSES", "built"]

CLASSES = 5
_BINS = 8
_STRIDES = (4, 8)


class Detect(nn.Module):
    """Distances to the four sides as expectations over bins, and the scores of the classes."""

    export = False

    def __init__(self, *, alone: bool) -> None:
        super().__init__()
        self.nc, self.end2end = CLASSES, alone
        self.cv2 = nn.ModuleList(nn.Conv2d(16, 4 * _BINS, 1) for _ in _STRIDES)
        self.cv3 = nn.ModuleList(nn.Conv2d(16, CLASSES, 1) for _ in _STRIDES)

    def forward(self, maps: list[Tensor]) -> Any:
        raw = [(box(x), score(x)) for x, box, score in zip(maps, self.cv2, self.cv3, strict=True)]
        boxes = torch.cat([each.flatten(2) for each, _ in raw], 2)
        scores = torch.cat([each.flatten(2) for _, each in raw], 2)
        anchors, strides = _anchors(maps)
        bins = boxes.view(1, 4, _BINS, -1).softmax(2)
        far = (bins * torch.arange(_BINS, dtype=bins.dtype)[:, None]).sum(2)
        low, high = anchors - far[:, :2], anchors + far[:, 2:]
        ends = (low, high) if self.end2end else ((low + high) / 2, high - low)
        found = torch.cat([torch.cat(ends, 1) * strides, scores.sigmoid()], 1)
        if self.end2end:
            found = self.postprocess(found.transpose(1, 2))
        return found if self.export else (found, raw)

    def postprocess(self, found: Tensor) -> Tensor:
        """(1, M, 6): the surest pairs of box and class, M of them at most."""
        values, order = found[..., 4:].flatten(1).topk(min(300, found.shape[1]))
        rows = torch.div(order, CLASSES, rounding_mode="floor")
        boxes = found[..., :4].gather(1, rows[..., None].expand(-1, -1, 4))
        return torch.cat([boxes, values[..., None], (order % CLASSES)[..., None]], -1)


def _anchors(maps: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Middles (2, A) of all cells, in cells, and the strides (1, A)."""
    middles, strides = [], []
    for x, stride in zip(maps, _STRIDES, strict=True):
        height, width = x.shape[-2:]
        y, x_ = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        middles.append(torch.stack([x_, y]).flatten(1) + 0.5)
        strides.append(torch.full((1, height * width), float(stride)))
    return torch.cat(middles, 1), torch.cat(strides, 1)


class DetectionModel(nn.Module):
    """Two maps from a row of convolutions, and the head."""

    def __init__(self, *, alone: bool) -> None:
        super().__init__()
        self.model = nn.ModuleList(
            [
                nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.SiLU()),
                nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.SiLU()),
                Detect(alone=alone),
            ]
        )
        self.names = {index: f"thing {index}" for index in range(CLASSES)}

    def forward(self, image: Tensor) -> Any:
        fine = self.model[0](image)
        return self.model[2]([fine, self.model[1](fine)])


Detect.__module__ = "ultralytics.nn.modules.head"
DetectionModel.__module__ = "ultralytics.nn.tasks"


def built(*, alone: bool = False) -> nn.Module:
    """A detector with many detections of spread scores.

    Args:
        alone: with the head that needs no suppression.
    """
    torch.manual_seed(0)
    model = DetectionModel(alone=alone)
    first, second, head = model.model
    for index, row in enumerate((first, second)):
        conv = row[0]  # type: ignore[index]
        fan = conv.weight[0].numel()
        nn.init.normal_(conv.weight, std=2 / fan**0.5)
        nn.init.normal_(head.cv3[index].weight, std=0.8)  # type: ignore[union-attr, index]
        nn.init.constant_(head.cv3[index].bias, -4.0)  # type: ignore[union-attr, index]
    return model.eval()
