"""Bounds that a file lost or gained are seen, though ordinary inputs never reach them.

Tests `mobile_export.parity.strong` and its place in `pipeline.check_parity`. A file is played by a
module of PyTorch, run in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.exporters.table import precision_named
from mobile_export.graph.capture import trace
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from mobile_export.parity.reference import ILL_CONDITIONED
from mobile_export.parity.report import ParityReport
from mobile_export.parity.samples import Sample, parity_samples, pixel_samples
from mobile_export.parity.session import Session
from mobile_export.parity.strong import STRENGTH, strong_references
from mobile_export.pipeline import check_parity
from mobile_export.pipeline.captured import References
from mobile_export.sources import table
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import Source

SPEC = InputSpec((1, 3, 32, 32), IMAGENET_MEAN, IMAGENET_STD)


class Net(nn.Module):
    """Convolutions whose values stay below 6 for ordinary inputs."""

    def __init__(self, activation: Callable[[], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1), activation(), nn.Conv2d(16, 8, 3, 2, 1), activation()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)


class Played(Session):
    """A module in the place of a file."""

    runtime = "PyTorch"

    def __init__(self, module: nn.Module, precision: str = "fp32", *, pixels: bool = False) -> None:
        self.module, self.precision, self.takes_pixels = module.eval(), precision, pixels

    def run(self, sample: Sample) -> list[np.ndarray]:
        with torch.no_grad():
            return [self.module(sample.image.float()).numpy()]


def checked(original: nn.Module, file: Session, precision: str = "fp32") -> ParityReport:
    torch.manual_seed(0)
    source: Source = table.load_source(
        ModelRequest.of(original, size=(32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    )
    program = trace(source)
    return check_parity(file, program, References(source, program), precision_named(precision))


def damaged(original: Net, activation: Callable[[], nn.Module]) -> Net:
    """The same weights with another activation."""
    made = Net(activation)
    made.load_state_dict(original.state_dict())
    return made


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("model", "file"), [(nn.ReLU6, nn.ReLU), (nn.ReLU, nn.ReLU6)])
def test_a_bound_that_a_file_lost_or_gained_is_seen(
    model: type[nn.Module], file: type[nn.Module], precision: str
) -> None:
    original = Net(model)
    ordinary = [Played(original).run(sample)[0] for sample in parity_samples(SPEC)]
    assert max(array.max() for array in ordinary) < 6
    report = checked(original, Played(damaged(original, file), precision), precision)
    assert (report.status, report.faithful) == ("failed", False)
    assert report.worst == "strong-noise:logits"
    assert report.max_rel > report.tolerance
    assert f"wrong on one of {STRENGTH:g} times their range" in report.notes[-1]
    assert checked(original, Played(original, precision), precision).status == "passed"


def test_black_and_white_pixels_reach_further_than_others() -> None:
    original = Net(nn.Identity)
    strong, bright, dark = strong_references(original, (SPEC,), pixels=True)
    shares = [float(each.reference.samples[0].pixels.mean()) / 255 for each in (dark, bright)]
    assert shares == pytest.approx([0.1, 0.9], abs=0.03)
    pixels = strong.reference.samples[0].pixels
    assert pixels is not None
    assert set(pixels.unique().tolist()) == {0.0, 255.0}
    ordinary = [Played(original).run(sample)[0] for sample in pixel_samples(SPEC)]
    first = max(abs(array).max() for array in ordinary)
    bound = (first + abs(strong.reference.outputs[0][0]).max()) / 2
    assert bound > 1.1 * first
    clipped = nn.Sequential(original, nn.Hardtanh(-bound, bound))
    report = checked(original, Played(clipped, pixels=True))
    assert (report.status, report.worst) == ("failed", "strong-noise:logits")


class Gate(nn.Module):
    """A branch that only a bright image opens, or only a dark one; its weight is the file's."""

    def __init__(self, sign: float, weight: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Conv2d(3, 8, 3, 2, 1)
        self.sign, self.weight = sign, weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        opened = (self.sign * x.mean((2, 3)) - 1.5).relu() * self.weight
        return self.features(x).relu().mean((2, 3)) + opened.sum(1, keepdim=True)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("sign", "kind"), [(1.0, "bright"), (-1.0, "dark")])
def test_a_branch_that_few_images_open_is_seen(sign: float, kind: str, precision: str) -> None:
    original, file = Gate(sign, 1.0), Gate(sign, 2.0)
    ordinary = [
        [Played(each).run(sample)[0] for sample in parity_samples(SPEC)]
        for each in (original, file)
    ]
    assert all((a == b).all() for a, b in zip(*ordinary, strict=True))
    report = checked(original, Played(file, precision), precision)
    assert (report.status, report.worst) == ("failed", f"{kind}-noise:logits")
    assert f"wrong on a {kind} one" in report.notes[-1]
    assert checked(original, Played(original, precision), precision).status == "passed"


class MaxPooled(nn.Module):
    """onnxruntime and others pad a max pool with minus infinity; a file that pads with zeros is
    right behind a ReLU, and wrong where all of a window's values are negative."""

    def __init__(self, padding: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.padding = padding
        self.features, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.leaky_relu(self.features(x), 0.1)
        y = nn.functional.pad(y, (1, 1, 1, 1), value=self.padding)
        return self.head(nn.functional.max_pool2d(y, 3, 2)).mean((2, 3))


def test_zeros_around_a_max_pool_are_seen() -> None:
    original = MaxPooled(float("-inf"))
    for precision in ("fp32", "fp16"):
        report = checked(original, Played(MaxPooled(0.0), precision), precision)
        assert report.status == "failed", precision


class Refusing(nn.Module):
    """What is nothing to judge a file by, with strong values."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "raises" and float(x.abs().max()) > 10:
            raise ValueError("too strong")
        if self.how == "overflows":
            return (x * 40).exp().exp()
        return (x * 1e6).sin()  # float32 knows x to 1e-6 or so


@pytest.mark.parametrize("how", ["raises", "overflows", "amplifies rounding"])
def test_values_that_prove_nothing_are_left_out(how: str) -> None:
    names = [
        each.reference.samples[0].name
        for each in strong_references(Refusing(how), (SPEC,), pixels=False)
    ]
    assert "strong-noise" not in names


class Amplifying(nn.Module):
    """On dark images it multiplies by 4096 what rounding did to its input, and is lucky itself:
    64ths are exact in float32 as in float64, as long as no other kernel moves them."""

    def __init__(self, moved: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.moved = nn.Conv2d(3, 3, 3, 1, 1), moved

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dark = (-x.mean((1, 2, 3), keepdim=True) - 1.5).relu()
        exact = (x * 64).round() / 64 * (1 + self.moved)
        return self.features(x).relu() + dark * (exact * 4096).sin()


def test_where_a_model_amplifies_rounding_a_lucky_run_judges_nobody() -> None:
    original, file = Amplifying(), Amplifying(moved=2.0**-22)
    strong = strong_references(original, (SPEC,), pixels=False)
    dark = next(each.reference for each in strong if each.reference.samples[0].name == "dark-noise")
    assert dark.float32_error < 1e-6
    assert dark.moved_error is not None
    assert dark.moved_error() > ILL_CONDITIONED
    off = np.abs(Played(file).run(dark.samples[0])[0] - dark.outputs[0][0]).max()
    assert off > 1e-4 * np.abs(dark.outputs[0][0]).max()
    report = checked(original, Played(file))
    assert (report.status, report.faithful) == ("passed", True)
    assert report.notes[-1].startswith("not judged by dark-noise: the model amplifies rounding")
    assert not any("not judged" in note for note in checked(original, Played(original)).notes)


def test_a_damaged_file_of_a_model_that_amplifies_rounding_fails() -> None:
    """On the ordinary inputs; and on a strong one where the model does not amplify."""
    original, damaged, clipped = Amplifying(), Amplifying(), Amplifying()
    with torch.no_grad():
        damaged.features.weight[0, 0, 0, 0] += 0.01
    report = checked(original, Played(damaged))
    assert (report.status, report.faithful) == ("failed", False)
    features = clipped.features
    clipped.features = nn.Sequential(features, nn.Hardtanh(max_val=6.0))  # type: ignore[assignment]
    assert max(Played(original).run(each)[0].max() for each in parity_samples(SPEC)) < 6
    report = checked(original, Played(clipped))
    assert (report.status, report.worst) == ("failed", "strong-noise:logits")


def test_inputs_of_whole_numbers_have_no_strong_one() -> None:
    indices = InputSpec((1, 7), (0.0,), (1.0,), dtype="int64", role="values")
    assert strong_references(nn.Identity(), (indices,), pixels=False) == ()


class Overflowing(Played):
    """A file of float16 in which strong values are beyond 65504."""

    def run(self, sample: Sample) -> list[np.ndarray]:
        (result,) = super().run(sample)
        return [np.where(abs(sample.image.numpy()).max() > 10, np.inf, result)]


class Squared(nn.Module):
    """Values on the way whose squares float16 cannot hold, of the strong input only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x * 20
        return x / (1 + x.square().mean((1, 2, 3), keepdim=True)).sqrt()


def test_a_model_that_strong_values_bring_near_the_end_of_float16_is_not_judged_by_them() -> None:
    """In a file that computes in float16 what is squared may become infinity, and 0 behind it."""

    class Lost(Played):
        def run(self, sample: Sample) -> list[np.ndarray]:
            (result,) = super().run(sample)
            return [result * (abs(sample.image.numpy()).max() < 10)]

    strong = strong_references(Squared(), (SPEC,), pixels=False)[0]
    assert strong.largest > 65504
    file = Lost(Squared(), "fp16")
    assert checked(Squared(), file, "fp16").status == "failed"  # float32 does not overflow
    file.arithmetic = "fp16"
    assert checked(Squared(), file, "fp16").status == "passed"


def test_a_float16_file_may_overflow_with_strong_values() -> None:
    original = Net(nn.ReLU)
    assert checked(original, Overflowing(original, "fp16"), "fp16").status == "passed"
    assert checked(original, Overflowing(original)).status == "failed"
