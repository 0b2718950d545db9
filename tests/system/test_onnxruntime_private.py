"""onnxruntime's checker for its providers on phones, on graphs written of onnx's own helpers.

What is expected stands in its tables (``tools/mobile_helpers/*_supported_ops.md``): both have Conv
and Relu, neither has Sign; Core ML's has Erf, NNAPI's has not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from mobile_export.system.onnxruntime_private import PROVIDERS, partitions_of  # noqa: E402


def written(path: Path, *operators: str) -> Path:
    """A chain: a convolution, then operators of one input."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [helper.make_node("Conv", ["x", "w"], ["t0"], "first", pads=[1, 1, 1, 1])]
    for index, operator in enumerate(operators):
        nodes.append(helper.make_node(operator, [f"t{index}"], [f"t{index + 1}"], f"n{index}"))
    shape = [1, 3, 8, 8]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(f"t{len(operators)}", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_graph_that_is_taken_whole(provider: str, tmp_path: Path) -> None:
    found = partitions_of(written(tmp_path / "a.onnx", "Relu", "Sigmoid"), provider)
    assert (found.nodes, found.taken, found.parts, found.left) == (3, 3, 1, {})
    assert any(text.startswith("Conv: ") for text in found.conditions)


@pytest.mark.parametrize(("provider", "left"), [("nnapi", {"Erf": 1}), ("coreml", {})])
def test_the_tables_differ(provider: str, left: dict[str, int], tmp_path: Path) -> None:
    found = partitions_of(written(tmp_path / "a.onnx", "Erf", "Sigmoid"), provider)
    assert found.left == left
    assert (found.taken, found.parts) == ((3, 1) if not left else (2, 2))


def test_an_operator_that_neither_has_cuts_the_graph(tmp_path: Path) -> None:
    for provider in PROVIDERS:
        found = partitions_of(written(tmp_path / "a.onnx", "Relu", "Sign", "Sigmoid"), provider)
        assert found.parts == 2
        assert found.taken < found.nodes
        assert found.left
