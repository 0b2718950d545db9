"""One functional spelling, without changing what is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mobile_export
from mobile_export.passes.normalize_ops import normalize_ops
from tests.passes.graphs import apply, ops, program_of, reasons

IMAGE = (1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


def _view_written(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    y[:, 1:3].mul_(2)
    return y


def _view_read(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    part = y[:, :2]
    y.add_(1)
    return part * 3


def _used_before(x: torch.Tensor) -> torch.Tensor:
    y = x.exp()
    z = y.sin()
    y += z
    return y * z


def _assigned(x: torch.Tensor) -> torch.Tensor:
    y = torch.zeros(1, 4, 6, 6)
    y[:, :2] = x[:, 2:]
    return y


def _input_written(x: torch.Tensor) -> torch.Tensor:
    x = x + 0
    return F.relu_(x) + x


CASES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], set[str]]] = {
    "in place": (lambda x: F.silu(x.exp(), inplace=True).add_(1), {"exp", "silu", "add"}),
    "in place, used before": (_used_before, {"exp", "sin", "add", "mul"}),
    "in place on a result": (_input_written, {"add", "relu"}),
    "dropout": (lambda x: F.dropout(x.exp(), 0.5, training=False), {"exp"}),
    "copies": (lambda x: x.exp().contiguous().clone().detach().float(), {"exp"}),
    "flatten": (lambda x: x.flatten(1).unflatten(1, (2, -1)).unsqueeze(0), {"reshape"}),
    "view": (lambda x: x.view(4, 6, -1).view_as(x).squeeze(0), {"reshape"}),
    "transpose": (lambda x: x.transpose(-1, 1).mT.movedim(0, 2), {"permute"}),
    "expand": (lambda x: x[:, :1].expand_as(x), {"slice", "expand"}),
    "pool to 1": (lambda x: F.adaptive_avg_pool2d(x, 1), {"mean"}),
    "pool to a divisor": (lambda x: F.adaptive_avg_pool2d(x, (3, 2)), {"avg_pool2d"}),
    "pool to itself": (lambda x: F.adaptive_avg_pool2d(x.exp(), 6), {"exp"}),
    "same padding": (lambda x: F.conv2d(x, torch.ones(4, 4, 3, 3), padding="same"), set()),
    "write through a view": (_view_written, set()),
    "view of what is written": (_view_read, set()),
    "assignment": (_assigned, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_it_normalizes(name: str) -> None:
    function, expected = CASES[name]
    result = apply(normalize_ops, Net(function), IMAGE, normalize=False)
    found = set(ops(result.program))
    assert not any(op.endswith("_") for op in found)
    if expected:
        assert found == expected


class Layers(nn.Module):
    """What decomposes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3)
        self.up = nn.ConvTranspose2d(4, 4, 2, 2)
        self.bn = nn.BatchNorm2d(4)
        self.ln = nn.LayerNorm(8)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln(self.up(self.bn(self.conv(x))))
        return (self.linear(y[0, 0]) @ torch.ones(5, 5)).softmax(-1)


def test_decomposed_layers_are_whole_again() -> None:
    from dataclasses import replace

    module = Layers().eval()
    program = program_of(module, IMAGE)
    decomposed = replace(program, exported=program.exported.run_decompositions())
    found = set(ops(normalize_ops(decomposed).program))
    assert {"conv2d", "conv_transpose2d", "batch_norm", "layer_norm", "linear"} <= found
    assert "softmax" in found


def test_random_dropout_is_refused() -> None:
    module = Net(lambda x: F.dropout(x, 0.5, training=True))
    result = normalize_ops(program_of(module, IMAGE))
    assert "random" in reasons(result)


@pytest.mark.parametrize("mask", [None, (5, 5), (3, 5, 5), (1, 2, 1, 5, 5)])
def test_attention_of_more_than_four_axes(mask: tuple[int, ...] | None) -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            heads = x.reshape(1, 2, 3, 5, 4)
            bias = None if mask is None else torch.linspace(-1, 1, 150)[: math.prod(mask)]
            given = None if bias is None else bias.reshape(mask)
            return F.scaled_dot_product_attention(heads, heads * 2, heads, attn_mask=given)

    program = apply(normalize_ops, Attention(), (1, 6, 5, 4)).program
    ranks = {
        node.meta["val"].ndim
        for node in program.exported.graph.nodes
        if "attention" in str(node.target)
    }
    assert ranks == {4}


EINSUMS = (
    "bnd,bmd->bnm",
    "bnd,bmd->nbm",
    "bnd,dk->bnk",
    "bnd,bmd->bmn",
    "bnd,bnd->bn",
    "bnd,bmd->bndm",
    "bnd,kq->kbnqd",
    "b n d, d k -> k b n",
)


@pytest.mark.parametrize("equation", EINSUMS)
def test_an_einsum_of_two_is_a_product(equation: str) -> None:
    second = equation.replace(" ", "").split(",")[1].split("->")[0]

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            other = x.exp() if second[0] == "b" else x[0].cos()[:, : 3 if second == "kq" else 5].T
            if "m" in second:
                other = other[:, :3]
            return torch.einsum(equation, x, other)

    found = ops(apply(normalize_ops, Net(), (2, 4, 5), normalize=False).program)
    assert "einsum" not in found
    assert found["matmul"] == 1


@pytest.mark.parametrize("equation", ["bnd,bmd->bn", "bii,bnd->bnd", "bnd->bdn", "...d,bmd->...m"])
def test_other_einsums_stay(equation: str) -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            operands = [x] if "," not in equation else [x, x.exp()]
            return torch.einsum(equation, *operands)

    found = ops(apply(normalize_ops, Net(), (4, 4, 4), normalize=False).program)
    assert found["einsum"] == 1


class _Selected(nn.Module):
    def __init__(self, *indices: int, twice: bool = False) -> None:
        super().__init__()
        self.indices, self.twice = indices, twice

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x.exp()
        pieces = [y[:, index] * (index + 5) for index in self.indices]
        return torch.stack([*pieces, y.sum(1)] if self.twice else pieces)


@pytest.mark.parametrize("indices", [(0, 1, 2), (2, 0, 1), (-1, 0, 1)])
def test_selections_of_all_are_one_split(indices: tuple[int, ...]) -> None:
    module = _Selected(*indices)
    found = ops(apply(normalize_ops, module, (2, 3, 5), normalize=False).program)
    assert (found["unbind"], found["select"]) == (1, 0)


@pytest.mark.parametrize(
    "module",
    [_Selected(0, 1), _Selected(0, 1, 2, 2), _Selected(0, 1, 2, twice=True)],
    ids=["not all", "one twice", "other users"],
)
def test_other_selections_stay(module: nn.Module) -> None:
    assert "unbind" not in ops(apply(normalize_ops, module, (2, 3, 5), normalize=False).program)


def test_a_product_with_a_stored_matrix_is_a_layer() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(5, 7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    result = apply(normalize_ops, Net(), (2, 4, 5), normalize=False)
    assert ops(result.program) == {"linear": 1}


def test_multi_head_attention_is_three_layers() -> None:
    """nn.MultiheadAttention selects query, key and value from one tensor."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            return self.attention(tokens, tokens, tokens)[0]

    found = ops(mobile_export.prepare(Net(), torch.zeros(1, 8, 6, 6)))
    assert (found["linear"], found["select"], found["unbind"], found["mul"]) == (4, 0, 0, 0)


def test_a_channel_shuffle_is_a_permute() -> None:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.channel_shuffle(x, 3)

    found = ops(apply(normalize_ops, Net(), (1, 12, 4, 5), normalize=False).program)
    assert found == {"reshape": 2, "permute": 1}


@pytest.mark.parametrize(
    "pool",
    [
        lambda x: F.max_pool1d(x.flatten(2), 2),
        lambda x: F.max_pool2d(x, 2),
        lambda x: F.max_pool2d(x, (3, 2), padding=1, ceil_mode=True),
        lambda x: F.max_pool3d(x.reshape(1, 2, 2, 6, 6), 2),
        lambda x: F.max_pool2d(x, 2, return_indices=True)[0],
    ],
)
def test_a_max_pool_says_its_stride(pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
    net = Net(lambda x: pool(x.exp()))
    program = apply(normalize_ops, net, IMAGE, normalize=False).program  # compared in float64
    (call,) = (node for node in program.exported.graph.nodes if "max_pool" in str(node.target))
    assert list(call.args[2]) == list(call.args[1]), "PyTorch: the default stride is kernel_size"


def test_every_format_has_max_pools_without_a_stride(tmp_path: Path) -> None:
    def forward(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return F.max_pool2d(x.exp(), 2), F.max_pool1d(x.exp().flatten(2), 2)

    report = mobile_export.export(Net(forward), None, tmp_path, name="p", size=8, channels=4)
    assert not report.failures
    assert all(artifact.parity.passed for artifact in report.artifacts)


def test_a_written_input_is_no_output() -> None:
    """What `run_decompositions` returns for the caller's tensor, which Core ML's converter does not
    take."""

    class Writes(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = x.mul_(2).clamp_(-1, 1) * 3
            y[:, 1:] += 1
            return y, x

    result = apply(normalize_ops, Writes().eval(), (1, 3, 4, 4), normalize=False)
    kinds = [spec.kind.name for spec in result.program.exported.graph_signature.output_specs]
    assert kinds == ["USER_OUTPUT", "USER_OUTPUT"]
