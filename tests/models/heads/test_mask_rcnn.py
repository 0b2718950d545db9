"""Mask R-CNN against torchvision's, whole: its anchors, coding, suppression, heads and masks.

torchvision's model gets our backbone's weights and these of mmdetection's definition: anchors that
are not rounded, the background as the last class, RoIAlign with aligned corners
(`torchvision.ops.roi_align`, an operator of its own).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mobile_export.detection import suppress
from mobile_export.detection.two_stages import choose_regions, paste_mask
from mobile_export.models.composition import compose, parse
from mobile_export.models.heads.mask_rcnn import (
    ASPECTS,
    BOX_BINS,
    STRIDES,
    MaskRCNN,
    pool_regions,
)
from mobile_export.models.heads.network import Backbone

torchvision: Any = pytest.importorskip("torchvision")
SIZE = (96, 160)
CLASSES, REGIONS, MASKS = 5, 40, 60


class Convolutions(nn.Module):
    """A small backbone with maps of strides 4 to 32."""

    channels = (8, 12, 16, 20)

    def __init__(self) -> None:
        super().__init__()
        dims = (3, *self.channels)
        self.stages = nn.ModuleList(
            nn.Conv2d(a, b, 5, 4 if a == 3 else 2, 2) for a, b in itertools.pairwise(dims)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x).tanh()
            maps.append(x)
        return maps


def ours(output: str = "proposals") -> MaskRCNN:
    torch.manual_seed(3)
    backbone = Backbone(Convolutions(), (4, 8, 16, 32), Convolutions.channels, (False,) * 4)
    module = compose(parse(f"x+mask_rcnn?output={output}"), backbone, CLASSES)
    assert isinstance(module, MaskRCNN)
    for name, parameter in module.named_parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, std=0.3)
        elif "rpn_cls" in name or "rpn_reg" in name or "fc_reg" in name:
            nn.init.normal_(parameter, std=0.05)
    return module.eval().double()


class AlignedPool(torchvision.ops.MultiScaleRoIAlign):  # type: ignore[misc]
    """torchvision's operator on the map of each box's size, its rule for that as torchvision has
    it."""

    def __init__(self, bins: int) -> None:
        super().__init__(["0", "1", "2", "3"], bins, 2)
        self.bins = bins

    def forward(self, maps: dict[str, Tensor], boxes: list[Tensor], sizes: Any) -> Tensor:
        from torchvision.ops.poolers import LevelMapper

        (only,) = boxes
        levels = LevelMapper(2, 5)([only])
        found = only.new_zeros(len(only), 256, self.bins, self.bins)
        for level, x in enumerate(list(maps.values())[:4]):
            chosen = levels == level
            found[chosen] = torchvision.ops.roi_align(
                x, [only[chosen]], self.bins, 1 / STRIDES[level], 2, aligned=True
            )
        return found


class Features(nn.Module):
    """Backbone and pyramid of torchvision's feature pyramid network."""

    out_channels = 256

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

        self.body = backbone
        self.fpn = FeaturePyramidNetwork(list(Convolutions.channels), 256, LastLevelMaxPool())

    def forward(self, x: Tensor) -> Any:
        return self.fpn({str(level): x for level, x in enumerate(self.body(x))})


def theirs(module: MaskRCNN) -> Any:
    """torchvision's model with our weights."""
    from torchvision.models.detection import MaskRCNN as Reference
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    anchors = AnchorGenerator(tuple((8 * s,) for s in STRIDES), (ASPECTS,) * 5)
    anchors.cell_anchors = [
        torch.tensor(
            [
                [-w / 2, -h / 2, w / 2, h / 2]
                for w, h in ((8 * s / a**0.5, 8 * s * a**0.5) for a in ASPECTS)
            ],
            dtype=torch.float64,
        )
        for s in STRIDES
    ]
    model = Reference(
        Features(module.backbone),
        CLASSES + 1,
        min_size=min(SIZE),
        max_size=max(SIZE),
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_test=30,
        rpn_post_nms_top_n_test=REGIONS,
        box_roi_pool=AlignedPool(7),
        mask_roi_pool=AlignedPool(14),
        box_score_thresh=0.05,
        box_detections_per_img=MASKS,
    )
    model.eval().double()
    rpn, roi = model.rpn.head, model.roi_heads
    heads: Any = module.roi_head
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (rpn.conv[0][0], module.rpn_head.rpn_conv),
        (rpn.cls_logits, module.rpn_head.rpn_cls),
        (rpn.bbox_pred, module.rpn_head.rpn_reg),
        (roi.box_head.fc6, heads.bbox_head.shared_fcs[0]),
        (roi.box_head.fc7, heads.bbox_head.shared_fcs[1]),
        (roi.mask_predictor.conv5_mask, heads.mask_head.upsample),
    ]
    neck: Any = module.neck
    for level in range(4):
        pairs.append((model.backbone.fpn.inner_blocks[level][0], neck.lateral_convs[level].conv))
        pairs.append((model.backbone.fpn.layer_blocks[level][0], neck.fpn_convs[level].conv))
        pairs.append((roi.mask_head[level][0], heads.mask_head.convs[level].conv))
    for own, given in pairs:
        own.load_state_dict(given.state_dict())
    with torch.no_grad():
        for name in ("weight", "bias"):
            classes = getattr(heads.bbox_head.fc_cls, name)  # the background is torchvision's first
            getattr(roi.box_predictor.cls_score, name).copy_(classes.roll(1, 0))
            getattr(roi.box_predictor.bbox_pred, name)[4:] = getattr(heads.bbox_head.fc_reg, name)
            masks = getattr(roi.mask_predictor.mask_fcn_logits, name)
            masks[1:] = getattr(heads.mask_head.conv_logits, name)
    return model


def test_all_of_it_is_torchvisions() -> None:
    """Image to masks: three parts and what the host does between them."""
    module = ours()
    reference = theirs(module)
    image = torch.rand(3, *SIZE, dtype=torch.float64)
    with torch.no_grad():
        (expected,) = reference([image])
        first = module(image[None])
        counts = [h * w * 3 for h, w in ((24, 40), (12, 20), (6, 10), (3, 5), (2, 3))]
        regions = choose_regions(
            first["boxes"].numpy(), first["scores"].numpy(), counts, regions=REGIONS, candidates=30
        )
        maps = [first[f"map{stride}"] for stride in STRIDES[:-1]]
        module.output = "boxes"
        second = module(*maps, torch.from_numpy(regions)[None])
        found = suppress(
            second["boxes"].numpy(),
            second["scores"].numpy(),
            score_threshold=0.05,
            iou_threshold=0.5,
            limit=MASKS,
        )
        module.output = "masks"
        masks = module(*maps, torch.from_numpy(found.boxes)[None])["masks"][0].numpy()
    count = len(found.boxes)
    assert count > 10, "the case says something"
    assert len(set(expected["labels"].tolist())) > 1
    np.testing.assert_allclose(found.boxes, expected["boxes"], atol=1e-9)
    np.testing.assert_allclose(found.scores, expected["scores"], atol=1e-12)
    assert found.classes.tolist() == (expected["labels"] - 1).tolist()
    chosen = masks[np.arange(count), found.classes]
    # torchvision returns masks pasted into the image; these are the ones before
    roi = reference.roi_heads
    with torch.no_grad():
        pooled = roi.mask_roi_pool(
            reference.backbone(image[None]), [torch.from_numpy(found.boxes)], [SIZE]
        )
        logits = roi.mask_predictor(roi.mask_head(pooled)).sigmoid()
    plain = logits[torch.arange(count), torch.from_numpy(found.classes) + 1].numpy()
    np.testing.assert_allclose(chosen, plain, atol=1e-12)


@pytest.mark.parametrize("side", [1.0, 55.0, 111.9, 112.1, 223.9, 224.1, 447.9, 448.1, 640.0])
def test_regions_are_pooled_from_the_map_of_their_size(side: float) -> None:
    """Each level's map holds one number, so the pooled value says where it came from."""
    maps = [torch.full((1, 1, 640 // s, 640 // s), float(level)) for level, s in enumerate(STRIDES)]
    found = pool_regions(maps[:4], torch.tensor([[[0.0, 0.0, side, side]]]), BOX_BINS)
    expected = min(3, max(0, int(np.floor(np.log2(side / 56 + 1e-6)))))
    assert torch.equal(found, torch.full((1, 1, 1, 7, 7), float(expected)))


def test_a_mask_lands_where_mmdetection_puts_it() -> None:
    """`grid_sample` over the image, as mmdetection's ``_do_paste_mask`` calls it."""
    height, width = 30, 44
    mask = torch.rand(28, 28, dtype=torch.float64)
    left, top, right, bottom = box = np.array([5.3, -2.0, 31.7, 25.5])
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - top) / (bottom - top) * 2 - 1
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - left) / (right - left) * 2 - 1
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns, rows], -1)[None]
    expected = nn.functional.grid_sample(mask[None, None], grid, align_corners=False)[0, 0]
    found = paste_mask(mask.numpy(), box, (height, width))
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)
    assert found.max() > 0.5


def test_too_few_proposals_leave_rows_of_zeros() -> None:
    boxes, scores = np.array([[0.0, 0, 4, 4], [0, 0, 4, 4], [9, 9, 12, 12]]), np.ones((3, 1))
    chosen = choose_regions(boxes, scores, (2, 1), regions=4)
    assert chosen.tolist() == [[0, 0, 4, 4], [9, 9, 12, 12], [0, 0, 0, 0], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match="3 boxes, 3 scores, maps of 4 anchors"):
        choose_regions(boxes, scores, (2, 2))


def test_names_of_weights_are_mmdetections() -> None:
    """As ``mask-rcnn_r50_fpn_1x_coco``'s state dict has them."""
    names = [name for name in ours().state_dict() if name.startswith(("rpn_head", "roi_head"))]
    both = ("weight", "bias")
    layers = ["rpn_head.rpn_conv", "rpn_head.rpn_cls", "rpn_head.rpn_reg"]
    layers += ["roi_head.bbox_head.fc_cls", "roi_head.bbox_head.fc_reg"]
    layers += [f"roi_head.bbox_head.shared_fcs.{index}" for index in range(2)]
    layers += [f"roi_head.mask_head.convs.{index}.conv" for index in range(4)]
    layers += ["roi_head.mask_head.upsample", "roi_head.mask_head.conv_logits"]
    assert names == [f"{layer}.{kind}" for layer in layers for kind in both]
