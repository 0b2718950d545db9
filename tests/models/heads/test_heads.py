"""Each head against the official framework's: keys, shapes and outputs in float64.

``data/heads.json.gz`` has keys and shapes of the state dicts of mmsegmentation 1.2.2, mmdetection
3.3.0 (mmcv 2.1.0) with small widths; ``data/golden_heads.json`` sampled outputs of theirs for the
weights of ``fill.py`` and maps of noise. RetinaNet's boxes are decoded by mmdetection's own prior
generator and box coder.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobile_export.models.heads import HEADS, head_names
from mobile_export.models.heads.network import Backbone, ComposedDetector, ComposedSegmenter
from tests.models.fill import fill_tensor

DATA = Path(__file__).parent / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_heads.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads(
    gzip.decompress((DATA / "heads.json.gz").read_bytes())
)
CLASSES, WIDTH = 7, 32
BOXES_OF = (96, 80)
"""(height, width) of the image of RetinaNet's golden boxes."""


class Maps(nn.Module):
    """A backbone that returns the same maps for every image."""

    def __init__(self, maps: list[Tensor]) -> None:
        super().__init__()
        self.maps = maps

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.maps


def maps_of(name: str) -> list[Tensor]:
    return [
        torch.from_numpy(fill_tensor(f"map{index}.input", shape)).double()
        * math.sqrt(math.prod(shape[1:]))
        for index, shape in enumerate(GOLDEN[name]["maps"])
    ]


def headed(name: str, output: str) -> nn.Module:
    head = HEADS[name]
    maps = maps_of(name)
    strides = (2, 4, 32) if head.strides == (0, 0, 32) else head.strides
    channels = tuple(x.shape[1] for x in maps)
    backbone = Backbone(Maps(maps), strides, channels, (False,) * len(maps))
    kind = ComposedDetector if head.task == "detection" else ComposedSegmenter
    return kind(backbone, head, CLASSES, head.width and WIDTH, output)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_names_and_shapes_of_weights_are_the_frameworks(name: str) -> None:
    state = headed(name, HEADS[name].options[0][1][0]).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[name]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_outputs_are_the_frameworks(name: str) -> None:
    for form in ("raw", "boxes") if HEADS[name].task == "detection" else ("logits",):
        module = headed(name, form).eval().double()
        for key, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(torch.from_numpy(fill_tensor(key, list(tensor.shape))))
        with torch.no_grad():
            found = module(torch.zeros(1, 3, *BOXES_OF, dtype=torch.float64))
        for key, got in ({"logits": found} if isinstance(found, Tensor) else found).items():
            golden = GOLDEN[name]["outputs"][key]
            assert list(got.shape) == golden["shape"]
            expected = torch.tensor(golden["values"], dtype=torch.float64)
            # mmdetection's anchors are rounded to float32.
            rel = 1e-7 if key == "boxes" else 1e-9
            torch.testing.assert_close(
                got.flatten()[golden["indices"]], expected, rtol=0, atol=rel * golden["max_abs"]
            )
            assert float(got.abs().mean()) == pytest.approx(golden["mean_abs"], rel=rel)


def test_ssdlite_is_compared_with_its_official_code_through_emo() -> None:
    """tests/models/emo/test_detector.py runs the same head, test_mask_rcnn.py that of two stages;
    the others are here."""
    assert set(SHAPES) | {"ssdlite", "mask_rcnn"} == set(head_names())


@pytest.mark.parametrize(
    ("name", "strides", "expected"),
    [
        ("semantic_fpn", (2, 4, 8, 16, 32), (1, 2, 3, 4)),
        ("semantic_fpn", (4, 8, 16, 32, 64), (0, 1, 2, 3)),
        ("fcn", (4, 8, 16, 32, 64), (3,)),
        ("fcn", (4, 8, 16), (2,)),
        ("lraspp", (2, 4, 8, 16, 32), (0, 1, 4)),
        ("lraspp", (4, 8, 16, 32), (0, 1, 3)),
        ("deeplabv3plus", (2, 4, 4, 32), (2, 3)),
        ("retinanet", (4, 8, 16, 32), (1, 2, 3)),
    ],
)
def test_a_head_takes_the_maps_of_its_strides(
    name: str, strides: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    assert HEADS[name].choose(strides) == expected


@pytest.mark.parametrize(
    ("name", "strides"), [("semantic_fpn", (8, 16, 32)), ("fcn", ()), ("lraspp", (4, 32))]
)
def test_a_map_that_is_missing_is_named(name: str, strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"takes feature maps of strides .* the backbone has"):
        HEADS[name].choose(strides)
