"""Weights of integers in blocks, in a graph of floats.

A plan of such weights stands in the program as the floats that its integers stand for. Here the
integers come back, and a DequantizeLinear (opset 21 has integers of 4 bits) in front of the layer.
Its scales are of places on one axis, so what is stored has a row for each block:

    rows     (O * I / block, block * kernel)       4 bits, a scale for each row
    weights  (O, I, *kernel) = Reshape(DequantizeLinear(rows))

Layers that have no whole blocks are 8 bits with a scale for each output channel. Nothing is rounded
here: weights that no integers stand for exactly stay as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.stored_integers import cut

if TYPE_CHECKING:
    import onnx

__all__ = ["store_blocks"]


def store_blocks(model: onnx.ModelProto, bits: int, block: int) -> None:
    """Store the weights of convolutions and linear layers as the integers that they are.

    Args:
        bits: of the integers in blocks.
        block: as many input channels share a scale.
    """
    _Writer(model, bits, block).run()


class _Writer:
    """Puts what widens integers in front of the layers that read them."""

    def __init__(self, model: onnx.ModelProto, bits: int, block: int) -> None:
        self.graph, self.bits, self.block = model.graph, bits, block
        self.stored = {each.name: each for each in model.graph.initializer}
        self.widened: dict[tuple[str, bool], str | None] = {}
        self.nodes: list[onnx.NodeProto] = []

    def run(self) -> None:
        for node in list(self.graph.node):
            if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in self.stored:
                node.input[1] = self._weights(node.input[1], _is_turned(node)) or node.input[1]
            self.nodes.append(node)
        self.graph.ClearField("node")
        self.graph.node.extend(self.nodes)
        read = {name for node in self.nodes for name in node.input}
        left = {name for (name, _), widened in self.widened.items() if widened} - read
        kept = [each for name, each in self.stored.items() if name not in left]
        self.graph.ClearField("initializer")
        self.graph.initializer.extend(kept)

    def _weights(self, name: str, turned: bool) -> str | None:
        """The name of what stands for stored weights; None where no integers do.

        Args:
            turned: input channels are the first axis.
        """
        key = (name, turned)
        if key not in self.widened:
            self.widened[key] = self._widen(name, turned)
        return self.widened[key]

    def _widen(self, name: str, turned: bool) -> str | None:
        from onnx import TensorProto
        from onnx.numpy_helper import to_array

        values = to_array(self.stored[name])
        if values.dtype != np.float32 or values.ndim < 2 or (turned and values.ndim > 2):
            return None
        values = values.T if turned else values
        found = cut(values, self.block, self.bits)
        if found is None:
            return None
        integers, scales, bits = found
        width = TensorProto.INT4 if bits == 4 else TensorProto.INT8
        rows = integers.reshape(scales.size, -1)
        given = [
            self._store(f"{name}_rows", width, rows),
            self._store(f"{name}_scales", TensorProto.FLOAT, scales.reshape(-1)),
        ]
        if width == TensorProto.INT8:  # onnxruntime's ``session.x64quantprecision`` replaces it
            zeros = np.zeros(scales.size, np.int8)
            given.append(self._store(f"{name}_zeros", width, zeros))
        widened = self._add("DequantizeLinear", given, f"{name}_widened", axis=0)
        shape = self._store(f"{name}_shape", TensorProto.INT64, np.asarray(values.shape))
        shaped = self._add("Reshape", [widened, shape], f"{name}_shaped")
        return self._add("Transpose", [shaped], f"{name}_turned", perm=[1, 0]) if turned else shaped

    def _store(self, name: str, kind: int, values: np.ndarray) -> str:
        from onnx.helper import tensor_dtype_to_np_dtype
        from onnx.numpy_helper import from_array

        if name not in self.stored:
            self.stored[name] = from_array(values.astype(tensor_dtype_to_np_dtype(kind)), name)
        return name

    def _add(self, operator: str, given: list[str], made: str, **attributes: Any) -> str:
        from onnx.helper import make_node

        self.nodes.append(make_node(operator, given, [made], **attributes))
        return made


def _is_turned(layer: onnx.NodeProto) -> bool:
    """Whether the weights of a layer have input channels as their first axis."""
    if layer.op_type == "Gemm":
        return all(each.i == 0 for each in layer.attribute if each.name == "transB")
    return bool(layer.op_type == "MatMul")
