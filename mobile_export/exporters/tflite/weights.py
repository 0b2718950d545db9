"""Integers in the place of the weights of a file of floats.

litert-torch writes a float program, whose weights are what the integers of a plan stand for. Here
these tensors become the integers, with the scales of the plan, and a DEQUANTIZE in front of their
users: LiteRT then computes in float32 with what the plan says, once it has widened them.

An operator that is given integers for its weights and a float for its input is another thing: such
a *hybrid* kernel rounds the input to integers of its own choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...graph.editor import GraphEditor
from ...graph.quantized import is_quantization
from ...graph.stored_integers import exact_floats

if TYPE_CHECKING:
    from ...graph.program import Program

__all__ = ["PlannedWeights", "planned_weights", "with_integer_weights"]


@dataclass(frozen=True)
class PlannedWeights:
    """Weights that a file of floats has.

    Attributes:
        values: float32, in the layout of the program.
        scales: one, or one for each place on some axis, float32.
    """

    values: np.ndarray
    scales: np.ndarray

    def integers(self, found: np.ndarray) -> tuple[np.ndarray, int] | None:
        """The integers of ``found``, the same weights in another layout, and the axis of the
        scales; None where it is something else."""
        axes = range(found.ndim) if len(self.scales) > 1 else (0,)
        for axis in axes:
            if len(self.scales) not in (1, found.shape[axis]):
                continue
            shape = [1] * found.ndim
            shape[axis] = len(self.scales)
            scale = self.scales.reshape(shape).astype(np.float64)
            integers = np.rint(found / scale)
            exact = np.abs(integers).max(initial=0) <= 127
            if exact and np.array_equal((integers * scale).astype(np.float32), found):
                return integers.astype(np.int8), axis
        return None


_Table = Mapping[bytes, list[PlannedWeights]]


def planned_weights(program: Program) -> _Table:
    """The weights of a program with a plan in it, by what they have in common in every layout."""
    import torch

    graph = GraphEditor(program)
    found: dict[bytes, list[PlannedWeights]] = {}
    for node in graph.nodes:
        if not is_quantization(node) or not graph.is_constant(node.args[0]):
            continue
        stored: Any = graph.constant(node.args[0])
        if stored.dtype != torch.int8:
            continue
        scale: Any = node.args[1]
        scales = graph.exact(scale) if graph.is_constant(scale) else torch.tensor([scale])
        assert scales is not None
        values = exact_floats(graph, node).float().numpy()
        weights = PlannedWeights(values, scales.float().numpy().reshape(-1))
        found.setdefault(_sorted(values), []).append(weights)
    return found


def _sorted(values: np.ndarray) -> bytes:
    return np.sort(values.reshape(-1)).tobytes()


def with_integer_weights(content: bytes, planned: _Table) -> bytes:
    """A file of floats with integers for all tensors that are in ``planned``."""
    from ai_edge_litert import schema_py_generated as schema

    from .flatbuffer import pack, unpack

    model = unpack(content)
    sizes = {each.values.size for row in planned.values() for each in row}
    for graph in model.subgraphs:
        made = {int(i) for operator in graph.operators for i in operator.outputs}
        for index in _stored_floats(model, graph, made, sizes, schema):
            _widen(model, graph, index, planned, schema)
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None  # the floats
    return pack(model)


def _stored_floats(
    model: Any, graph: Any, made: set[int], sizes: set[int], schema: Any
) -> Iterator[int]:
    for index, tensor in enumerate(list(graph.tensors)):
        if tensor.type != schema.TensorType.FLOAT32 or index in made:
            continue
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) // 4 in sizes:
            yield index


def _widen(model: Any, graph: Any, index: int, planned: _Table, schema: Any) -> None:
    """Store a tensor as integers, if it is planned, and widen it for its users."""
    tensor = graph.tensors[index]
    values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
    values = values.reshape([int(n) for n in tensor.shape])
    for weights in planned.get(_sorted(values), ()):
        found = weights.integers(values)
        if found is None:
            continue
        integers, axis = found
        stored = schema.TensorT()
        stored.shape, stored.type = tensor.shape, schema.TensorType.INT8
        stored.name = f"{_text(tensor.name)}_integers"
        stored.quantization = schema.QuantizationParametersT()
        stored.quantization.scale = weights.scales
        stored.quantization.zeroPoint = np.zeros(len(weights.scales), np.int64)
        stored.quantization.quantizedDimension = axis
        buffer = schema.BufferT()
        buffer.data = np.ascontiguousarray(integers).reshape(-1).view(np.uint8)
        model.buffers.append(buffer)
        stored.buffer, tensor.buffer = len(model.buffers) - 1, 0
        graph.tensors.append(stored)
        operator = schema.OperatorT()
        operator.opcodeIndex = _dequantize_code(model, schema)
        operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
        graph.operators.insert(0, operator)
        return


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


_VERSION = 6
"""Of DEQUANTIZE with a scale for each place on an axis (LiteRT's register.cc has 1 to 6)."""


def _dequantize_code(model: Any, schema: Any) -> int:
    """The place of the operator's code, which is added where there is none."""
    wanted = schema.BuiltinOperator.DEQUANTIZE
    for place, code in enumerate(model.operatorCodes):
        if code.builtinCode == wanted and code.version == _VERSION:
            return place
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = wanted
    code.version = _VERSION
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1
