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

from typing import TYPE_CHECKING

import numpy as np

from ...graph.stored_integers import cut
from .rewriter import GraphRewriter

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


class _Writer(GraphRewriter):
    """Puts what widens integers in front of the layers that read them."""

    def __init__(self, model: onnx.ModelProto, bits: int, block: int) -> None:
        super().__init__(model)
        self.bits, self.block = bits, block
        self.widened: dict[tuple[str, bool], str | None] = {}

    def run(self) -> None:
        """Rewrite all nodes, and store what they read."""
        for node in list(self.graph.node):
            if node.op_type in ("Conv", "MatMul", "Gemm") and node.input[1] in self.stored:
                node.input[1] = self._weights(node.input[1], _is_turned(node)) or node.input[1]
            self.nodes.append(node)
        self.finish()

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
        from onnx.helper import tensor_dtype_to_np_dtype
        from onnx.numpy_helper import to_array

        values = to_array(self.stored[name])
        if values.dtype != np.float32 or values.ndim < 2 or (turned and values.ndim > 2):
            return None
        values = values.T if turned else values
        found = cut(values, self.block, self.bits)
        if found is None:
            return None
        integers, scales, bits = found
        kind = tensor_dtype_to_np_dtype(TensorProto.INT4 if bits == 4 else TensorProto.INT8)
        rows = integers.reshape(scales.size, -1).astype(kind)
        given = [
            self.store(f"{name}_rows", rows),
            self.store(f"{name}_scales", scales.reshape(-1)),
        ]
        if bits == 8:  # onnxruntime's ``session.x64quantprecision`` replaces it
            given.append(self.store(f"{name}_zeros", np.zeros(scales.size, np.int8)))
        shape = self.store(f"{name}_shape", np.asarray(values.shape, np.int64))
        self.add("DequantizeLinear", given, f"{name}_widened", axis=0)
        self.add("Reshape", [f"{name}_widened", shape], f"{name}_shaped")
        if not turned:
            return f"{name}_shaped"
        self.add("Transpose", [f"{name}_shaped"], f"{name}_turned", perm=[1, 0])
        return f"{name}_turned"


def _is_turned(layer: onnx.NodeProto) -> bool:
    """Whether the weights of a layer have input channels as their first axis."""
    if layer.op_type == "Gemm":
        return all(each.i == 0 for each in layer.attribute if each.name == "transB")
    return bool(layer.op_type == "MatMul")
