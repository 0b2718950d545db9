"""Float16 results against IEEE 754 by hand, and against PyTorch's own ``half()``."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.graph.specs import InputSpec
from mobile_export.parity.reference import make_reference
from mobile_export.parity.rounding import moved_outputs, rounded_outputs
from mobile_export.parity.samples import Sample, parity_samples
from mobile_export.parity.spread import spread_error

PLAIN = InputSpec((1, 3, 48, 48), (0.0,) * 3, (1.0,) * 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class WritesInPlace(nn.Module):
    """Steps of 2⁻¹⁰ from 1 on, which float16 holds, and half a step, which it does not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, 0] = 1.0
        x[:, 1:].mul_(0.0).add_(1 + 2**-10)
        return x + 2**-11 * torch.ones(3, 1, 1)


class Large(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x * 0 + 300.0).square() * 1e-4


def test_float16_results_by_hand() -> None:
    samples = parity_samples(PLAIN)[:1]
    rounded = rounded_outputs(WritesInPlace(), samples)
    half, single = rounded("float16"), rounded("float32")
    assert half is not None
    assert single is not None
    # ties go to the even neighbour (IEEE 754): 1 + 2⁻¹¹ to 1, 1 + 3 · 2⁻¹¹ to 1 + 2⁻⁹
    assert np.unique(half[0][0][:, 0]) == 1.0
    assert np.unique(half[0][0][:, 1:]) == 1 + 2**-9
    assert np.unique(single[0][0][:, 1:]) == np.float32(1 + 3 * 2**-11)
    large = rounded_outputs(Large(), samples)("float16")
    assert large is not None
    assert np.isinf(large[0][0]).all()


def test_float16_results_are_as_far_off_as_those_of_half() -> None:
    """PyTorch's own ``half()``, whose operators round their results, is the other source."""
    module = Net().eval()
    reference = make_reference(module, parity_samples(PLAIN))
    exact = [outputs[0] for outputs in reference.outputs]
    assert reference.rounded is not None
    mine = spread_error([outputs[0] for outputs in reference.rounded("float16") or ()], exact)
    module.half()
    with torch.no_grad():
        half = [module(sample.image.half()).double().numpy() for sample in reference.samples]
    theirs = spread_error(half, exact)
    assert mine is not None
    assert theirs is not None
    assert 0.3 < mine / theirs < 3


class TwoInputs(nn.Module):
    """A tenth of the first, and steps of the second, which is of whole numbers."""

    def forward(self, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        return x * 0.1 + index.float() * 2**-12


def test_every_input_is_given_and_rounded() -> None:
    """The other source is NumPy's float16."""
    image, index = torch.rand(1, 3, 4, 4), torch.arange(4)
    samples = [Sample("one", image, None, {"index": index})]
    half = rounded_outputs(TwoInputs(), samples)("float16")
    single = rounded_outputs(TwoInputs(), samples)("float32")
    assert half is not None
    assert single is not None
    steps = index.numpy().astype(np.float32) * np.float32(2**-12)
    tenth = (image.numpy().astype(np.float16).astype(np.float32) * np.float32(0.1)).astype(
        np.float16
    )
    wanted = (tenth.astype(np.float32) + steps).astype(np.float16).astype(np.float32)
    assert np.array_equal(half[0][0], wanted)
    assert np.array_equal(single[0][0], image.numpy() * np.float32(0.1) + steps)


class NeverAgain(nn.Module):
    """Fails where its values are rounded."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if (x + 1e-4 == x.half()).all():
            raise ValueError("rounded")
        return x.mean((2, 3))


def test_a_model_that_does_not_run_rounded_gets_no_allowance() -> None:
    assert (
        rounded_outputs(NeverAgain(), [Sample("zeros", torch.zeros(PLAIN.shape))])("float16")
        is not None
    )
    zeros = Sample("ones", torch.full(PLAIN.shape, 4.0))
    assert rounded_outputs(NeverAgain(), [zeros])("float16") is None


class _Sequence(nn.Module):
    """The last cell state of an LSTM; all weights and inputs are numbers that float16 holds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = nn.LSTM(8, 6, batch_first=True)
        for weight in self.cells.parameters():
            weight.data.copy_((weight.data * 4).half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state: torch.Tensor = self.cells(x[:, 0])[1][1]
        return state


def test_each_step_of_an_lstm_is_rounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN runs all steps in one call. Rounded once, no file that rounds each was allowed.

    Also where a program has called `torch.backends.disable_global_flags`.
    """
    flags = torch.backends.flags_frozen.__globals__
    monkeypatch.setitem(flags, "__allow_nonbracketed_mutation_flag", False)
    assert torch.backends.flags_frozen()
    module = _Sequence().eval()
    image = torch.randn(1, 1, 40, 8, generator=torch.Generator().manual_seed(0)).half().float()
    found = rounded_outputs(module, [Sample("s", image)])("float16")
    assert found is not None
    once = module(image).detach().half().float().numpy()
    assert not np.array_equal(found[0][0], once)
    assert np.abs(found[0][0] - once).max() < 0.02 * np.abs(once).max()
    assert torch.backends.mkldnn.enabled


class Steps(nn.Module):
    """Whole numbers, and others beside them."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.round() * 3, x * 0.7


def test_moved_results_by_hand() -> None:
    samples = parity_samples(PLAIN)[:1]
    runs = [moved_outputs(Steps(), samples, seed) for seed in (0, 0, 1)]
    plain = Steps()(samples[0].image)
    assert all(run is not None for run in runs)
    (whole, moved), (_, same), (_, other) = (run[0] for run in runs if run is not None)
    assert np.array_equal(whole, plain[0].numpy())
    exact = plain[1].double().numpy()
    off = np.abs(moved - exact) / np.spacing(np.abs(plain[1].numpy()))
    # a unit in the last place of the mantissa 1, two of the mantissa 2 (IEEE 754)
    assert 0.5 < off.max() <= 2
    assert 0 < (off > 0).mean() < 1
    assert np.array_equal(moved, same)
    assert not np.array_equal(moved, other)


def test_other_kernels_of_pytorch_are_no_further_off_than_moved_results() -> None:
    """Four times the error of three moved runs covers convolutions that add in another order."""
    module = Net().eval()
    reference = make_reference(module, parity_samples(PLAIN))
    assert reference.moved_error is not None
    moved = reference.moved_error()
    assert 0 < moved < 1e-5
    last = Net().eval().to(memory_format=torch.channels_last)
    with torch.no_grad(), torch.backends.mkldnn.flags(enabled=False):
        for sample, (exact,) in zip(reference.samples, reference.outputs, strict=True):
            got = last(sample.image.contiguous(memory_format=torch.channels_last))
            assert np.abs(got.numpy() - exact).max() <= 4 * moved * np.abs(exact).max()
