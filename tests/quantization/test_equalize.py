"""Equalised channels: the same numbers as the module's in float64, and less noise of integers."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.names import plan_path
from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.graph.program import Program
from mobile_export.passes.prove import float64_outputs
from mobile_export.pipeline import export_program
from mobile_export.quantization.equalize import choose_factors, equalized
from mobile_export.quantization.insert import insert
from mobile_export.quantization.make import make_plan
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import Chosen, Equalized, read_plan
from tests.test_pipeline import make_source

from .nets import prepared, samples

CHOSEN = Chosen("least-squares", "synthetic")
RANGES = torch.logspace(0, 3, 16)
"""Of the channels between two layers: 1 to 1000."""


class Pair(nn.Module):
    """Two convolutions, the channels between which have `RANGES`, and a function between them."""

    def __init__(self, between: nn.Module) -> None:
        super().__init__()
        self.first, self.between = nn.Conv2d(3, 16, 3, 1, 1), between
        self.second = nn.Conv2d(16, 8, 3, 1, 1)
        with torch.no_grad():
            self.first.weight *= RANGES[:, None, None, None]
            assert self.first.bias is not None
            self.first.bias *= RANGES
            self.second.weight /= RANGES[:, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(self.first(x)))


class Residual(nn.Module):
    """Depthwise layers, two sums of the same channels, a pool, and rows behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 32, 1)
        self.depth, self.narrow = nn.Conv2d(32, 32, 3, 1, 1, groups=32), nn.Conv2d(32, 16, 1)
        self.again, self.head = nn.Conv2d(16, 16, 3, 1, 1), nn.Linear(16, 10)
        with torch.no_grad():
            for layer in (self.stem, self.narrow, self.again):
                layer.weight *= RANGES.sqrt()[:, None, None, None]
            self.depth.weight *= torch.logspace(-1, 1, 32)[:, None, None, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.narrow(torch.relu(self.depth(torch.relu(self.wide(x)))))
        x = nn.functional.max_pool2d(torch.relu(x - self.again(x)), 2)
        return self.head(x.flatten(2).mean(2))


class Block(nn.Module):
    """A norm whose weights have outliers, and the linear layers that read it."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm = nn.Conv2d(3, 16, 4, 4), nn.LayerNorm(16)
        self.q, self.v, self.out = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 6)
        with torch.no_grad():
            self.patch.weight[3] *= 50  # one channel stands out of every row, as in transformers
            self.q.weight[:, 3] /= 50
            self.v.weight[:, 3] /= 50

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        y = self.norm(x)
        weights = (self.q(y) @ y.transpose(1, 2) / 16).softmax(-1)
        return self.out(weights @ self.v(y) + self.v(self.norm(x)))


def factors_of(program: Program) -> tuple[list[Equalized], Program]:
    factors = choose_factors(program, samples(program, 4))
    return factors, equalized(program, factors)


def noise_ratio(program: Program, exact: nn.Module) -> float:
    """In dB, of an int8 plan of ``program``, against the module in float64."""
    given = samples(program, 6)
    rounded = insert(program, make_plan(program, "int8", given[:4], CHOSEN))
    signal = noise = 0.0
    for sample in given[4:]:
        (got,) = float64_outputs(rounded, *sample.all_given(pixels=False))
        with torch.no_grad():
            wanted = exact(sample.image.double()).numpy()
        signal += float(((wanted - wanted.mean()) ** 2).sum())
        noise += float(((wanted - got) ** 2).sum())
    return float(10 * np.log10(signal / noise))


def off(made: Program, program: Program) -> float:
    (sample,) = samples(program, 1)
    given = sample.all_given(pixels=False)
    (got,), (wanted,) = float64_outputs(made, *given), float64_outputs(program, *given)
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("between", [nn.ReLU(), nn.Identity(), nn.LeakyReLU(0.1)], ids=str)
def test_channels_of_unequal_ranges_gain_more_than_ten_decibels(between: nn.Module) -> None:
    torch.manual_seed(0)
    module = Pair(between).eval()
    program = prepared(module)
    module = module.double()
    factors, made = factors_of(program)
    assert [len(each.factors) for each in factors] == [16, 0]
    assert max(factors[0].factors) / min(factors[0].factors) > 100
    assert off(made, program) < 1e-12
    before, after = (noise_ratio(each, module) for each in (program, made.in_float32()))
    assert after > before + 10


@pytest.mark.parametrize("between", [nn.ReLU6(), nn.GELU(), nn.Hardswish()], ids=str)
def test_what_no_factor_passes_through_is_left_alone_and_said(between: nn.Module) -> None:
    program = prepared(Pair(between).eval())
    factors, made = factors_of(program)
    assert made is program
    assert not any(each.factors for each in factors)
    bound = isinstance(between, nn.ReLU6)
    assert ("its bound would be another one" if bound else "no factor") in factors[0].why
    assert "the program returns it" in factors[1].why


def test_depthwise_layers_and_sums_are_equalised_together() -> None:
    torch.manual_seed(0)
    module = Residual().eval()
    program = prepared(module)
    factors, made = factors_of(program)
    named = {each.name: len(each.factors) for each in factors if each.factors}
    assert named["conv2d"] == 16  # of the stem, and of both layers that are added to it
    assert named["conv2d_1"] == named["conv2d_2"] == 32
    assert off(made, program) < 1e-12
    module = module.double()
    assert noise_ratio(made.in_float32(), module) > noise_ratio(program, module)


def test_norms_give_their_factors_to_the_layers_that_read_them() -> None:
    torch.manual_seed(0)
    module = Block().eval()
    program = prepared(module)
    factors, made = factors_of(program)
    assert "matmul" in " ".join(each.why for each in factors if not each.factors)
    assert off(made, program) < 1e-12
    module = module.double()
    assert noise_ratio(made.in_float32(), module) >= noise_ratio(program, module)


def test_factors_that_are_not_of_the_program_are_refused() -> None:
    program = prepared(Pair(nn.ReLU()).eval())
    for wrong in (Equalized("conv2d", [1.0] * 8, ""), Equalized("other", [2.0], "")):
        with pytest.raises(ValueError, match="has not the"):
            equalized(program, [wrong])


@pytest.mark.parametrize("name", ["onnx", "tnn"])
def test_a_plan_with_factors_is_written_and_verified(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Pair(nn.ReLU()).eval()
    options = QuantizationOptions(
        calibration="synthetic", calibration_samples=3, equalize=True, sqnr=20
    )
    config = ExportConfig(out_dir=tmp_path, precision="int8", quantization=options)
    report = export_program(
        lambda: make_source(module, size=32), "pair", [get_format(name)], config
    )
    (artifact,) = report.artifacts
    notes = " ".join(artifact.parity.notes)
    assert artifact.parity.passed, notes
    assert artifact.path is not None
    (explained,) = [each for each in report.passes if each.name == "plan of int8"]
    assert "16 channels divided by" in " ".join(each.what for each in explained.changes)
    assert "the program returns it" in " ".join(each.reason for each in explained.refusals)
    assert mobile_export.verify(artifact.path, module, size=32).parity.faithful
    file = plan_path(artifact.path)
    plan = read_plan(file)
    first = msgspec.structs.replace(plan.equalized[0], factors=plan.equalized[0].factors[:8])
    broken = msgspec.structs.replace(plan, equalized=[first])
    file.write_bytes(broken.to_json())
    with pytest.raises(UsageError, match="does not fit"):
        mobile_export.verify(artifact.path, module, size=32)
