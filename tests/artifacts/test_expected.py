"""The expected outputs of a manifest: made again from a seed, compared without PyTorch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mobile_export.artifacts.expected import (
    MOST_VALUES,
    Expected,
    compare_expected,
    drawn_input,
    expected_facts,
    expected_inputs,
    seeded_input,
)
from mobile_export.artifacts.manifest import Input, read_manifest
from mobile_export.errors import ArtifactError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.pipeline import export_program
from tests.conftest import make_source

SHAPE = (1, 3, 8, 8)
IMAGE = seeded_input(SHAPE, 0)
SPEC = Input(shape=SHAPE)


def facts(*outputs: np.ndarray) -> Expected:
    """Written and read."""
    names = [f"output_{index}" for index in range(len(outputs))]
    made = expected_facts("noise-0", [IMAGE], outputs, names, {"fp32": 1e-5})
    return msgspec.json.decode(msgspec.json.encode(made), type=Expected)


def test_the_input_is_made_again_to_the_bit() -> None:
    assert np.array_equal(expected_inputs(facts(np.ones(3)), [SPEC])[0], IMAGE)


@pytest.mark.parametrize("change", [{"sample": "another"}, {"input_sha256": "0" * 64}])
def test_an_input_that_cannot_be_made_is_an_error(change: dict[str, str]) -> None:
    with pytest.raises(ArtifactError, match="cannot be made again"):
        expected_inputs(msgspec.structs.replace(facts(np.ones(3)), **change), [SPEC])


def test_drawn_boxes_lie_in_the_image() -> None:
    """Left before right, top before bottom, everywhere between 0 and the highest."""
    spec = Input(name="regions", shape=(1, 200, 4), role="boxes", highest=96)
    left, top, right, bottom = drawn_input(spec, seed=1, place=2)[0].T
    assert (left <= right).all()
    assert (top <= bottom).all()
    assert 0 <= min(left.min(), top.min()) < 5
    assert 91 < max(right.max(), bottom.max()) <= 96
    assert drawn_input(spec, seed=1, place=2).dtype == np.float32


def test_errors_are_relative_to_the_largest_magnitude() -> None:
    exact = np.array([[1.0, -4.0, 2.0]])
    assert compare_expected(facts(exact), [exact]).max_rel == 0
    assert compare_expected(facts(exact), [exact + np.array([0, 0, 0.4])]).max_rel == pytest.approx(
        0.1
    )


@pytest.mark.parametrize(
    "got",
    [
        [np.ones((1, 4))],
        [],
        [np.array([[1.0, np.nan, 1.0]])],
        [np.array([[1.0, np.inf, 1.0]])],
    ],
)
def test_what_is_no_answer_is_infinitely_far(got: list[np.ndarray]) -> None:
    assert compare_expected(facts(np.ones((1, 3))), got).max_rel == np.inf


def test_an_expected_infinity_equals_itself() -> None:
    mask = np.array([0.0, -np.inf, 1.0])
    assert compare_expected(facts(mask), [mask]).max_rel == 0


def test_labels_are_counted() -> None:
    labels = np.array([[1, 2, 3, 4]])
    assert compare_expected(facts(labels), [np.array([[1, 2, 3, 9]])]).max_rel == 0.25


def test_a_large_output_is_sampled_all_over() -> None:
    """A change of any one row, column or channel is seen."""
    exact = np.random.default_rng(0).standard_normal((1, 32, 64, 64))
    record = facts(exact)
    assert compare_expected(record, [exact]).compared == MOST_VALUES
    assert compare_expected(record, [exact]).max_rel < 1e-7
    for axis in (1, 2, 3):
        for index in range(exact.shape[axis]):
            wrong = exact.copy()
            np.moveaxis(wrong, axis, 0)[index] += 1
            assert compare_expected(record, [wrong]).max_rel > 0.1, (axis, index)


def test_a_manifest_tells_what_the_model_computes(tmp_path: Path) -> None:
    """Against eager PyTorch, which wrote none of it."""
    source = make_source()
    export_program(lambda: source, "tiny", [get_format("onnx")], ExportConfig(out_dir=tmp_path))
    manifest = read_manifest(tmp_path / "tiny.onnx")
    (image,) = expected_inputs(manifest.expected, manifest.inputs)
    with torch.no_grad():
        eager = source.module(torch.from_numpy(image)).numpy()
    assert compare_expected(manifest.expected, [eager]).max_rel < 1e-5
    assert compare_expected(manifest.expected, [eager * 1.01]).max_rel > 1e-3


def test_no_torch_is_needed() -> None:
    code = "import mobile_export.artifacts.expected, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
