"""Random weights are sane, visible, repeatable, and leave the caller's random state alone."""

from __future__ import annotations

import copy
import hashlib
import math
import subprocess
import sys
import time

import pytest
import torch
from torch import nn

from mobile_export.errors import SourceError
from mobile_export.models import table as registry
from mobile_export.parity.samples import parity_samples
from mobile_export.sources import initialize
from mobile_export.sources.initialize import (
    collect_norm_statistics,
    initialize_randomly,
    natural_images,
    perturb_constants,
)
from tests.conftest import load_source

SHAPE = (1, 3, 32, 32)
FP16_SAFE = 6e4


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


# With unrelated norm statistics the first two differ from float64 by 20 to 50 % in plain PyTorch.
@pytest.mark.parametrize(
    "spec", ["timm/starnet_s1", "timm/ghostnetv3_100", "timm/levit_128s", "emo_1m"]
)
def test_float32_agrees_with_float64_on_the_parity_inputs(spec: str) -> None:
    if spec.startswith("timm/"):
        pytest.importorskip("timm")
    source = load_source(spec)
    largest = 0.0

    def watch(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal largest
        if isinstance(output, torch.Tensor) and output.numel():
            largest = max(largest, float(output.abs().max()))

    exact = copy.deepcopy(source.module).double()
    for module in source.module.modules():
        module.register_forward_hook(watch)
    outputs = []
    with torch.no_grad():
        for sample in parity_samples(source.input):
            got, reference = source.module(sample.image), exact(sample.image.double())
            assert float((got - reference).abs().max() / reference.abs().max()) < 1e-4
            outputs.append(reference)
    assert largest < FP16_SAFE
    spread = torch.stack(outputs)
    assert float((spread - spread.mean(0)).std() / spread.std()) > 0.1, "the input matters"


class Net(nn.Module):
    """Everything that hides from a parity test when it is left as initialised."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last_norm = nn.BatchNorm2d(8)
        nn.init.zeros_(self.last_norm.weight)
        self.gamma = nn.Parameter(1e-6 * torch.ones(8, 1, 1))
        self.temperature = nn.Parameter(torch.full((1,), 2.5))
        self.position = nn.Parameter(torch.zeros(1, 8, 4, 4))
        self.head = nn.Linear(8, 5)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.conv(x))
        x = x + self.gamma * self.last_norm(x) * self.temperature
        y: torch.Tensor = self.head(x.mean((2, 3)) + self.position.mean((2, 3)))
        return y


def test_nothing_stays_constant_or_tiny() -> None:
    module = Net()
    conv = module.conv.weight.detach().clone()
    perturb_constants(module, generator())
    torch.testing.assert_close(module.conv.weight.detach(), conv, rtol=0, atol=0)
    for name, parameter in module.named_parameters():
        if parameter.numel() > 1:
            assert float(parameter.detach().std()) > 1e-3, name
    assert 0.1 < float(module.last_norm.weight.detach().mean()) < 0.5
    assert 0.1 < float(module.gamma.detach().mean()) < 0.5
    assert 1.5 < float(module.temperature) < 3.5
    assert 0.8 < float(module.norm.weight.detach().mean()) < 1.2
    assert float(module.norm.bias.detach().abs().max()) < 0.5


def test_statistics_are_those_of_the_activations() -> None:
    module = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16))
    with torch.no_grad():
        module[0].weight.mul_(50.0)
        module[0].bias.add_(7.0)
    collect_norm_statistics(module, (1, 3, 64, 64), generator())
    fresh = torch.cat([natural_images((8, 3, 64, 64), generator()), torch.randn(8, 3, 64, 64)])
    with torch.no_grad():
        output = module(fresh)
    assert not module.training
    assert module[1].momentum == 0.1
    assert float(output.mean().abs()) < 0.3
    assert 0.3 < float(output.std()) < 2.0
    variance = module[1].running_var
    assert len(set(variance.tolist())) == 16, "no two channels share a variance"


def test_a_channel_that_is_always_off_does_not_explode() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4))
    with torch.no_grad():
        module[0].bias[0] = -1e4
    collect_norm_statistics(module, SHAPE, generator())
    variance = module[2].running_var
    assert float(variance.min()) >= 0.1 * float(variance.mean()) * 0.9


@pytest.mark.parametrize(("limit", "floor"), [(math.inf, 0.1), (0.0, 1.0)])
def test_the_floor_rises_while_the_network_amplifies(
    monkeypatch: pytest.MonkeyPatch, limit: float, floor: float
) -> None:
    monkeypatch.setattr(initialize, "AMPLIFICATION", limit)
    module = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4))
    with torch.no_grad():
        module[0].weight[:2] *= 1e-3
    collect_norm_statistics(module, SHAPE, generator())
    quiet, loud = module[1].running_var[:2], module[1].running_var[2:]
    mean = float(loud.sum() / 4)
    assert float(quiet.min()) == pytest.approx(floor * mean, rel=0.5)


@pytest.mark.parametrize(("factor", "least", "most"), [(None, 0.9, 1.1), (1e4, 300.0, 1e9)])
def test_amplification(factor: float | None, least: float, most: float) -> None:
    class Map(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if factor is None else torch.sin(factor * x)

    probe = torch.empty(2, 3, 32, 32).normal_(generator=generator())
    nudge = 1e-4 * torch.empty(2, 3, 32, 32).normal_(generator=generator())
    for singly in (False, True):
        assert least < initialize._amplification(Map(), probe, nudge, singly) < most


class OneImage(nn.Module):
    """Takes a single image only, and fails on any other batch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.norm(10 * self.conv(x).reshape(1, 4, 32, 32))
        return y


def test_a_model_for_single_images_has_its_statistics_all_the_same() -> None:
    module = OneImage()
    collect_norm_statistics(module, SHAPE, generator())
    assert float(module.norm.running_var.mean()) > 1.5


class OnlyInEval(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.norm.training:
            raise SystemExit(0)
        y: torch.Tensor = self.norm(x)
        return y


def test_a_model_that_fails_only_while_statistics_are_collected_says_so() -> None:
    module = OnlyInEval()
    with pytest.raises(SourceError, match=r"cannot be collected.*sys\.exit\(0\).*test_initialize"):
        collect_norm_statistics(module, SHAPE, generator())
    assert not module.norm.training
    assert torch.equal(module.norm.running_mean, torch.zeros(3))


def test_a_model_that_refuses_the_size_keeps_its_statistics() -> None:
    module = OneImage()
    collect_norm_statistics(module, (1, 5, 32, 32), generator())
    torch.testing.assert_close(module.norm.running_var, torch.ones(4))
    assert not module.training


def test_batch_norm_over_single_values_stays_finite() -> None:
    def factory() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(8)
        )

    module = initialize_randomly(factory, SHAPE, 0)
    assert all(torch.isfinite(value).all() for value in module.state_dict().values())


def test_eval_mode_is_what_comes_back_and_caches_are_dropped() -> None:
    timm = pytest.importorskip("timm")

    module = initialize_randomly(lambda: timm.create_model("levit_128s"), (1, 3, 224, 224), 0)
    assert not any(child.training for child in module.modules())
    caches = [
        m.attention_bias_cache for m in module.modules() if hasattr(m, "attention_bias_cache")
    ]
    assert caches
    assert all(not cache for cache in caches)


def test_same_seed_same_weights_and_the_callers_random_state_is_untouched() -> None:
    before = torch.get_rng_state()
    first, second, other = (
        initialize_randomly(Net, SHAPE, seed).state_dict() for seed in (3, 3, 4)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["conv.weight"], other["conv.weight"])


def test_same_weights_in_another_process() -> None:
    code = (
        "import hashlib, torch; torch.set_num_threads(1)\n"
        "from mobile_export.api import create_model\n"
        "state = create_model('emo_1m', seed=5, size=(64, 64)).state_dict()\n"
        "print(hashlib.sha256(b''.join(t.numpy().tobytes() for t in state.values())).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    state = initialize_randomly(registry.get("emo_1m").build, (1, 3, 64, 64), 5).state_dict()
    here = hashlib.sha256(b"".join(t.numpy().tobytes() for t in state.values())).hexdigest()
    assert done.stdout.strip() == here


def test_no_forward_pass_without_batch_norms() -> None:
    class Untouchable(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("called")

    start = time.perf_counter()
    initialize_randomly(lambda: Untouchable(4, 4), SHAPE, 0)
    assert time.perf_counter() - start < 5.0


@pytest.mark.parametrize("shape", [(2, 3, 32, 48), (1, 1, 5, 1), (3, 4, 1, 1)])
def test_natural_images(shape: tuple[int, ...]) -> None:
    images = natural_images(shape, generator())
    assert images.shape == shape
    assert torch.isfinite(images).all()
    if images[0].numel() > 1:
        torch.testing.assert_close(images.mean((1, 2, 3)), torch.zeros(shape[0]), atol=1e-5, rtol=0)
    if shape == (2, 3, 32, 48):
        spectrum = torch.fft.rfft2(images).abs().mean((0, 1))
        assert float(spectrum[1:3, 1:3].mean()) > 5 * float(spectrum[12:16, 12:16].mean())


def test_the_worst_element_of_several_outputs_counts() -> None:
    class Boxes(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            x = x.flatten(1)
            return x, torch.cat([x[:, 1:], torch.sin(1e4 * x[:, :1])], 1)

    probe = torch.empty(2, 3, 32, 32).normal_(generator=generator())
    nudge = 1e-4 * torch.empty(2, 3, 32, 32).normal_(generator=generator())
    assert initialize._amplification(Boxes(), probe, nudge, False) > initialize.AMPLIFICATION
