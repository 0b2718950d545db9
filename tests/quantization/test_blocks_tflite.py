"""Weights of 4 bits in TFLite files: widened by the operators that TFLite has."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mobile_export
from mobile_export.exporters.tflite.flatbuffer import pack, unpack

from .test_blocks import SHAPES, exported, require_nearest, wide


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported("tflite", tmp_path_factory.mktemp("blocks"))


def test_litert_widens_them_to_the_nearest(path: Path) -> None:
    """The tensors that LiteRT's own kernels make of stored integers, as the layers read them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    interpreter.invoke()
    found = {}
    for op in interpreter._get_ops_details():
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            value = interpreter.get_tensor(op["inputs"][1])
            order = {"CONV_2D": (0, 3, 1, 2), "DEPTHWISE_CONV_2D": (3, 0, 1, 2)}
            turned = value.transpose(order.get(op["op_name"], (0, 1)))
            found[turned.shape] = turned
    require_nearest([found[shape] for shape in SHAPES], path)


def test_the_file_has_four_bits_for_a_weight(path: Path) -> None:
    assert mobile_export.inspect(str(path))["precision"] == "int4-weights"
    point, dense, head, turned = 64 * 32, 32 * 64 * 9, 10 * 32, 32 * 32 * 4
    assert path.stat().st_size < (point + dense + head) * 5 / 8 + 4 * turned + 12288


def stored(model: Any, kind: int, size: int) -> np.ndarray:
    """The bytes of the array of a type and so many elements, to be changed."""
    (graph,) = model.subgraphs
    found = (t for t in graph.tensors if t.type == kind and np.prod(t.shape) == size and t.buffer)
    (buffer,) = {t.buffer for t in found if model.buffers[t.buffer].data is not None}
    data = np.asarray(model.buffers[buffer].data, np.uint8).copy()
    model.buffers[buffer].data = data
    return data


FLOAT32, INT4 = 0, 17
DENSE, POINT = 32 * 64 * 9, 64 * 32


def damage_scale(model: Any) -> None:
    (graph,) = model.subgraphs
    (found,) = (t for t in graph.tensors if list(t.shape) == [32, 1, 2, 1])
    data = np.asarray(model.buffers[found.buffer].data, np.uint8).copy()
    data.view(np.float32)[5] *= np.float32(1.01)
    model.buffers[found.buffer].data = data


def damage_weight(model: Any) -> None:
    stored(model, INT4, DENSE)[0] ^= 0x13


def damage_channels(model: Any) -> None:
    """The same values, in another order."""
    rows = stored(model, INT4, POINT).reshape(64, 16)
    rows[:] = rows[:, ::-1].copy()


@pytest.mark.parametrize("damage", [None, "scale", "weight", "channels"])
def test_a_damaged_file_is_not_faithful(damage: str | None, path: Path, tmp_path: Path) -> None:
    for each in path.parent.iterdir():
        shutil.copy(each, tmp_path / each.name)
    file = tmp_path / path.name
    change: Callable[[Any], None] = globals()[f"damage_{damage}"] if damage else lambda model: None
    model = unpack(file.read_bytes())
    change(model)
    file.write_bytes(pack(model))
    found = mobile_export.verify(file, wide(), size=32)
    assert found.parity.faithful == (damage is None)
