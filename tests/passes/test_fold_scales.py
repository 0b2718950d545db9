"""Stored factors and offsets fold into layers, through what only rearranges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.passes.fold_scales import fold_scales
from tests.passes.graphs import apply, ops, reasons

IMAGE = (1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.point = nn.Conv2d(4, 4, 1)
        self.qkv = nn.Linear(6, 18)
        self.norm = nn.LayerNorm(6)
        self.gamma = nn.Parameter(torch.linspace(0.5, 1.5, 4).reshape(4, 1, 1))
        self.table = nn.Parameter(torch.randn(6, 6))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def _attention(m: Net, x: torch.Tensor) -> torch.Tensor:
    q, k, v = m.qkv(x).chunk(3, -1)
    return (q @ k.transpose(-2, -1) * 6**-0.5).softmax(-1) @ v


FOLDED: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "layer scale": lambda m, x: m.gamma * m.conv(x),
    "division": lambda m, x: m.conv(x) / 3,
    "offset": lambda m, x: m.conv(x) + m.gamma,
    "offset from": lambda m, x: m.gamma - m.conv(x),
    "negative": lambda m, x: -m.conv(x),
    "alpha": lambda m, x: torch.sub(m.conv(x), m.gamma, alpha=2),
    "mean and std of the image": lambda m, x: m.point((x - m.gamma) / 0.25),
    "std before padding": lambda m, x: m.conv(x * 2),
    "attention": _attention,
    "after layer norm": lambda m, x: m.norm(x) * 2 + 1,
    "two in a row": lambda m, x: m.conv(x) * m.gamma * 2,
    "one": lambda m, x: m.conv(x.relu() * 1 + 0),
}


@pytest.mark.parametrize("name", FOLDED)
def test_it_folds(name: str) -> None:
    found = ops(apply(fold_scales, Net(FOLDED[name]), IMAGE).program)
    assert not {"mul", "div", "add", "sub", "neg", "rsub"} & set(found)


REFUSED: dict[str, tuple[Callable[[Net, torch.Tensor], torch.Tensor], str]] = {
    "mean before padding": (lambda m, x: m.conv(x - m.gamma), "pads with zeros"),
    "offset of a product": (
        lambda m, x: (x @ m.conv(x) + 1).softmax(-1),
        "a shift cannot move",
    ),
    "a square of matrices": (lambda m, x: (x @ x * 2).exp(), "squares it"),
    "a factor per pixel": (lambda m, x: m.conv(x) * m.table, "other axes than the channels"),
    "between two activations": (lambda m, x: (x.relu() * 2).exp(), "not linear"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name: str) -> None:
    function, reason = REFUSED[name]
    result = apply(fold_scales, Net(function), IMAGE)
    assert result.changes == ()
    assert reason in reasons(result)


PADDED: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "mean and std": lambda m, x: m.conv((x - m.gamma) / 0.25),
    "factor and offset": lambda m, x: m.conv(x * m.gamma - 1),
    "from 0 to 255": lambda m, x: m.conv(x / 127.5 - 1),
    "three in a row": lambda m, x: m.conv((x / 255 - m.gamma) / 0.25),
}


@pytest.mark.parametrize("name", PADDED)
def test_only_the_offset_stays_before_zero_padding(name: str) -> None:
    result = apply(fold_scales, Net(PADDED[name]), IMAGE)
    found = ops(result.program)
    assert found["add"] + found["sub"] == 1
    assert not {"mul", "div"} & set(found)
    assert "pads with zeros (padding [1, 1]) after a shift" in reasons(result)


def test_a_factor_of_zero_stays_before_its_offset() -> None:
    module = Net(lambda m, x: m.conv(x * m.gamma + 1))
    with torch.no_grad():
        module.gamma[2] = 0
    assert apply(fold_scales, module, IMAGE).changes == ()


def test_normalisation_of_torchvision_inside_a_model() -> None:
    """It makes its tensors of Python numbers, in the dtype of the image."""
    from torchvision.transforms.v2.functional import normalize

    mean, std = [0.485, 0.456, 0.406, 0.5], [0.229, 0.224, 0.225, 0.25]
    module = Net(lambda m, x: m.conv(normalize(x, mean, std)).exp())
    program = mobile_export.prepare(module, torch.zeros(IMAGE))
    assert ops(program) == {"sub": 1, "conv2d": 1, "exp": 1}


def _used_twice(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = x.relu() * m.gamma + 0.5
    return m.point(y) + y + m.conv(y)


def test_layers_beside_other_users() -> None:
    """The pointwise convolution takes it; the sum and the padded convolution use it as it was."""
    result = apply(fold_scales, Net(_used_twice), IMAGE)
    found = {node.name: node for node in result.program.exported.graph.nodes}
    read = {name: node.args[0].name for name, node in found.items() if name.startswith("conv2d")}
    assert read == {"conv2d": "relu", "conv2d_1": "add"}
    assert any("what else uses it is left" in change.what for change in result.changes)
    assert any("is not linear" in refusal.reason for refusal in result.refusals)
