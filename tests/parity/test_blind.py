"""Damaged results of models whose output hardly changes with the image never pass.

Tests `mobile_export.parity.judge`, `reference` and `samples` together. The damage is done to
arrays: the file ignores the image, or takes red for blue. Right results are those of PyTorch in
float16.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.api import export, verify
from mobile_export.exporters.table import precision_named
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from mobile_export.parity.judge import judge
from mobile_export.parity.reference import Reference, make_reference
from mobile_export.parity.report import ParityReport
from mobile_export.parity.samples import parity_samples, stronger_samples

PLAIN = InputSpec((1, 3, 48, 48), (0.0,) * 3, (1.0,) * 3)
IMAGENET = InputSpec((1, 3, 48, 48), IMAGENET_MEAN, IMAGENET_STD)


class PooledNet(nn.Module):
    """Convolutions, global average pooling and a head with a bias of the usual size.

    Args:
        inside: (mean, deviation) with which the module normalises its input.
        head: standard deviation of the head's weights.
    """

    def __init__(self, inside: tuple[float, float], head: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inside = inside
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()
        )
        self.head = nn.Linear(32, 10)
        nn.init.normal_(self.head.weight, std=head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, deviation = self.inside
        return self.head(self.features((x - mean) / deviation).mean((2, 3)))


def takes_pixels() -> tuple[nn.Module, InputSpec]:
    """Takes 0 to 255 and normalises inside, which its input does not say."""
    return PooledNet((127.5, 127.5), head=0.2).eval(), PLAIN


def small_head() -> tuple[nn.Module, InputSpec]:
    return PooledNet((0.0, 1.0), head=0.003).eval(), IMAGENET


def results(
    module: nn.Module, reference: Reference, change: Callable[[torch.Tensor], torch.Tensor]
) -> list[list[np.ndarray]]:
    with torch.no_grad():
        return [[module(change(sample.image)).double().numpy()] for sample in reference.samples]


def report(
    reference: Reference, got: list[list[np.ndarray]], precision: str = "fp16"
) -> ParityReport:
    return judge(
        reference,
        got,
        precision=precision_named(precision),
        arithmetic=precision,
        runtime="test",
        emulated=False,
        output_names=["logits"],
    )


def damaged(module: nn.Module, reference: Reference) -> dict[str, list[list[np.ndarray]]]:
    double = PooledNet(module.inside, 1.0)  # type: ignore[arg-type]
    double.load_state_dict(module.state_dict())
    double.double()
    return {
        "ignored": [list(reference.outputs[0])] * len(reference.samples),
        "swapped": results(double, reference, lambda image: image.double().flip(1)),
    }


@pytest.mark.parametrize("make", [takes_pixels, small_head])
@pytest.mark.parametrize("kind", ["ignored", "swapped"])
@pytest.mark.parametrize("stronger", [False, True])
def test_damage_never_passes(
    make: Callable[[], tuple[nn.Module, InputSpec]], kind: str, stronger: bool
) -> None:
    module, spec = make()
    more = stronger_samples(spec) if stronger else ()
    reference = make_reference(module, parity_samples(spec), more)
    found = report(reference, damaged(module, reference)[kind])
    assert found.status in (("failed",) if stronger else ("failed", "inconclusive"))
    assert stronger or found.max_rel <= 1e-2  # the size alone shows nothing
    assert found.spread_error is not None
    assert found.spread_error > 0.3


@pytest.mark.parametrize("make", [takes_pixels, small_head])
def test_right_float16_results_pass(make: Callable[[], tuple[nn.Module, InputSpec]]) -> None:
    module, spec = make()
    reference = make_reference(module, parity_samples(spec), stronger_samples(spec))
    found = report(reference, results(module.half(), reference, lambda image: image.half()))
    assert found.status == "passed"
    assert found.spread_error is not None
    assert found.spread_error < 0.05


def test_the_message_says_what_to_give() -> None:
    module, spec = takes_pixels()
    reference = make_reference(module, parity_samples(spec))
    found = report(reference, damaged(module, reference)["ignored"])
    (note,) = found.notes
    assert note.startswith("inconclusive: between the inputs of the check, logits changes by")
    for argument in ("`samples`", "`mean=0`", "`std=0.0039`", "`weights`", '`precision="fp32"`'):
        assert argument in note


class Saturated(nn.Module):
    """A sigmoid that is 1 for every image: it changes by less than float32 holds."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(x.mean((2, 3)) + 20)


def test_the_advice_for_a_float32_file() -> None:
    reference = make_reference(Saturated(), parity_samples(PLAIN), stronger_samples(PLAIN))
    right = [[array.astype(np.float32) for array in arrays] for arrays in reference.outputs]
    found = report(reference, right, "fp32")
    assert found.status == "inconclusive"
    assert "fp32" not in found.notes[-1]
    assert "what comes before a sigmoid" in found.notes[-1]


def test_ordinary_models_get_the_usual_four() -> None:
    module = PooledNet((0.0, 1.0), head=0.2).eval()
    reference = make_reference(module, parity_samples(PLAIN), stronger_samples(PLAIN))
    assert [sample.name for sample in reference.samples] == [
        "noise-0", "noise-1", "natural-0", "natural-1",
    ]  # fmt: skip


def test_pixels_come_in_front_of_the_last_sample() -> None:
    module, spec = takes_pixels()
    reference = make_reference(module, parity_samples(spec), stronger_samples(spec))
    names = [sample.name for sample in reference.samples]
    assert (names[0], names[-1]) == ("noise-0", "natural-1")
    assert {"wide-natural-0", "wide-colour-0"} < set(names)
    assert len(reference.outputs) == len(names)


class RefusesPixels(nn.Module):
    """Refuses values above 100, and hardly changes with the others."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.abs().max() > 100:
            raise ValueError("these are no normalised pixels")
        return 1.0 + 1e-4 * x.mean((2, 3))


def test_a_model_may_refuse_the_wide_samples() -> None:
    reference = make_reference(RefusesPixels(), parity_samples(PLAIN), stronger_samples(PLAIN))
    assert "wide-natural-0" not in [sample.name for sample in reference.samples]


class Overflows(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1.0 + 1e-4 * x.mean((2, 3)) + torch.exp((x.amax((2, 3)) - 20) * 1000)


def test_wide_samples_that_overflow_are_left_out() -> None:
    reference = make_reference(Overflows(), parity_samples(PLAIN), stronger_samples(PLAIN))
    assert "wide-natural-0" not in [sample.name for sample in reference.samples]
    assert np.isfinite([outputs[0] for outputs in reference.outputs]).all()


class TwoHeads(nn.Module):
    """One output moves with the input; the other does so for pixels from 0 to 255 only."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x.mean((2, 3)), (x.amax((1, 2, 3)) > 100).long()


def test_an_output_that_nothing_moves_gets_stronger_samples() -> None:
    usual = make_reference(TwoHeads(), parity_samples(PLAIN))
    assert len({int(labels[0]) for _, labels in usual.outputs}) == 1
    reference = make_reference(TwoHeads(), parity_samples(PLAIN), stronger_samples(PLAIN))
    assert len({int(labels[0]) for _, labels in reference.outputs}) == 2
    fixed = make_reference(
        TwoHeads(), parity_samples(PLAIN), stronger_samples(PLAIN), frozenset({1})
    )
    assert len(fixed.samples) == 4


def nearly_symmetric() -> tuple[PooledNet, PooledNet]:
    """A network whose first kernels are nearly their mirror images, and one that has the mirror
    images: its output moves by 4 % of its size, and is 8 % of that off."""
    made = [PooledNet((0.0, 1.0), head=0.03).eval() for _ in range(2)]
    kernels = made[0].features[0].weight.detach()
    mean, half = (kernels + kernels.flip(-1)) / 2, (kernels - kernels.flip(-1)) / 2
    for net, sign in zip(made, (1, -1), strict=True):
        net.features[0].weight = nn.Parameter(mean + sign * 0.1 * half)
    return made[0], made[1]


def test_mirrored_kernels_are_more_than_rounding_explains() -> None:
    whole, mirrored = nearly_symmetric()
    reference = make_reference(whole, parity_samples(IMAGENET), stronger_samples(IMAGENET))
    found = report(reference, results(mirrored, reference, lambda image: image))
    assert found.max_rel <= 1e-2  # the size alone shows little
    assert found.spread_error is not None
    assert 0.07 < found.spread_error < 0.1
    assert found.status == "failed"
    assert 0.02 <= found.spread_allowed < 0.03
    assert "rounding explains" in found.notes[-1]
    assert report(reference, results(whole.half(), reference, lambda x: x.half())).passed


def test_files_with_mirrored_kernels_do_not_pass(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    whole, mirrored = nearly_symmetric()
    made = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD, "size": 48}
    for name, module in (("whole", whole), ("mirrored", mirrored)):
        export(module, "coreml", tmp_path, name=name, **made)
        found = verify(tmp_path / f"{name}.mlpackage", whole, **made).parity
        assert found.float16_error is not None
        assert found.tolerance == max(2**-9, 4 * found.float16_error) <= 1e-2
        assert found.status == ("passed" if name == "whole" else "failed")
