"""Norms by hand, in forms that float16 can hold.

The oracle is eager PyTorch in float64, by `tests.passes.graphs.apply`. What float16 can hold is
judged by running the rewritten graph in float16 in eager PyTorch, every operation rounded, where
the original overflows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export import api
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.passes.guard_norms import guard_norms
from tests.passes.graphs import apply, ops

SHAPE = (1, 8, 6, 5)
Norm = Callable[[torch.Tensor], torch.Tensor]


def centred(x: torch.Tensor, axes: int | tuple[int, ...]) -> torch.Tensor:
    return x - x.mean(axes, keepdim=True)


def grouped(x: torch.Tensor) -> torch.Tensor:
    y = x.reshape(1, 4, -1)
    variance = centred(y, -1).square().mean(-1, keepdim=True)
    return (centred(y, -1) / (variance + 1e-5).sqrt()).reshape(x.shape)


def shared(x: torch.Tensor) -> torch.Tensor:
    """ConvNeXt's LayerNorm2d."""
    c = x - x.mean(1, keepdim=True)
    return c / torch.sqrt(c.pow(2).mean(1, keepdim=True) + 1e-6)


SCALED: dict[str, Norm] = {
    "layer norm of channels": shared,
    "twice centred": lambda x: centred(x, 1) * (centred(x, 1) ** 2).mean(1, True).rsqrt(),
    "var": lambda x: centred(x, 1) / (1e-6 + x.var(1, keepdim=True, unbiased=False)).sqrt(),
    "var, unbiased": lambda x: centred(x, 1) * torch.rsqrt(x.var(1, keepdim=True) + 1e-6),
    "std": lambda x: centred(x, 1) / (x.std(1, keepdim=True) + 1e-6),
    "std of all": lambda x: centred(x, (0, 1, 2, 3)) / x.std(),
    "moments": lambda x: centred(x, 1) / ((x * x).mean(1, True) - x.mean(1, True) ** 2 + 1).sqrt(),
    "rms": lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-6),
    "rms, x * x": lambda x: x / torch.sqrt((x * x).mean(1, keepdim=True) + 1e-6),
    "rms, last axis, a power": lambda x: x * (x.square().mean(-1, keepdim=True) + 1e-6) ** -0.5,
    "rms, weight in between": lambda x: x * (x.pow(2).mean(1, True).rsqrt() * torch.ones(8, 1, 1)),
    "rms without the axis": lambda x: x / (x.pow(2).mean(1) + 1e-6).sqrt().unsqueeze(1),
    "l2": lambda x: x / (x.pow(2).sum(1, keepdim=True) + 1e-6).sqrt(),
    "l2, bounded": lambda x: x / x.pow(2).sum(1, keepdim=True).clamp(min=1e-6).sqrt(),
    "l2, bounded behind": lambda x: x / x.pow(2).sum(1, keepdim=True).sqrt().clamp_min(1e-3),
    "a sum divided": lambda x: x * ((x**2).sum((2, 3), True) / 30 + 1e-5).rsqrt(),
    "nn.RMSNorm": lambda x: F.rms_norm(x, (6, 5)),
    "nn.RMSNorm with epsilon": lambda x: F.rms_norm(x, (5,), torch.linspace(0.5, 2, 5), 1e-3),
}
WHOLE: dict[str, Norm] = {
    "all": lambda x: (
        centred(x, (1, 2, 3)) / (centred(x, (1, 2, 3)).pow(2).mean((1, 2, 3), True) + 1e-5).sqrt()
    ),
    "spatial, unbiased": lambda x: centred(x, (2, 3)) / (x.var((2, 3), keepdim=True) + 1e-5).sqrt(),
    "groups": grouped,
    "a power": lambda x: centred(x, -1) * ((centred(x, -1) ** 2).mean(-1, True) + 1e-6) ** -0.5,
    "nn.GroupNorm": lambda x: F.group_norm(x, 2, torch.linspace(0.5, 2, 8), torch.ones(8)),
    "nn.GroupNorm, one group": lambda x: F.group_norm(x, 1),
}
LEFT: dict[str, Norm] = {
    "a root of something else": lambda x: (x.abs() + 1).sqrt(),
    "another power": lambda x: x.pow(2).mean(1, keepdim=True) ** 1.5,
    "a mean of cubes": lambda x: (x.pow(3).mean(1, keepdim=True).abs() + 1).sqrt(),
    "less than zero added": lambda x: (x.pow(2).mean(1, keepdim=True) - 1e-6).abs().sqrt(),
    "two means": lambda x: ((x * x).mean(1, True) - x.mean(2, True) ** 2 + 9).sqrt(),
    "moments of two axes": lambda x: ((x * x).mean(1, True) - x.mean((1, 2), True) ** 2 + 9).sqrt(),
}


class Of(nn.Module):
    def __init__(self, function: Norm, scale: float = 1.0) -> None:
        super().__init__()
        self.function, self.scale = function, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x * self.scale)


class InFloat16(torch.fx.Interpreter):
    """Every result rounded to float16; layer norms, whose sums runtimes keep in float32, at their
    end. An AssertionError names one that overflows."""

    def run_node(self, n: torch.fx.Node) -> object:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and result.is_floating_point():
            result = result.half().float()
            assert result.isfinite().all(), f"{n.name} overflows"
        return result


def in_float16(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    graph = module if isinstance(module, torch.fx.GraphModule) else torch.fx.symbolic_trace(module)
    with torch.no_grad():
        result = InFloat16(graph).run(x)
    return result[0] if isinstance(result, tuple) else result  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("scale", [1.0, 3000.0, 1e-3])
def test_roots_of_squares_are_scaled(name: str, scale: float) -> None:
    module = Of(SCALED[name], scale).eval()
    result = apply(guard_norms, module, SHAPE)
    assert "scaled before it is squared" in {change.what for change in result.changes}
    if scale > 1:
        x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
        exact = run_float64(double_copy(module), x)
        got = in_float16(result.program.in_float32().module(), x)
        assert float((got - exact).abs().max()) <= 5e-3 * float(exact.abs().max())


@pytest.mark.parametrize("axes", [(2, 3), (0, 1, 2, 3)])
def test_a_variance_has_no_square_that_overflows(axes: tuple[int, ...]) -> None:
    """One value of 600 among small ones: its square is beyond float16, the variance is not."""
    module = Of(lambda x: x.var(axes)).eval()
    x = torch.randn((1, 2, 40, 40), generator=torch.Generator().manual_seed(1))
    x[..., 3, 5] = 600.0
    exact = run_float64(double_copy(module), x)
    result = apply(guard_norms, module, tuple(x.shape))
    assert "var" not in ops(result.program)
    got = in_float16(result.program.in_float32().module(), x)
    assert float(((got - exact).abs() / exact).max()) < 4e-3


def test_the_originals_overflow() -> None:
    """So that the test above says something."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    with pytest.raises(AssertionError, match="overflows"):
        in_float16(Of(shared, 3000.0), x)


@pytest.mark.parametrize("name", WHOLE)
def test_layer_norms_along_the_last_axes_are_whole(name: str) -> None:
    result = apply(guard_norms, Of(WHOLE[name]).eval(), SHAPE)
    found = ops(result.program)
    assert found["layer_norm"] == 1
    assert not {"sqrt", "rsqrt", "pow", "square", "var", "group_norm"} & set(found)


@pytest.mark.parametrize("name", LEFT)
def test_everything_else_is_left(name: str) -> None:
    assert apply(guard_norms, Of(LEFT[name]).eval(), SHAPE).changes == ()


def test_where_nothing_is_centred_the_root_of_zero_is_zero() -> None:
    module = Of(SCALED["rms"]).eval()
    program = apply(guard_norms, module, SHAPE).program.in_float32()
    assert torch.equal(program.module()(torch.zeros(SHAPE)), torch.zeros(SHAPE))


class Net(nn.Module):
    """ConvNeXt issue 80, coremltools issues 1380 and 2821: activations around 1000 and a norm."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.heads = nn.ModuleList(nn.Conv2d(8, 4, 1) for _ in range(5))
        self.groups, self.rms = nn.GroupNorm(2, 8), nn.RMSNorm(8)
        with torch.no_grad():
            self.stem.weight.mul_(800)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.stem(x)
        rms = self.rms(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        deviation = centred(y, 1) / (y.std(1, keepdim=True) + 1e-6)
        norms = (shared(y), deviation, self.groups(y), rms, WHOLE["all"](y))
        return tuple(
            F.gelu(head(norm)).mean((2, 3)) for head, norm in zip(self.heads, norms, strict=True)
        )


def test_core_ml_in_float16(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    report = api.export(Net(), "coreml", size=16, out_dir=tmp_path)
    (artifact,) = report.artifacts
    assert (artifact.precision, artifact.parity.status) == ("fp16", "passed")
    assert not [note for note in artifact.parity.notes if re.search("overflow", note)]
    plain = api.export(
        Net(),
        "coreml",
        size=16,
        out_dir=tmp_path / "plain",
        no_passes=("guard_norms",),
        keep_failed=True,
    )
    (artifact,) = plain.artifacts
    assert artifact.parity.status == "failed"
    assert "overflow" in " ".join(artifact.parity.notes)
