"""What the official code says of EMO's segmenters and detectors.

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

from mobile_export.models import table
from tests.models.fill import fill_input, fill_state_dict

DATA = Path(__file__).parents[1] / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_emo_heads.json").read_text())
SHAPES: dict[str, dict[str, list[int]]] = json.loads((DATA / "emo_heads.json").read_text())
SEGMENTERS = [name for name in SHAPES if not name.endswith("ssdlite")]
DETECTORS = [name for name in SHAPES if name.endswith("ssdlite")]


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


def check_state_dict(name: str) -> None:
    with torch.device("meta"):
        state = table.get(name).build().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == SHAPES[name]


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
