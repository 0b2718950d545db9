"""Writing the nodes of an ONNX graph anew, with what they store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx

__all__ = ["GraphRewriter"]


class GraphRewriter:
    """New nodes, in the order in which they are added, and stored tensors by their names."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.stored = {each.name: each for each in model.graph.initializer}
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, given: list[str], *made: str, **attributes: Any) -> None:
        """Add a node of an operator that reads and makes values of these names."""
        import onnx

        self.nodes.append(onnx.helper.make_node(operator, given, list(made), **attributes))

    def store(self, name: str, values: np.ndarray) -> str:
        """``name``, under which an array is stored where nothing is yet."""
        from onnx.numpy_helper import from_array

        if name not in self.stored:
            self.stored[name] = from_array(np.ascontiguousarray(values), name)
        return name

    def finish(self) -> None:
        """Put the nodes into the graph, and those stored tensors that something reads."""
        self.graph.ClearField("node")
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        read |= {output.name for output in self.graph.output}
        kept = [each for name, each in self.stored.items() if name in read]
        self.graph.ClearField("initializer")
        self.graph.initializer.extend(kept)
