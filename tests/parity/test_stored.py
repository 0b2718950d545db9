"""Numbers that a file stores are looked up among the program's constants.

Tests `mobile_export.parity.stored` on arrays, and on files with a unit that no input opens.
"""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.api import export
from mobile_export.exporters.table import get_format
from mobile_export.parity.stored import known_constants, unknown_weights
from mobile_export.pipeline import write
from tests.conftest import need


def weights(*shape: int, seed: int = 0, dtype: str = "f4") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def unknown(array: np.ndarray, *constants: np.ndarray) -> dict[str, str | None]:
    """Beside another array of the same name that is known."""
    other = weights(7, 7, seed=9)
    found, count = unknown_weights([("w", array), ("w", other)], [*constants, other])
    assert count == 2
    return dict(found)


CONV, LINEAR, BIAS = weights(8, 4, 3, 3), weights(24, 16, seed=1), weights(24, seed=2)
RIGHT: dict[str, np.ndarray] = {
    "as it is": CONV,
    "channels last": CONV.transpose(0, 2, 3, 1),
    "flat": CONV.reshape(-1),
    "filters backwards": CONV[..., ::-1, ::-1],
    "cut": LINEAR[:8],
    "cut and transposed": LINEAR[8:16].T,
    "joined": np.concatenate([LINEAR, weights(24, 16, seed=3)]).T,
    "bias cut": BIAS[4:20],
    "biases joined": np.stack([BIAS, -BIAS]),
    "two directions": np.stack([LINEAR, weights(24, 16, seed=3)]),
    "negative zeros": np.where(np.abs(CONV) < 0.1, -0.0, CONV),
}
CONSTANTS = (
    CONV,
    LINEAR,
    weights(24, 16, seed=3),
    BIAS,
    -BIAS,
    np.where(np.abs(CONV) < 0.1, 0.0, CONV),
)


@pytest.mark.parametrize("dtype", ["f4", "f2"])
@pytest.mark.parametrize("name", RIGHT)
def test_what_converters_do_to_weights_is_known(name: str, dtype: str) -> None:
    assert unknown(RIGHT[name].astype(dtype), *CONSTANTS) == {}


def test_float64_constants_may_be_rounded_to_float16_at_once_or_through_float32() -> None:
    # 1 + 2^-11 + 2^-30 is above the middle of two float16; as float32 it is the middle.
    values = np.linspace(0.5, 1, 20) * 0 + 1 + 2.0**-11 + 2.0**-30
    values[:4] = [2, 3, 4, 5]
    direct, twice = values.astype("f2"), values.astype("f4").astype("f2")
    assert (direct != twice).any()
    assert unknown(direct, values) == {}
    assert unknown(twice, values) == {}


def test_integers_may_be_stored_as_floats() -> None:
    assert unknown(np.arange(100, dtype="f4"), *known_constants([np.arange(100)])) == {}


def test_numbers_rounded_to_float16_may_be_stored_as_float32() -> None:
    assert unknown(CONV.astype("f2").astype("f4"), *CONSTANTS) == {}


def zeroed(array: np.ndarray) -> np.ndarray:
    made = array.copy()
    made[0] = 0
    return made


DAMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], str]] = {
    "a filter is zero": (zeroed, "of its numbers differ"),
    "2 % more": (lambda array: array * array.dtype.type(1.02), "1.02 times"),
    "2 % more, channels last": (
        lambda array: (array * array.dtype.type(1.02)).transpose(0, 2, 3, 1),
        "1.02 times",
    ),
    "one number": (lambda array: np.where(array == array.max(), 0, array), "0.35% of its numbers"),
}


@pytest.mark.parametrize("dtype", ["f4", "f2", "f2 as f4"])
@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_said(name: str, dtype: str) -> None:
    damage, said = DAMAGES[name]
    rounded, _, held = dtype.partition(" as ")
    made = damage(CONV.astype(rounded)).astype(rounded).astype(held or rounded)
    (found,) = unknown(made, *CONSTANTS).values()
    assert found is not None
    assert said in found


@pytest.mark.parametrize("dtype", ["f4", "f2"])
def test_a_layer_folded_into_another_is_no_damage(dtype: str) -> None:
    scales = weights(8, 1, 1, 1, seed=5)
    assert unknown((CONV * scales).astype(dtype), *CONSTANTS) == {"w": None}


def test_numbers_that_a_converter_rounded_again_are_known() -> None:
    """Core ML's tools compute stored angles of rotary embeddings in float16."""
    halves = CONV.astype("f2")
    assert unknown(np.nextafter(halves, np.float16(9)), CONV) == {}
    assert unknown(np.nextafter(halves, np.float16(9)).astype("f4"), CONV) == {}
    assert unknown(np.nextafter(CONV.astype("f4"), np.float32(9)), CONV) == {}


def test_zeros_of_pruned_weights_are_not_equal_numbers() -> None:
    pruned = CONV * (weights(*CONV.shape, seed=6) > 0.5)
    scales = weights(8, 1, 1, 1, seed=5)
    assert unknown((pruned * scales).astype("f4"), pruned) == {"w": None}


def test_float16_arrays_of_the_same_distribution_are_not_almost_the_same() -> None:
    # So many numbers in so few float16 that both hold nearly the same ones.
    first, second = weights(500, 400, dtype="f2"), weights(500, 400, seed=1, dtype="f2")
    assert np.isin(first, second).mean() > 0.9
    assert unknown(first, second) == {"w": None}


def test_masks_and_short_arrays_are_not_looked_up() -> None:
    arrays = [("mask", np.tile([0.0, 1.0], 50)), ("zeros", np.zeros(64)), ("pads", np.arange(8.0))]
    assert unknown_weights(arrays, [CONV]) == ((), 0)


class SilentUnit(nn.Module):
    """Channel 0 of the first layer is far below 0 for every image, so nothing shows the 288 weights
    of the second layer that would be multiplied by it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 32, 3, padding=1)
        with torch.no_grad():
            assert self.first.bias is not None
            self.first.bias[0] = -1000

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).relu())


@pytest.fixture
def editors(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[2] / "benchmarks"), *sys.path])
    return importlib.import_module("mutators")


@pytest.mark.parametrize("name", ["onnx", "coreml", "tflite", "ncnn", "tnn"])
def test_a_damaged_weight_behind_a_unit_that_never_fires_is_inconclusive(
    name: str, tmp_path: Path, editors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is followed by what doubles one of those weights."""
    need(name)
    model = SilentUnit().eval()
    silent = model.second.weight.detach()[:, 0].abs().reshape(-1)
    row, given = get_format(name), write._write
    base = importlib.import_module("mutators.base")

    def doubled(weights: np.ndarray) -> np.ndarray:
        made = weights.copy()
        flat = made.reshape(-1)
        unseen = np.isin(np.abs(flat), silent.numpy().astype(flat.dtype))
        flat[np.flatnonzero(unseen)[0]] *= 2
        return made

    def damaging(*args: Any) -> None:
        given(*args)
        path = args[2]
        sites = [e for e in editors.editor_of(name, path).sites() if e.kind == base.ONE]
        made = path.parent / "damaged" / path.name
        made.parent.mkdir()
        editors.editor_of(name, path).write(sites[1], made)
        for file in row.files(made):
            target = path.parent / file.name
            (shutil.rmtree if target.is_dir() else Path.unlink)(target)
            shutil.move(file, target)

    def export_now() -> Any:
        (artifact,) = export(model, name, tmp_path, size=16, force=True).artifacts
        return artifact

    assert export_now().parity.status == "passed"
    monkeypatch.setattr(base, "_one_doubled", doubled)
    monkeypatch.setattr(write, "_write", damaging)
    artifact = export_now()
    assert artifact.parity.status == "inconclusive"
    assert artifact.path is None
    assert "of its numbers differ from the model's" in artifact.parity.notes[-1]
