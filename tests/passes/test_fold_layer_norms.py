"""Weights of layer norms move into the layers after them, exactly, or stay and say why."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from mobile_export.graph.program import Program
from mobile_export.models.emo.network import ChannelLayerNorm, InvertedResidualMobileBlock
from mobile_export.passes.fold_norms import fold_norms
from tests.passes.graphs import apply, ops, program_of, reasons


def norm(*shape: int) -> nn.LayerNorm:
    made = nn.LayerNorm(shape)
    nn.init.uniform_(made.weight, 0.5, 1.5)
    nn.init.normal_(made.bias)
    return made


def weights_left(program: Program) -> int:
    """Layer norms with weights."""
    norms = [n for n in program.exported.graph.nodes if "layer_norm" in str(n.target)]
    return sum(node.args[2] is not None or node.args[3] is not None for node in norms)


class Attention(nn.Module):
    """Softmax attention whose values are the normed tokens themselves."""

    def __init__(self, softmax: bool = True, dim: int = -1) -> None:
        super().__init__()
        self.norm = norm(8)
        self.qk = nn.Linear(8, 16)
        self.out = nn.Linear(8, 5)
        self.softmax, self.dim = softmax, dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        q, k = self.qk(y).reshape(1, 6, 2, 2, 4).permute(2, 0, 3, 1, 4).unbind(0)
        v = y.reshape(1, 6, 2, 4).transpose(1, 2)
        scores = q @ k.transpose(-2, -1)
        weights = scores.softmax(self.dim) if self.softmax else scores
        return self.out((weights @ v).transpose(1, 2).reshape(1, 6, 8))


class Two(nn.Module):
    """A norm whose result has another user."""

    def __init__(self, other: nn.Module) -> None:
        super().__init__()
        self.norm, self.layer, self.other = norm(8), nn.Linear(8, 8), other

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(x)
        return self.layer(y) + self.other(y)


def emo_block() -> nn.Module:
    block = InvertedResidualMobileBlock(
        8, 8, expansion=2, kernel=3, norm="layer", activation="gelu", head_dim=4, window=3
    )
    nn.init.uniform_(block.norm.norm.weight, 0.5, 1.5)
    nn.init.normal_(block.norm.norm.bias)
    return block.eval()


def channels(last: nn.Module) -> nn.Module:
    made = ChannelLayerNorm(4)
    made.norm = norm(4)
    return nn.Sequential(made, last)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (nn.Sequential(norm(5), nn.Linear(5, 3)), (1, 4, 5)),
        (nn.Sequential(norm(5), nn.Linear(5, 3, bias=False)), (1, 4, 5)),
        (nn.Sequential(norm(4, 5), nn.Flatten(), nn.Linear(20, 3)), (1, 4, 5)),
        (channels(nn.Conv2d(4, 6, 1)), (1, 4, 5, 5)),
        (channels(nn.Conv2d(4, 6, 3)), (1, 4, 5, 5)),
        (Two(nn.Linear(8, 8)), (1, 3, 8)),
        (Attention(), (1, 6, 8)),
        (emo_block(), (1, 8, 6, 6)),
    ],
)
def test_weights_move_into_the_layers_after(net: nn.Module, shape: tuple[int, ...]) -> None:
    result = apply(fold_norms, net, shape)
    assert ops(result.program)["layer_norm"] == 1
    assert weights_left(result.program) == 0
    assert not result.refusals


@pytest.mark.parametrize(
    ("net", "shape", "reason"),
    [
        (channels(nn.Conv2d(4, 6, 3, padding=1)), (1, 4, 5, 5), "pads with zeros"),
        (nn.Sequential(norm(5), nn.GELU(), nn.Linear(5, 3)), (1, 4, 5), "gelu"),
        (norm(5), (1, 4, 5), "the program returns it"),
        (Two(nn.Identity()), (1, 3, 8), "add"),
        (Attention(softmax=False), (1, 6, 8), "does not sum to one"),
        (Attention(dim=-2), (1, 6, 8), "does not sum to one"),
        (emo_block(), (1, 8, 5, 6), "pad"),
    ],
)
def test_where_they_cannot_the_reason_is_given(
    net: nn.Module, shape: tuple[int, ...], reason: str
) -> None:
    result = apply(fold_norms, net, shape)
    assert weights_left(result.program) == 1
    assert reason in reasons(result)


def test_weights_that_are_not_finite_stay() -> None:
    net = nn.Sequential(norm(5), nn.Linear(5, 3))
    with torch.no_grad():
        net[0].weight[1] = float("nan")
    result = fold_norms(_captured(net))
    assert "NaN or infinity" in reasons(result)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_another_type_stay(dtype: torch.dtype) -> None:
    net = nn.Sequential(norm(5), nn.Linear(5, 3)).to(dtype)
    result = fold_norms(_captured(net, dtype))
    assert not result.changes
    assert "folding would round them" in reasons(result)


def test_weights_computed_from_the_image_stay() -> None:
    class Computed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.layer_norm(x, (5,), x[0, 0], x[0, 1])

    result = apply(fold_norms, Computed(), (1, 4, 5))
    assert "computed from the input" in reasons(result)


def _captured(net: nn.Module, dtype: torch.dtype = torch.float32) -> Program:
    example = torch.zeros(1, 4, 5, dtype=dtype)
    exported = torch.export.export(net, (example,), strict=False)
    return replace(program_of(nn.Identity(), (1, 4, 5)), exported=exported)
