"""Torchvision's one-stage detectors without their post-processing: SSD, SSDLite, FCOS, RetinaNet.

Their forward takes a list of images, resizes and normalises them, keeps the candidates whose score
is above a threshold and suppresses: how many boxes come out depends on the picture, and a file has
static shapes. What stands in front of that does not: `DenseDetector` is the same backbone, head and
anchors, and ends with the decoded box and the scores of every anchor. The rest is non-maximum
suppression as `detection` has it, and `ways_of` has torchvision's numbers for it.

It is the same but for one limit: torchvision looks at the ``topk_candidates`` surest only (SSD: of
each class; FCOS and RetinaNet: of each feature map), a file at all that have the score.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SourceError, UsageError
from ..graph.source import Source
from ..graph.specs import InputSpec, Thresholds, WeightsInfo

__all__ = [
    "DenseDetector",
    "Ways",
    "detector_source",
    "enliven",
    "is_detector",
    "require_dense",
    "ways_of",
]

_PLACE = "torchvision.models.detection."
_DENSE = {"SSD": "ssd", "FCOS": "fcos", "RetinaNet": "retinanet"}
"""The classes that are taken, and the modules that they stand in"""


_OLD_NAME = re.compile(r"(head\.\w+\.conv)\.(\d)\.(weight|bias)")


def _kind(module: nn.Module) -> str | None:
    """Which of `_DENSE` a module is, or is derived from; None of another."""
    for base in type(module).__mro__:
        if base.__module__ == _PLACE + _DENSE.get(base.__name__, "?"):
            return base.__name__
    return None


def is_detector(module: nn.Module) -> bool:
    """Whether a module is one of torchvision's detectors, of one or of two stages."""
    return any(base.__module__.startswith(_PLACE) for base in type(module).__mro__) and hasattr(
        module, "transform"
    )


def require_dense(module: nn.Module, spec: str) -> None:
    """Refuse a detector that does not end in the boxes and scores of a fixed number of anchors.

    Raises:
        SourceError: its second stage looks at the boxes that the first one found.
    """
    if _kind(module) is None:
        raise SourceError(
            f"{spec} is a {type(module).__name__}: its second stage looks at the boxes that its "
            "first stage found, and their number depends on the picture; a file has static shapes.",
            hint="Take a one-stage detector (torchvision/ssdlite320_mobilenet_v3_large, "
            "torchvision/fcos_resnet50_fpn, torchvision/retinanet_resnet50_fpn), or write a module "
            "of one image that returns boxes (1, N, 4) and scores (1, N, classes) of a fixed "
            "number N of proposals: docs/detection.md.",
        )


@dataclass(frozen=True)
class Ways:
    """What a torchvision detector does in front of its network and behind it.

    Attributes:
        size: (height, width) of the images that it was made for.
        mean, std: that it normalises images with.
        divisible: by what the height and width of an image must be divisible; torchvision fills up
            others with zeros.
        first_label: what torchvision calls the first column of our scores: SSD's background, the
            class 0, is left out.
        thresholds: that it suppresses with.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    divisible: int
    first_label: int
    thresholds: Thresholds


def ways_of(detector: Any) -> Ways:
    """What one of torchvision's detectors says of itself."""
    transform = detector.transform
    short, fixed = int(transform.min_size[-1]), transform.fixed_size  # (width, height)
    dense = _kind(detector) is not None
    return Ways(
        (short, short) if fixed is None else (int(fixed[1]), int(fixed[0])),
        tuple(float(x) for x in transform.image_mean),
        tuple(float(x) for x in transform.image_std),
        int(transform.size_divisible),
        1 if _kind(detector) == "SSD" else 0,
        Thresholds(
            iou_threshold=float(detector.nms_thresh),
            score_threshold=float(detector.score_thresh),
            max_detections=int(detector.detections_per_img),
        )
        if dense
        else Thresholds(),
    )


def detector_source(
    module: DenseDetector,
    spec: str,
    image: InputSpec,
    info: WeightsInfo,
    labels: tuple[str, ...] | None,
) -> Source:
    """A detector as a source.

    Raises:
        UsageError: torchvision would fill the image up to another size.
    """
    ways = module.ways
    if any(extent % ways.divisible for extent in image.size):
        raise UsageError(
            f"`size` {'x'.join(map(str, image.size))}: {spec} takes sizes that are divisible by "
            f"{ways.divisible}.",
            hint=f"For example {'x'.join(map(str, ways.size))}.",
        )
    own = ways.thresholds
    note = (
        f"torchvision suppresses with overlap {own.iou_threshold:g}, score "
        f"{own.score_threshold:g} and at most {own.max_detections} detections, which `nms` takes; "
        "it looks at the surest candidates only, a file at all that have the score "
        "(docs/detection.md)."
    )
    return Source(
        spec,
        module,
        image,
        ("boxes", "scores"),
        labels,
        replace(info, notes=(*info.notes, note)),
        task="detection",
        meanings={"boxes": "boxes", "scores": "scores"},
        suppression=own,
    )


@torch.no_grad()
def enliven(head: nn.Module) -> None:
    """Give the convolutions of a head random weights that do not make its input smaller, in place.

    Torchvision's begin at 0.01: every anchor keeps its place, no score reaches a threshold, and a
    file that computes something else would look right.
    """
    for layer in head.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")


class DenseDetector(nn.Module):
    """A torchvision detector up to the boxes and scores of all anchors.

    Its parameters have the names of torchvision's module, whose files of weights fit.

    Args:
        detector: an SSD, FCOS or RetinaNet; its parts are taken, not copied.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head
        self._parts = (detector.anchor_generator, detector.box_coder)
        self.kind = _kind(detector)
        self.ways = ways_of(detector)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes (N, A, 4) as left, top, right, bottom in pixels, cut at the border, and scores.

        Args:
            image: (N, 3, H, W), normalised.
        """
        features = self.backbone(image)
        features = [features] if isinstance(features, Tensor) else list(features.values())
        found = self.head(features)
        deltas = found["bbox_regression"]
        boxes = self._decoded(deltas, self._anchors(image, features).to(deltas.dtype))
        height, width = image.shape[-2:]
        left, top, right, bottom = boxes.unbind(-1)
        sides = [left.clamp(0, width), top.clamp(0, height)]
        sides += [right.clamp(0, width), bottom.clamp(0, height)]
        return {"boxes": torch.stack(sides, -1), "scores": self._scores(found)}

    def current_name(self, name: str) -> str:
        """What this torchvision calls a tensor of a file of weights: RetinaNet's official file
        counts the layers of its head as they were when a convolution and its ReLU were two."""
        parts = _OLD_NAME.fullmatch(name)
        if self.kind != "RetinaNet" or parts is None:
            return name
        head, layer, leaf = parts.groups()
        return f"{head}.{int(layer) // 2}.0.{leaf}"

    def _anchors(self, image: Tensor, features: list[Tensor]) -> Tensor:
        """(A, 4) left, top, right, bottom of the boxes that the head's numbers are relative to."""
        from torchvision.models.detection.image_list import ImageList

        height, width = image.shape[-2:]
        anchors: Tensor = self._parts[0](ImageList(image[:1], [(height, width)]), features)[0]
        return anchors

    def _decoded(self, deltas: Tensor, anchors: Tensor) -> Tensor:
        """Boxes (N, A, 4): as ``BoxCoder.decode_single`` and ``BoxLinearCoder.decode`` of
        ``torchvision.models.detection._utils``, for several images and in fewer operators."""
        low, high = anchors[:, :2], anchors[:, 2:]
        centre, extent = 0.5 * (low + high), high - low
        if self.kind == "FCOS":
            sides = deltas
            if self._parts[1].normalize_by_size:
                sides = deltas * torch.cat([extent, extent], -1)
            return torch.cat([centre - sides[..., :2], centre + sides[..., 2:]], -1)
        wx, wy, ww, wh = self._parts[1].weights
        shift, growth = deltas[..., :2], deltas[..., 2:]
        shift = shift / torch.tensor([wx, wy]) if (wx, wy) != (1, 1) else shift
        growth = growth / torch.tensor([ww, wh]) if (ww, wh) != (1, 1) else growth
        growth = growth.clamp(max=self._parts[1].bbox_xform_clip)
        middle, half = shift * extent + centre, 0.5 * growth.exp() * extent
        return torch.cat([middle - half, middle + half], -1)

    def _scores(self, found: dict[str, Tensor]) -> Tensor:
        """Probabilities (N, A, classes), as the ``postprocess_detections`` of each detector."""
        logits = found["cls_logits"]
        if self.kind == "SSD":
            return F.softmax(logits, -1)[..., 1:]
        if self.kind == "FCOS":
            return (logits.sigmoid() * found["bbox_ctrness"].sigmoid()).sqrt()
        return logits.sigmoid()
