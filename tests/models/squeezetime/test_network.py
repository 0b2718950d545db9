"""SqueezeTime against the official code: backbone and head of its K400 configuration.

xinghaochen/SqueezeTime@465900f. Clips as inputs of the tool are tested here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from mobile_export.graph.specs import InputSpec
from mobile_export.models import table
from mobile_export.parity.samples import parity_samples
from mobile_export.pipeline import ExportReport
from mobile_export.sources.initialize import natural_images
from tests.conftest import load_source
from tests.models.costs import cost_of
from tests.models.official import Official

OFFICIAL = Official("squeezetime")


@pytest.mark.parametrize("spec", sorted(OFFICIAL.shapes))
def test_state_dict_is_the_official_one(spec: str) -> None:
    OFFICIAL.check_state_dict(spec)


@pytest.mark.parametrize("spec", OFFICIAL.marked(["squeezetime"]))
def test_outputs_are_the_official_ones(spec: str) -> None:
    OFFICIAL.check_outputs(spec)


def test_parameters_are_the_papers() -> None:
    """The paper counts them without the classifier of 2048 x 400 + 400."""
    published = table.get("squeezetime").published
    params = cost_of("squeezetime").parameters - (2048 * 400 + 400)
    assert params / 1e6 == pytest.approx(published.params_m, rel=0.03)


def test_macs_are_the_papers() -> None:
    published = table.get("squeezetime").published
    assert cost_of("squeezetime").macs / 1e6 == pytest.approx(published.macs_m, rel=0.03)


def test_a_clip_is_the_input_of_a_video_classifier() -> None:
    source = load_source("squeezetime", size=(32, 32), num_classes=7)
    assert source.input.shape == (1, 3, 16, 32, 32)
    assert source.input.size == (32, 32)
    with torch.no_grad():
        assert source.module(torch.zeros(source.input.shape)).shape == (1, 7)


def test_a_clip_is_printed_by_its_size(
    exported: Callable[..., ExportReport], capsys: pytest.CaptureFixture[str]
) -> None:
    from mobile_export.cli.console import print_export

    report = exported("onnx")
    clip = replace(report.inputs[0], shape=(1, 3, 16, 48, 64))
    print_export(replace(report, inputs=(clip,)))
    assert " at 48x64" in capsys.readouterr().out


def test_natural_clips_pan_over_an_image() -> None:
    spec = InputSpec(shape=(1, 3, 4, 32, 48), mean=(0.5,) * 3, std=(0.25,) * 3)
    for sample in parity_samples(spec):
        assert tuple(sample.image.shape) == spec.shape
    clip = parity_samples(spec)[-1].image
    torch.testing.assert_close(clip[:, :, 1], clip[:, :, 0].roll(2, -1))
    assert float(clip.std()) > 0.2
    random = natural_images((2, *spec.shape[1:]), torch.Generator().manual_seed(0))
    assert tuple(random.shape) == (2, 3, 4, 32, 48)
    assert float(random.std()) == pytest.approx(1, abs=0.01)
