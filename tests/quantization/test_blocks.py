"""Weights of 4 bits with a scale for each block of input channels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.names import plan_path
from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.graph.stored_integers import block_of, in_blocks
from mobile_export.pipeline import export_program
from mobile_export.quantization.options import QuantizationOptions
from mobile_export.quantization.plan import read_plan
from tests.conftest import need
from tests.test_pipeline import make_source

from . import test_export as static


class Wide(nn.Module):
    """A first layer of 3 channels, layers of whole blocks, a depthwise one, one transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.point = nn.Conv2d(32, 64, 1)
        self.depth = nn.Conv2d(64, 64, 3, 1, 1, groups=64)
        self.dense = nn.Conv2d(64, 32, 3, padding=1)
        self.turned = nn.ConvTranspose2d(32, 32, 2, 2)
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.depth(self.point(x)))
        return self.head(self.turned(self.dense(x)).mean((2, 3)))


def wide() -> nn.Module:
    torch.manual_seed(0)
    return Wide().eval()


def exported(format: str, folder: Path) -> Path:
    """`wide` in a format, with weights of 4 bits."""
    need(format)
    report = mobile_export.export(
        wide(), format, folder, name="wide", precision="int4-weights", size=32
    )
    (artifact,) = report.artifacts
    assert artifact.parity.faithful
    assert artifact.parity.max_rel < 1e-5
    assert artifact.path is not None
    return artifact.path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("coreml", tmp_path_factory.mktemp("blocks"))


def widened(package: Path) -> dict[tuple[int, ...], np.ndarray]:
    """The weights of a package, by their shapes, as coremltools' own definition widens them."""
    import coremltools as ct
    from coremltools.converters.mil.frontend.milproto.load import load

    model = ct.models.MLModel(str(package), skip_model_load=True)
    program = load(
        model.get_spec(),
        specification_version=model.get_spec().specificationVersion,
        file_weights_dir=model.weights_dir,
    )
    operations = program.functions["main"].operations
    found = [o for o in operations if o.op_type == "constexpr_blockwise_shift_scale"]
    return {tuple(o.data.shape): o.materialized_val_inference() for o in found}


def test_the_file_is_called_what_it_is(path: Path) -> None:
    """The first layer and the depthwise one keep 8 bits; the fewest bits name the file."""
    assert mobile_export.inspect(path)["precision"] == "int4-weights"


def require_nearest(found: list[np.ndarray], path: Path) -> None:
    """Each weight of `wide` inside its range is at most half a step off; the plan names the blocks.

    Args:
        found: what each layer's weights are widened to, in the layout of the model.
        path: of the file, beside its plan.
    """
    planned = read_plan(plan_path(path)).tensors
    assert sorted(each.bits for each in planned) == [4, 4, 4, 8, 8]
    model = wide()
    layers = (model.stem, model.point, model.depth, model.dense, model.head)
    for got, layer, plan in zip(found, layers, planned, strict=True):
        weight = layer.weight.detach().numpy()
        assert got.shape == weight.shape
        blocks = weight.reshape(len(plan.scale), -1).astype(np.float64)
        scales = np.asarray(plan.scale)[:, None]
        inside = np.abs(blocks) <= plan.high * scales
        steps = np.abs(got.reshape(blocks.shape) - blocks) / scales
        assert (steps[inside] <= 0.5001).all()
        assert len(np.unique(np.rint(got.reshape(blocks.shape) / scales))) <= 2**plan.bits - 1


SHAPES = ((32, 3, 3, 3), (64, 32, 1, 1), (64, 1, 3, 3), (32, 64, 3, 3), (10, 32))
"""Of the weights of the layers of `wide` that have integers."""


def test_coremltools_widens_them_to_the_nearest(path: Path) -> None:
    found = widened(path)
    assert len(found) == len(SHAPES)
    require_nearest([found[shape] for shape in SHAPES], path)


def test_the_file_has_four_bits_for_a_weight(path: Path) -> None:
    facts = mobile_export.inspect(str(path))
    assert facts["version"] == "CoreML8"  # iOS 18
    data = static.MilFile(path).data
    point, dense, head = 64 * 32, 32 * 64 * 9, 10 * 32
    assert len(data) < (point + dense + head) * 5 / 8 + 4 * 32 * 32 * 4 + 8192


def scales_of(model: static.MilFile, shape: tuple[int, ...]) -> np.ndarray:
    value = model.constant(operation_of(model, shape), "scale")
    return model.array(value, np.float32)


def operation_of(model: static.MilFile, shape: tuple[int, ...]) -> Any:
    for each in model.of("constexpr_blockwise_shift_scale"):
        (output,) = each.outputs
        if tuple(d.constant.size for d in output.type.tensorType.dimensions) == shape:
            return each
    raise AssertionError("no such layer")


DENSE = (32, 64, 3, 3)


def damage_scale(model: static.MilFile) -> None:
    scales_of(model, DENSE)[5] *= np.float32(1.01)


def damage_weight(model: static.MilFile) -> None:
    """The first two weights change places, or one is another."""
    packed = model.array(model.constant(operation_of(model, DENSE), "data"), np.uint8)
    packed[0] ^= 0x13


def damage_blocks(model: static.MilFile) -> None:
    """The scales of the two blocks of each output channel change places."""
    scales = scales_of(model, DENSE).reshape(32, 2)
    scales[:] = scales[:, ::-1].copy()


def damage_channels(model: static.MilFile) -> None:
    """The same values, in another order."""
    packed = model.array(model.constant(operation_of(model, (64, 32, 1, 1)), "data"), np.uint8)
    rows = packed.reshape(64, 16)
    rows[:] = rows[:, ::-1].copy()


def damage_pad(model: static.MilFile) -> None:
    static.coreml_pad(model)


@pytest.mark.parametrize("damage", [None, "scale", "weight", "blocks", "channels", "pad"])
def test_a_damaged_file_is_not_faithful(damage: str | None, path: Path, tmp_path: Path) -> None:
    for each in path.parent.iterdir():
        (shutil.copytree if each.is_dir() else shutil.copy)(each, tmp_path / each.name)
    file = tmp_path / path.name
    if damage is not None:
        package = static.MilFile(file)
        globals()[f"damage_{damage}"](package)
        package.save()
    found = mobile_export.verify(file, wide(), size=32)
    assert found.parity.faithful == (damage is None)


def test_a_plan_of_other_blocks_is_refused(path: Path, tmp_path: Path) -> None:
    text = plan_path(path).read_text()
    other = tmp_path / "plan.json"
    other.write_text(text.replace('"block": 32', '"block": 16'))
    source = make_source(wide(), size=32)
    options = QuantizationOptions(plan=other)
    config = ExportConfig(tmp_path / "out", precision="int4-weights", quantization=options)
    with pytest.raises(UsageError, match="blocks have"):
        export_program(lambda: source, "wide", [get_format("coreml")], config)


def test_narrow_nets_have_none(tmp_path: Path) -> None:
    narrow = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.Conv2d(12, 5, 3)).eval()
    with pytest.raises(UsageError, match="no layer whose input channels are blocks of 16 to 32"):
        mobile_export.export(
            narrow, "coreml", tmp_path, name="n", precision="int4-weights", size=32
        )


@pytest.mark.parametrize(
    ("channels", "size"),
    [
        (64, 32),
        (48, 24),
        (80, 20),
        (168, 28),
        (16, 16),
        (40, 20),
        (3, None),
        (33, None),
        (62, None),
    ],
)
def test_blocks_are_whole(channels: int, size: int | None) -> None:
    """The largest even divisor from 16 to 32."""
    assert block_of(channels, 32) == size


@pytest.mark.parametrize("bits", [4, 8])
def test_integers_come_back_from_what_they_stand_for(bits: int) -> None:
    """Whatever the scale: the numbers come out to the last bit."""
    draw = np.random.default_rng(0)
    high = 2 ** (bits - 1) - 1
    integers = draw.integers(-high, high + 1, (16, 64, 3, 3))
    integers[:, ::32, 0, 0] = high
    scales = np.exp(draw.standard_normal((16, 2)) * 3).astype(np.float32)
    wide_scales = np.repeat(scales, 32, 1)[:, :, None, None].astype(np.float64)
    values = (integers * wide_scales).astype(np.float32)
    found = in_blocks(values, 32, bits)
    assert found is not None
    assert np.array_equal(found[0], integers)
    again = np.repeat(found[1], 32, 1)[:, :, None, None].astype(np.float64)
    assert np.array_equal((found[0] * again).astype(np.float32), values)
    values[3, 40, 1, 1] *= np.float32(1.0001)
    values[3, 40, 1, 1] += np.float32(1e-6)
    assert in_blocks(values, 32, bits) is None
    assert in_blocks(values, 33, bits) is None
