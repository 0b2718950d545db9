"""Weights of 4 bits in ONNX files: DequantizeLinear with a row for each block."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mobile_export
from tests.conftest import need

from .test_blocks import exported, require_nearest, wide


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("onnx", tmp_path_factory.mktemp("blocks"))


def arrays(path: Path) -> dict[str, np.ndarray]:
    import onnx

    stored = onnx.load(path).graph.initializer
    return {each.name: onnx.numpy_helper.to_array(each) for each in stored}


def test_onnx_widens_them_to_the_nearest(path: Path) -> None:
    """ONNX's reference evaluator is told to return what each layer reads."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    proto = onnx.load(path)
    layers = [node for node in proto.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    proto.graph.output.extend(onnx.ValueInfoProto(name=node.input[1]) for node in layers)
    image = np.zeros((1, 3, 32, 32), np.float32)
    names = [node.input[1] for node in layers]
    found = ReferenceEvaluator(proto).run(names, {"image": image})
    require_nearest(found, path)


def test_the_file_has_four_bits_for_a_weight(path: Path) -> None:
    facts = mobile_export.inspect(str(path))
    assert facts["precision"] == "int4-weights"
    assert facts["version"].endswith("opset 21")
    point, dense, head, turned = 64 * 32, 32 * 64 * 9, 10 * 32, 32 * 32 * 4
    assert path.stat().st_size < (point + dense + head) * 5 / 8 + 4 * turned + 8192


def edited(path: Path, folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> Path:
    """A copy of a file whose stored arrays are changed; of 4 bits as bytes of 8."""
    import onnx

    for each in path.parent.iterdir():
        shutil.copy(each, folder / each.name)
    proto = onnx.load(path)
    kinds = {each.name: each.data_type for each in proto.graph.initializer}
    values = {
        name: each.astype(np.int8) if each.dtype.name == "int4" else each.copy()
        for name, each in arrays(path).items()
    }
    change(values)
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(
        onnx.helper.make_tensor(name, kinds[name], each.shape, each.reshape(-1))
        for name, each in values.items()
    )
    file = folder / path.name
    onnx.save(proto, file)
    return file


def of(values: dict[str, np.ndarray], weights: int, what: str) -> np.ndarray:
    """The rows, or the scales, of the layer of so many weights."""
    (rows,) = (n for n, v in values.items() if v.size == weights and n.endswith("_rows"))
    return values[rows.removesuffix("_rows") + what]


DENSE, POINT = 32 * 64 * 9, 64 * 32


def damage_scale(values: dict[str, np.ndarray]) -> None:
    of(values, DENSE, "_scales")[5] *= np.float32(1.01)


def damage_weight(values: dict[str, np.ndarray]) -> None:
    rows = of(values, DENSE, "_rows")
    rows[0, 0] += 1 if rows[0, 0] < 7 else -1


def damage_blocks(values: dict[str, np.ndarray]) -> None:
    """The scales of the two blocks of each output channel change places."""
    scales = of(values, DENSE, "_scales").reshape(32, 2)
    scales[:] = scales[:, ::-1].copy()


def damage_channels(values: dict[str, np.ndarray]) -> None:
    """The same values, in another order."""
    rows = of(values, POINT, "_rows")
    rows[:] = rows[:, ::-1].copy()


@pytest.mark.parametrize("damage", [None, "scale", "weight", "blocks", "channels"])
def test_a_damaged_file_is_not_faithful(damage: str | None, path: Path, tmp_path: Path) -> None:
    change = globals()[f"damage_{damage}"] if damage else (lambda values: None)
    file = edited(path, tmp_path, change)
    found = mobile_export.verify(file, wide(), size=32)
    assert found.parity.faithful == (damage is None)


def test_the_weights_of_a_product_are_turned(tmp_path: Path) -> None:
    """A linear layer of an image's channels is a MatMul, whose weights have inputs first; what
    onnxruntime makes of it rounds nothing else (`MatMulNBits` would)."""
    import torch
    from torch import nn

    need("onnx")
    torch.manual_seed(0)
    ends = (nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 5))
    layers = (nn.Conv2d(3, 64, 4, 4), nn.Flatten(2), *ends)
    report = mobile_export.export(
        nn.Sequential(*layers).eval(), "onnx", tmp_path, name="n", precision="int4-weights", size=32
    )
    (artifact,) = report.artifacts
    assert artifact.parity.max_rel < 2e-6
    assert artifact.path is not None
    found = arrays(artifact.path)
    assert [v.shape for v in found.values() if v.dtype.name == "int4"] == [(192, 32), (15, 32)]
