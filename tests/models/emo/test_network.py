"""EMO against the official code: names and shapes of its checkpoints, and what it returns.

``data/emo_*.json`` are the official state dicts' keys and shapes, ``data/golden_emo.json`` sampled
outputs of the official code in float64 for the weights and the input of ``fill.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.models import table
from mobile_export.models.emo.network import EMO, emo_1m, merge_windows, partition_windows
from tests.models.fill import fill_input, fill_state_dict

DATA = Path(__file__).parents[1] / "data"
GOLDEN: dict[str, Any] = json.loads((DATA / "golden_emo.json").read_text())
NAMES = ("emo_1m", "emo_2m", "emo_5m", "emo_6m")


def shapes(name: str) -> dict[str, list[int]]:
    manifest: dict[str, list[int]] = json.loads((DATA / f"{name}.json").read_text())
    return manifest


def filled(name: str) -> nn.Module:
    module = table.get(name).build()
    values = fill_state_dict(shapes(name))
    module.load_state_dict({key: torch.from_numpy(value) for key, value in values.items()})
    return module.eval().double()


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_is_the_official_one(name: str) -> None:
    with torch.device("meta"):
        state = table.get(name).build().state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == shapes(name)
    assert list(state) == list(shapes(name)), "same order, too"


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_outputs_are_the_official_ones(name: str) -> None:
    golden = GOLDEN[name]
    with torch.no_grad():
        output = filled(name)(torch.from_numpy(fill_input(golden["input_shape"])).double())
    assert list(output.shape) == golden["output_shape"]
    sampled = output.flatten()[golden["indices"]]
    expected = torch.tensor(golden["values"], dtype=torch.float64)
    torch.testing.assert_close(sampled, expected, rtol=0, atol=1e-9)
    assert float(output.abs().mean()) == pytest.approx(golden["mean_abs"], abs=1e-9)
    assert float(output.abs().max()) == pytest.approx(golden["max_abs"], abs=1e-9)


@pytest.mark.parametrize("size", [(1, 1), (32, 32), (65, 97), (224, 96), (256, 256), (300, 31)])
def test_any_input_size(size: tuple[int, int]) -> None:
    module = emo_1m(num_classes=5).eval()
    with torch.no_grad():
        output = module(torch.randn(1, 3, *size))
        features = module.forward_features(torch.randn(1, 3, *size))
    assert output.shape == (1, 5)
    assert torch.isfinite(output).all()
    height, width = (-(-extent // 32) for extent in size)
    assert features.shape == (1, 168, height, width)


def test_windows_are_a_dilated_grid() -> None:
    """'b c (h1 n1) (w1 n2) -> (b n1 n2) c h1 w1', written out pixel by pixel."""
    image = torch.arange(2 * 3 * 14 * 21, dtype=torch.float32).reshape(2, 3, 14, 21)
    windows = partition_windows(image, 7)
    assert windows.shape == (2 * 2 * 3, 3, 7, 7)
    for b, row, column in [(0, 0, 0), (0, 1, 2), (1, 0, 1), (1, 1, 1)]:
        expected = image[b, :, row::2, column::3]
        torch.testing.assert_close(windows[(b * 2 + row) * 3 + column], expected)
    torch.testing.assert_close(merge_windows(windows, 14, 21), image)


def test_attention_block_against_attention_by_hand() -> None:
    """One window, one image: softmax(q k / sqrt d) by loops over heads and pixels."""
    torch.manual_seed(0)
    block: Any = emo_1m().stage3[1].eval().double()
    x = torch.randn(1, 80, 7, 7, dtype=torch.float64)
    heads, width = 4, 20
    with torch.no_grad():
        qk = nn.functional.conv2d(x, block.qk.conv.weight, block.qk.conv.bias).reshape(160, 49)
        mixed = torch.zeros(80, 49, dtype=torch.float64)
        pixels = x.reshape(80, 49)
        for head in range(heads):
            rows = slice(head * width, (head + 1) * width)
            q, k = qk[:80][rows], qk[80:][rows]
            for i in range(49):
                weights = torch.stack([q[:, i] @ k[:, j] for j in range(49)]) / width**0.5
                weights = weights.exp() / weights.exp().sum()
                mixed[rows, i] = sum(weights[j] * pixels[rows, j] for j in range(49))
        expected = block.v(mixed.reshape(1, 80, 7, 7))
        torch.testing.assert_close(block.attend(x, width), expected, rtol=1e-10, atol=1e-12)


def test_padded_pixels_take_part_and_are_cropped() -> None:
    torch.manual_seed(0)
    block: Any = emo_1m().stage3[1].eval()
    x = torch.randn(1, 80, 5, 6)
    with torch.no_grad():
        padded = block.attend(nn.functional.pad(x, (0, 1, 0, 2)), 20)
        torch.testing.assert_close(block.attend(x, 20), padded[:, :, :5, :6])


def test_drop_path_acts_in_training_only() -> None:
    torch.manual_seed(0)
    module = emo_1m(num_classes=4, drop_path_rate=0.9)
    plain = emo_1m(num_classes=4)
    plain.load_state_dict(module.state_dict())
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(module.eval()(x), plain.eval()(x))
    module.train()
    assert not torch.equal(module(x), module(x))
    module(x).sum().backward()
    assert all(p.grad is not None for p in module.head.parameters())


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts(channels: int) -> None:
    with torch.device("meta"):
        module = table.get("emo_1m").build(in_chans=channels).eval()
        assert module(torch.empty(1, channels, 64, 64)).shape == (1, 1000)


def test_refuses_no_classes() -> None:
    with pytest.raises(ValueError, match="num_classes is 0"):
        emo_1m(num_classes=0)


def test_captures_as_one_static_graph() -> None:
    module: EMO = emo_1m().eval()
    x = torch.randn(1, 3, 64, 64)
    program = torch.export.export(module, (x,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), module(x))
