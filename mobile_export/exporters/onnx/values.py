"""What reads the values of an ONNX graph, and what shapes they have."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

__all__ = ["readers_of", "shapes_of"]


def readers_of(graph: onnx.GraphProto) -> defaultdict[str, list[onnx.NodeProto]]:
    """The nodes that read each value, in their order; one that reads it twice is there twice."""
    readers: defaultdict[str, list[onnx.NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    return readers


def shapes_of(model: onnx.ModelProto) -> dict[str, list[int]]:
    """The shapes that ONNX infers of values; 0 is a size that depends on the input.

    It takes a copy of the whole model: not to be asked for in vain.
    """
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    return {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.value_info, *graph.output)
        if value.type.tensor_type.HasField("shape")
    }
