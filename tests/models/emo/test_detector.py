"""EMO's detectors against the official code, Table 8 and torchvision; see `heads`."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mobile_export.errors import UsageError
from mobile_export.models import table
from mobile_export.models.emo.detector import emo_1m_ssdlite
from mobile_export.models.heads.detector import decode_boxes
from mobile_export.models.heads.ssdlite import SSDLiteHead
from tests.models.emo.heads import (
    DETECTORS,
    GOLDEN,
    assert_sampled,
    check_state_dict,
    mmcv_flops,
    run,
)

SCALES = SSDLiteHead.delta_scales
QUICK = ("emo_1m_ssdlite", "emo_5m_ssdlite")


@pytest.mark.parametrize("name", DETECTORS)
def test_state_dict_is_the_official_one(name: str) -> None:
    check_state_dict(name)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.matrix) for name in DETECTORS],
)
def test_predictions_are_the_official_ones(name: str) -> None:
    raw, decoded = run(name, output="raw"), run(name)
    assert_sampled(raw["logits"], GOLDEN[name]["logits"])
    assert_sampled(raw["deltas"], GOLDEN[name]["deltas"])
    # The official anchors are rounded to float32; boxes are up to 320 pixels.
    assert_sampled(decoded["boxes"], GOLDEN[name]["boxes"], atol=1e-4)
    expected = raw["logits"].softmax(-1)[..., :80]
    torch.testing.assert_close(decoded["scores"], expected, rtol=0, atol=1e-12)


def test_boxes_are_decoded_as_torchvision_does() -> None:
    coder = pytest.importorskip("torchvision.models.detection._utils").BoxCoder(
        weights=(10.0, 10.0, 5.0, 5.0)
    )
    generator = torch.Generator().manual_seed(0)
    centres = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 320
    sizes = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 100 + 10
    deltas = torch.randn(50, 4, generator=generator, dtype=torch.float64) * 3
    anchors = torch.cat([centres - sizes / 2, centres + sizes / 2], 1)
    expected = coder.decode_single(deltas, anchors).clamp(0, 320)
    got = decode_boxes(torch.cat([centres, sizes], 1), deltas[None], 320, 320, SCALES)[0]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_a_box_grows_at_most_by_the_official_limit() -> None:
    anchor = torch.tensor([[160.0, 160.0, 1.0, 1.0]], dtype=torch.float64)
    deltas = torch.tensor([[[0.0, 0.0, 1e4, -1e4]]], dtype=torch.float64)
    left, top, right, bottom = decode_boxes(anchor, deltas, 320, 320, SCALES)[0, 0].tolist()
    assert right - left == pytest.approx(1000 / 16)
    assert bottom - top == pytest.approx(16 / 1000)


@pytest.mark.parametrize("name", DETECTORS)
def test_flops_of_table_8(name: str) -> None:
    """mmcv prints two digits; Table 8 cuts the second (0.98 is 0.9 there)."""
    printed = table.get(name).published.macs_m
    assert printed is not None
    assert f"{mmcv_flops(name) / 1e9:.2f}"[:-1] == f"{printed / 1e3:.1f}"


@pytest.mark.parametrize("name", DETECTORS)
def test_parameters_of_table_8(name: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in table.get(name).build().parameters())
    assert count / 1e6 == pytest.approx(table.get(name).published.params_m, rel=0.05)


@pytest.mark.parametrize("size", [(320, 320), (96, 160), (33, 40)])
def test_detectors_take_any_size(size: tuple[int, int]) -> None:
    with torch.no_grad():
        found = emo_1m_ssdlite(num_classes=3).eval()(torch.randn(1, 3, *size))
    boxes = found["boxes"][0]
    assert found["scores"].shape == (1, len(boxes), 3)
    assert (boxes[:, 2:] >= boxes[:, :2]).all()
    assert (boxes >= 0).all()
    assert (boxes[:, 0::2] <= size[1]).all()
    assert (boxes[:, 1::2] <= size[0]).all()


@pytest.mark.parametrize("options", [{"output": "masks"}, {"num_classes": 0}])
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"must be"):
        table.get("emo_1m_ssdlite").build(**options)
