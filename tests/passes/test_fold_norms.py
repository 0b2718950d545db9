"""Batch norms fold into their neighbours, exactly, or stay and say why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from mobile_export.passes import EXACT
from mobile_export.passes.fold_norms import fold_norms
from mobile_export.passes.normalize_ops import normalize_ops
from tests.passes.graphs import apply, busy, error_of, ops, program_of, reasons


class Then(nn.Module):
    """``function`` after ``first``, before ``second``."""

    def __init__(
        self,
        first: nn.Module,
        function: Callable[[torch.Tensor], torch.Tensor],
        second: nn.Module,
    ) -> None:
        super().__init__()
        self.first = first
        self.function = function
        self.second = second

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.function(self.first(x)))


IMAGE = (1, 4, 9, 9)

FOLDED = {
    "conv": (nn.Sequential(nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6)), IMAGE),
    "bias": (nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)), IMAGE),
    "grouped": (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)), IMAGE),
    "depthwise": (nn.Sequential(nn.Conv2d(4, 4, 3, 1, 1, groups=4), nn.BatchNorm2d(4)), IMAGE),
    "not affine": (nn.Sequential(nn.Conv2d(4, 6, 1), nn.BatchNorm2d(6, affine=False)), IMAGE),
    "same": (nn.Sequential(nn.Conv2d(4, 6, 3, padding="same"), nn.BatchNorm2d(6)), IMAGE),
    "1d": (nn.Sequential(nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6)), (1, 4, 9)),
    "3d": (nn.Sequential(nn.Conv3d(2, 3, 3), nn.BatchNorm3d(3)), (1, 2, 5, 5, 5)),
    "transposed": (nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2), nn.BatchNorm2d(6)), IMAGE),
    "transposed groups": (
        nn.Sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm2d(6)),
        IMAGE,
    ),
    "linear": (nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7)), (1, 5)),
    "two norms": (nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)), IMAGE),
    "tokens": (
        Then(nn.Linear(5, 8), lambda x: x.flatten(0, 1), nn.BatchNorm1d(8)),
        (1, 6, 5),
    ),
    "transposed tokens": (
        Then(nn.Linear(5, 8), lambda x: x.transpose(1, 2), nn.BatchNorm1d(8)),
        (1, 6, 5),
    ),
    "split heads": (
        Then(nn.Conv2d(4, 8, 1), lambda x: x.reshape(1, 2, 4, 81), nn.BatchNorm2d(2)),
        IMAGE,
    ),
    "before 1x1": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 1, 2)), IMAGE),
    "before unpadded": (nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 8, 3, groups=2)), IMAGE),
    "before linear": (nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 3, bias=False)), (1, 5)),
    "before reflected borders": (
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")),
        IMAGE,
    ),
    "before repeated borders": (
        nn.Sequential(nn.BatchNorm2d(4), nn.ReplicationPad2d((1, 0, 2, 1)), nn.Conv2d(4, 6, 3)),
        IMAGE,
    ),
    "before circular borders": (
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.CircularPad2d(1), nn.BatchNorm2d(4)),
        IMAGE,
    ),
    "behind a channel shuffle": (
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.ChannelShuffle(3), nn.BatchNorm2d(6)),
        IMAGE,
    ),
    "behind a pixel shuffle": (
        nn.Sequential(nn.Conv2d(4, 8, 1), nn.PixelShuffle(2), nn.BatchNorm2d(2)),
        IMAGE,
    ),
    "before pooled head": (
        Then(nn.BatchNorm2d(4), lambda x: x.mean((2, 3)), nn.Linear(4, 3)),
        IMAGE,
    ),
    "before flattened head": (
        Then(nn.BatchNorm2d(4), lambda x: x.flatten(1), nn.Linear(324, 3)),
        IMAGE,
    ),
    "after resize": (
        Then(
            nn.Conv2d(4, 4, 1),
            lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
            nn.BatchNorm2d(4),
        ),
        IMAGE,
    ),
}


@pytest.mark.parametrize("name", FOLDED)
def test_it_folds(name: str) -> None:
    module, shape = FOLDED[name]
    result = apply(fold_norms, busy(module), shape)
    assert ops(result.program)["batch_norm"] == 0
    assert result.refusals == ()


class Net(nn.Module):
    """A few layers for graphs that are no chain."""

    def __init__(self, forward: Callable[[Net, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.other = nn.Conv2d(4, 4, 1)
        self.wide = nn.Conv2d(4, 8, 1)
        self.bn = nn.BatchNorm2d(4)
        self.bn2 = nn.BatchNorm2d(4)
        self.bn8 = nn.BatchNorm2d(8)
        self.run = forward

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def _two_uses(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.conv(x)
    return m.bn(y).relu() + y.relu()


def _several_consumers(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.bn(x.relu())
    return m.other(y) * nn.functional.conv2d(y, m.other.weight).exp()


def _pieces(m: Net, x: torch.Tensor) -> torch.Tensor:
    first, second = m.wide(x).chunk(2, 1)
    return m.bn(first) * m.bn2(second).relu()


def _twice(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.other(x)
    return m.bn8(torch.cat([y, y], 1)).relu()


def _squared(m: Net, x: torch.Tensor) -> torch.Tensor:
    y = m.other(x)
    return m.bn(y @ y).relu()


def _attended(m: Net, x: torch.Tensor, *, softmax: bool = True) -> torch.Tensor:
    """A norm of attended values, (B, C, H, W), as in BoTNet."""
    q, v = m.conv(x).flatten(2), m.other(x).flatten(2)
    scores = q.transpose(1, 2) @ q
    weights = scores.softmax(-1) if softmax else scores
    return m.bn((v @ weights.transpose(1, 2)).reshape(x.shape)).relu()


def _kernels(m: Net, x: torch.Tensor) -> torch.Tensor:
    """A norm of concatenated convolutions, as in MixNet, and of one of them again."""
    y = m.bn8(torch.cat([m.conv(x), m.other(x)], 1)).relu()
    return y[:, :4] + m.bn(torch.cat([m.other(x + 1), m.conv(x.relu())], 2)).sum(2, True)


GRAPHS: dict[str, Callable[[Net, torch.Tensor], torch.Tensor]] = {
    "a weight used twice": lambda m, x: m.bn(m.conv(x)) * m.bn2(m.conv(x + 1)),
    "a sum": lambda m, x: m.bn(m.conv(x) + m.other(x.relu())),
    "several consumers": _several_consumers,
    "pieces of a split": _pieces,
    "attended values": _attended,
    "concatenated": _kernels,
}


@pytest.mark.parametrize("name", GRAPHS)
def test_it_folds_in_a_graph(name: str) -> None:
    result = apply(fold_norms, busy(Net(GRAPHS[name])), IMAGE)
    assert ops(result.program)["batch_norm"] == 0


REFUSED = {
    "zero-padded convolution after a shift": (
        nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)),
        r"pads with zeros \(padding \[1, 1\]\) after a shift of .* in channel \d",
    ),
    "constant borders after a shift": (
        nn.Sequential(nn.BatchNorm2d(4), nn.ConstantPad2d(1, 0.5), nn.Conv2d(4, 4, 3)),
        r"pad.* is not linear",
    ),
    "transposed convolution after": (
        nn.Sequential(nn.BatchNorm2d(4), nn.ConvTranspose2d(4, 4, 3)),
        "its border sums fewer terms",
    ),
    "ops that are not linear on both sides": (
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()),
        r"relu.* is not linear.*; after: .*relu",
    ),
    "another consumer": (Net(_two_uses), "before it has other users"),
    "values of weights that do not sum to one": (
        Net(lambda m, x: _attended(m, x, softmax=False)),
        "does not sum to one",
    ),
    "concatenated with an image": (
        Net(lambda m, x: m.bn8(torch.cat([m.conv(x), x.relu()], 1)).relu()),
        "not linear in what comes before",
    ),
    "concatenated with itself": (Net(_twice), "repeats a tensor"),
    "a square of matrices": (Net(_squared), "squares it"),
    "returned and used": (
        Net(lambda m, x: (m.bn(x.relu()), m.other(m.bn(x.relu())))),  # type: ignore[arg-type,return-value]
        "before it has other users|the program returns it|not linear",
    ),
    "no running statistics": (
        nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, track_running_stats=False)),
        "statistics of the image",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_refuses(name: str) -> None:
    module, reason = REFUSED[name]
    result = apply(fold_norms, busy(module), IMAGE)
    assert ops(result.program)["batch_norm"] >= 1
    assert re.search(reason, reasons(result), re.S)


class Half(nn.Module):
    """A batch norm that computes in float16."""

    def __init__(self) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(4).half()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(x.half()).float()


def test_half_precision_is_refused() -> None:
    result = fold_norms(normalize_ops(program_of(Half().eval(), IMAGE)).program)
    assert result.changes == ()
    assert "float16" in reasons(result)


def test_training_mode_is_refused() -> None:
    module = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)).train()
    result = fold_norms(normalize_ops(program_of(module, IMAGE)).program)
    assert result.changes == ()


@pytest.mark.parametrize(
    ("statistic", "value", "reason"),
    [
        ("running_mean", float("nan"), "NaN or infinity"),
        ("running_var", float("inf"), "NaN or infinity"),
        ("running_var", 0.0, "is 0 in channel 2"),
        ("running_var", -1.0, "is -1 in channel 2"),
        ("running_mean", 3e38, "shift is not a finite float32"),
    ],
)
def test_bad_statistics_are_refused(statistic: str, value: float, reason: str) -> None:
    module = busy(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, eps=0.0)))
    module[1].running_var.fill_(0.01)
    getattr(module[1], statistic)[2] = value
    result = fold_norms(normalize_ops(program_of(module, IMAGE)).program)
    assert result.changes == ()
    assert reason in reasons(result)


def test_tiny_variance_is_folded_exactly() -> None:
    module = busy(nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4, eps=1e-12)))
    module[1].running_var.fill_(1e-12)
    assert ops(apply(fold_norms, module, IMAGE).program)["batch_norm"] == 0


def test_decomposed_norms_fold() -> None:
    module = busy(nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6)))
    program = program_of(module, IMAGE)
    exported = program.exported.run_decompositions()
    assert "_native_batch_norm_legit_no_training" in str(exported.graph)
    result = fold_norms(normalize_ops(replace(program, exported=exported)).program)
    assert ops(result.program) == {"conv2d": 1}
    assert error_of(result.program, module) <= EXACT
