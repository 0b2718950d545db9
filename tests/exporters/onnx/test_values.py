"""Readers and shapes of an ONNX graph's values, by the rules of its specification."""

from __future__ import annotations

from onnx import TensorProto, helper

from mobile_export.exporters.onnx.values import readers_of, shapes_of


def float_value(name: str, shape: list[int | str] | None):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def test_readers_are_in_order_and_as_often_as_they_read() -> None:
    add = helper.make_node("Add", ["x", "x"], ["twice"])
    relu = helper.make_node("Relu", ["x"], ["positive"])
    last = helper.make_node("Mul", ["twice", "positive"], ["y"])
    graph = helper.make_graph([add, relu, last], "g", [float_value("x", [2])], [])
    readers = readers_of(graph)
    assert [node.op_type for node in readers["x"]] == ["Add", "Add", "Relu"]
    assert readers["twice"] == [last]
    assert readers["y"] == []


def test_shapes_between_are_inferred_and_free_sizes_are_zero() -> None:
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=[2, 0, 1]),
        helper.make_node("Relu", ["turned"], ["y"]),
    ]
    inputs = [float_value("x", ["batch", 3, 5]), float_value("unknown", None)]
    graph = helper.make_graph(nodes, "g", inputs, [float_value("y", [5, "batch", 3])])
    shapes = shapes_of(helper.make_model(graph))
    assert shapes["x"] == [0, 3, 5]
    assert shapes["turned"] == [5, 0, 3]
    assert shapes["y"] == [5, 0, 3]
    assert "unknown" not in shapes
