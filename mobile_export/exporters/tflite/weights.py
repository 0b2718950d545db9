"""Integers in the place of the weights of a file of floats.

litert-torch writes a float program, whose weights are what the integers of a plan stand for. Here
these tensors become the integers, with the scales of the plan, and a DEQUANTIZE in front of their
users: LiteRT then computes in float32 with what the plan says, once it has widened them.

An operator that is given integers for its weights and a float for its input is another thing: such
a *hybrid* kernel rounds the input to integers while it runs, one scale for each image or row.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...graph.stored_integers import PlannedTable, PlannedWeights, find_weights
from .flatbuffer import add_buffer, name_of, operator_code, pack, unpack

__all__ = ["DEQUANTIZE", "stored_integers", "widen", "with_integer_weights", "without_floats"]


def with_integer_weights(content: bytes, planned: PlannedTable, *, hybrid: bool = False) -> bytes:
    """A file of floats with integers for all tensors that are in ``planned``.

    Args:
        hybrid: give the integers to the operators that then round their inputs while they run.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    sizes = {each.values.size for row in planned.values() for each in row}
    for graph in model.subgraphs:
        for index, tensor in _stored_floats(model, graph, sizes, schema):
            values = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.float32)
            found = find_weights(planned, values.reshape([int(n) for n in tensor.shape]))
            if found is None:
                continue
            users = [each for each in graph.operators if index in each.inputs]
            direct = hybrid and all(
                _is_hybrid(model, graph, user, index, found[2], schema) for user in users
            )
            stored = stored_integers(model, tensor, found)
            if direct:
                graph.tensors[index] = stored
            else:
                widen(model, graph, index, stored)
    return pack(without_floats(model))


def without_floats(model: Any) -> Any:
    """``model`` without the content of constants that nothing reads."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or ()}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    return model


def _stored_floats(
    model: Any, graph: Any, sizes: set[int], schema: Any
) -> Iterator[tuple[int, Any]]:
    """Stored tensors of floats that may be weights, with their places."""
    made = {int(i) for operator in graph.operators for i in operator.outputs}
    for index, tensor in enumerate(list(graph.tensors)):
        if tensor.type != schema.TensorType.FLOAT32 or index in made:
            continue
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) // 4 in sizes:
            yield index, tensor


def _is_hybrid(model: Any, graph: Any, user: Any, index: int, axis: int, schema: Any) -> bool:
    """Whether an operator has a kernel of a float input and of weights of integers at ``index``,
    with a scale for each place on ``axis``; it is told to round asymmetrically.

    Convolutions of groups, transposed ones and products of batches have none.
    """
    builtin = schema.BuiltinOperator
    code = model.operatorCodes[user.opcodeIndex].builtinCode
    if len(user.inputs) < 2 or int(user.inputs[1]) != index:
        return False
    if code == builtin.FULLY_CONNECTED:
        user.builtinOptions.asymmetricQuantizeInputs = True
        return axis == 0
    if code == builtin.CONV_2D:
        given, weight = (graph.tensors[int(i)].shape for i in user.inputs[:2])
        return axis == 0 and int(given[3]) == int(weight[3])
    return bool(code == builtin.DEPTHWISE_CONV_2D and axis == 3)


def stored_integers(model: Any, tensor: Any, found: tuple[PlannedWeights, np.ndarray, int]) -> Any:
    """A tensor of integers in the place of one of floats, whose buffer is added to ``model``.

    Args:
        found: what `find_weights` gives for the floats.
    """
    from ai_edge_litert import schema_py_generated as schema

    weights, integers, axis = found
    stored = schema.TensorT()
    stored.shape, stored.type = tensor.shape, schema.TensorType.INT8
    stored.name = f"{name_of(tensor)}_integers"
    stored.quantization = schema.QuantizationParametersT()
    stored.quantization.scale = weights.scales
    stored.quantization.zeroPoint = np.zeros(len(weights.scales), np.int64)
    stored.quantization.quantizedDimension = axis
    stored.buffer = add_buffer(model, integers)
    return stored


def widen(model: Any, graph: Any, index: int, stored: Any) -> None:
    """Add integers, and the operator that widens them into the tensor at ``index``."""
    from ai_edge_litert import schema_py_generated as schema

    graph.tensors[index].buffer = 0
    graph.tensors.append(stored)
    operator = schema.OperatorT()
    operator.opcodeIndex = operator_code(model, *DEQUANTIZE)
    operator.inputs, operator.outputs = [len(graph.tensors) - 1], [index]
    graph.operators.insert(0, operator)


DEQUANTIZE = ("DEQUANTIZE", 6)
"""The operator and its version (LiteRT's register.cc has 1 to 6): with a scale for each place on an
axis, and of integers of 4 bits."""
