"""EMO's segmenters and detectors against the official code and Tables 8 and 10.

``data/emo_heads.json`` has the keys and shapes of the official modules without the auxiliary head,
``data/golden_emo_heads.json`` their sampled outputs in float64 for the weights and the input of
``fill.py``: backbone, neck and heads of github.com/zhangzjn/EMO at 27d9b40 (its copies of
mmdetection and mmsegmentation), put together as its configurations say, with mmcv's ConvModule.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mobile_export.errors import UsageError, WeightsError
from mobile_export.models import table
from mobile_export.models.emo.detector import decode_boxes, emo_1m_ssdlite
from mobile_export.sources.weights import load_weights
from tests.models.fill import fill_input, fill_state_dict

DATA = Path(__file__).parent / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_emo_heads.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads((DATA / "emo_heads.json").read_text())
SEGMENTERS = [name for name in SHAPES if not name.endswith("ssdlite")]
DETECTORS = [name for name in SHAPES if name.endswith("ssdlite")]
CHEAP = ("emo_1m_deeplabv3", "emo_5m_pspnet", "emo_1m_ssdlite", "emo_5m_ssdlite")


def values_of(name: str) -> dict[str, Tensor]:
    return {key: torch.from_numpy(v) for key, v in fill_state_dict(SHAPES[name]).items()}


def filled(name: str, **options: str) -> nn.Module:
    module = table.get(name).build(**options)
    module.load_state_dict(values_of(name))
    return module.eval().double()


def run(name: str, **options: str) -> Any:
    image = torch.from_numpy(fill_input(GOLDEN[name]["input_shape"])).double()
    with torch.no_grad():
        return filled(name, **options)(image)


def assert_sampled(got: Tensor, golden: dict[str, Any], atol: float = 1e-9) -> None:
    assert list(got.shape) == golden["shape"]
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(got.flatten()[golden["indices"]], expected, rtol=0, atol=atol)
    assert float(got.abs().mean()) == pytest.approx(golden["mean_abs"], abs=atol)


@pytest.mark.parametrize("name", SHAPES)
def test_state_dict_is_the_official_one(name: str) -> None:
    with torch.device("meta"):
        state = table.get(name).build().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[name]


@pytest.mark.parametrize("name", [name for name in CHEAP if name in SEGMENTERS])
def test_segmenters_give_the_official_logits(name: str) -> None:
    assert_sampled(run(name), GOLDEN[name]["logits"])


@pytest.mark.parametrize("name", [name for name in CHEAP if name in DETECTORS])
def test_detectors_give_the_official_predictions(name: str) -> None:
    raw, decoded = run(name, output="raw"), run(name)
    assert_sampled(raw["logits"], GOLDEN[name]["logits"])
    assert_sampled(raw["deltas"], GOLDEN[name]["deltas"])
    # The official anchors are rounded to float32; boxes are up to 320 pixels.
    assert_sampled(decoded["boxes"], GOLDEN[name]["boxes"], atol=1e-4)
    expected = raw["logits"].softmax(-1)[..., :80]
    torch.testing.assert_close(decoded["scores"], expected, rtol=0, atol=1e-12)


@pytest.mark.matrix
@pytest.mark.parametrize("name", [name for name in SHAPES if name not in CHEAP])
def test_the_other_variants_too(name: str) -> None:
    output = run(name, **({"output": "raw"} if name in DETECTORS else {}))
    assert_sampled(output if name in SEGMENTERS else output["logits"], GOLDEN[name]["logits"])


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
    got = decode_boxes(torch.cat([centres, sizes], 1), deltas[None], 320, 320)[0]
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-9)


def test_a_box_grows_at_most_by_the_official_limit() -> None:
    anchor = torch.tensor([[160.0, 160.0, 1.0, 1.0]], dtype=torch.float64)
    deltas = torch.tensor([[[0.0, 0.0, 1e4, -1e4]]], dtype=torch.float64)
    left, top, right, bottom = decode_boxes(anchor, deltas, 320, 320)[0, 0].tolist()
    assert right - left == pytest.approx(1000 / 16)
    assert bottom - top == pytest.approx(16 / 1000)


def mmcv_flops(name: str) -> int:
    """What ``get_model_complexity_info`` of mmcv 1.x counts, the tool of mmdetection and
    mmsegmentation: convolutions with their biases, 2 an element for affine norms, 1 for ReLUs and
    (of the input) for poolings. Products of attention, GELU and SiLU are nothing to it."""
    entry = table.get(name)
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Conv2d):
            total += output.numel() * (module.weight[0].numel() + (module.bias is not None))
        elif isinstance(module, nn.BatchNorm2d | nn.LayerNorm):
            total += 2 * output.numel()
        elif isinstance(module, nn.ReLU | nn.ReLU6):
            total += output.numel()
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            total += inputs[0].numel()

    with torch.device("meta"), torch.no_grad():
        model = entry.build().eval()
        for module in model.modules():
            module.register_forward_hook(count)
        model(torch.zeros(1, 3, *entry.size))
    return total


@pytest.mark.parametrize("name", SHAPES)
def test_flops_of_the_tables(name: str) -> None:
    """mmcv prints two digits; Tables 8 and 10 cut the second (0.98 is 0.9 there, 5.89 is 5.8)."""
    printed = table.get(name).published.macs_m
    assert printed is not None
    assert f"{mmcv_flops(name) / 1e9:.2f}"[:-1] == f"{printed / 1e3:.1f}"


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_of_the_tables(name: str) -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in table.get(name).build().parameters())
    if name in SEGMENTERS:  # Table 10 counts the auxiliary head: 3x3 to 256 channels, 150 classes
        dim = SHAPES[name]["backbone.stage3.1.norm.norm.weight"][0]
        with_auxiliary = count + 9 * dim * 256 + 2 * 256 + 257 * 150
        expected = table.get(name).published.params_m
        assert with_auxiliary / 1e6 == pytest.approx(expected, rel=0.02)
    assert count / 1e6 == pytest.approx(table.get(name).published.params_m, rel=0.05)


def test_the_auxiliary_head_of_a_checkpoint_is_left_out(tmp_path: Path) -> None:
    name = "emo_1m_pspnet"
    state = values_of(name) | {"auxiliary_head.conv_seg.bias": torch.zeros(150)}
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, tmp_path / "seg.pth")
    info = load_weights(table.get(name).build(), tmp_path / "seg.pth")
    assert any("1 tensors that only training uses" in note for note in info.notes)
    with pytest.raises(WeightsError, match="does not fit") as caught:
        load_weights(table.get("emo_2m_pspnet").build(), tmp_path / "seg.pth")
    assert caught.value.hint == "This checkpoint fits emo_1m_pspnet."


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


@pytest.mark.parametrize("name", ["emo_1m_pspnet", "emo_1m_ssdlite"])
@pytest.mark.parametrize("options", [{"output": "masks"}, {"num_classes": 0}])
def test_options_that_are_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"must be"):
        table.get(name).build(**options)
