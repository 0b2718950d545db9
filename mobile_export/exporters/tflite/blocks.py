"""Weights of 4 bits, with a scale for each block of input channels, in a file of floats.

A plan of such weights stands in the program, and so in what litert-torch writes, as the floats that
its integers stand for. Here the integers come back. LiteRT's kernels of 4 bits have one scale for
each output channel, so what widens a block is written with the operators that TFLite has:

    weights = RESHAPE(MUL(DEQUANTIZE(integers), scales))

The integers have an axis more, on which blocks lie: (O, places, blocks, block); their scales are
(O, 1, blocks, 1). LiteRT does the first when the file is loaded, the others whenever it runs.
Layers that have no whole blocks are 8 bits with a scale for each output channel (`weights`).
Nothing is rounded here: weights that no integers stand for exactly stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...graph.stored_integers import PlannedWeights, cut
from .flatbuffer import add_buffer, name_of, operator_code, pack, unpack
from .weights import DEQUANTIZE, stored_integers, widen, without_floats

__all__ = ["block_weights", "with_block_weights"]


def with_block_weights(content: bytes, bits: int, block: int) -> bytes:
    """A file of floats with integers for the weights of its layers.

    Args:
        bits: of the integers in blocks: 4.
        block: as many input channels share a scale.
    """
    model = unpack(content)
    for graph in model.subgraphs:
        layers = list(graph.operators)
        for index, order in dict(_weights(model, graph, layers)).items():
            tensor = graph.tensors[index]
            data = model.buffers[tensor.buffer].data
            if data is None or tensor.type != 0 or len(tensor.shape) != len(order):
                continue
            found = np.asarray(data, np.uint8).view(np.float32).reshape(tensor.shape)
            values = found.transpose(order)
            parts = cut(values, block, bits)
            if parts is None:
                continue
            integers, scales, width = parts
            if width == bits:
                _store_blocks(model, graph, index, order, integers, scales)
            else:
                planned = PlannedWeights(values, scales.reshape(-1))
                turned = integers.transpose(np.argsort(order)), order[0]
                widen(model, graph, index, stored_integers(model, tensor, (planned, *turned)))
    return pack(without_floats(model))


def _weights(model: Any, graph: Any, layers: list[Any]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The places of the weights of layers, each with the order of axes that makes them
    (O, I, *kernel)."""
    from ai_edge_litert import schema_py_generated as schema

    builtin = schema.BuiltinOperator
    orders = {
        builtin.CONV_2D: (0, 3, 1, 2),
        builtin.CONV_3D: (4, 3, 0, 1, 2),
        builtin.DEPTHWISE_CONV_2D: (3, 0, 1, 2),
        builtin.FULLY_CONNECTED: (0, 1),
        builtin.BATCH_MATMUL: (1, 0),
    }
    for layer in layers:
        code = model.operatorCodes[layer.opcodeIndex].builtinCode
        if code not in orders:
            continue
        order = orders[code]
        if code == builtin.BATCH_MATMUL and layer.builtinOptions.adjY:
            order = (0, 1)
        yield int(layer.inputs[1]), order


def _store_blocks(
    model: Any,
    graph: Any,
    index: int,
    order: tuple[int, ...],
    integers: np.ndarray,
    scales: np.ndarray,
) -> None:
    """Make the tensor at ``index`` out of integers (O, I, *kernel) and scales (O, blocks)."""
    from ai_edge_litert import schema_py_generated as schema

    channels, blocks = scales.shape
    size = integers.shape[1] // blocks
    places = integers.size // (channels * blocks * size)
    kernel = range(2, integers.ndim)
    if order[0] == 0:  # input channels are the last axis of the file's weights
        laid = integers.transpose(0, *kernel, 1).reshape(channels, places, blocks, size)
        factors = scales.reshape(channels, 1, blocks, 1)
    else:  # output channels are
        laid = integers.transpose(*kernel, 1, 0).reshape(places, blocks, size, channels)
        factors = scales.T.reshape(1, blocks, 1, channels)
    tensor = graph.tensors[index]
    name, kinds = name_of(tensor), schema.TensorType

    def add(what: str, kind: int, shape: tuple[int, ...], values: np.ndarray | None) -> int:
        made = schema.TensorT()
        made.name, made.type, made.shape = f"{name}_{what}", kind, list(shape)
        made.buffer = 0 if values is None else add_buffer(model, values)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    stored = add("integers", kinds.INT4, laid.shape, _packed(laid))
    own = graph.tensors[stored].quantization = schema.QuantizationParametersT()
    own.scale, own.zeroPoint = np.ones(1, np.float32), np.zeros(1, np.int64)
    scale = add("scales", kinds.FLOAT32, factors.shape, factors)
    real = add("widened", kinds.FLOAT32, laid.shape, None)
    scaled = add("scaled", kinds.FLOAT32, laid.shape, None)
    tensor.buffer = 0
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = [int(n) for n in tensor.shape]
    options = schema.BuiltinOptions
    steps = (
        (DEQUANTIZE, [stored], real, schema.DequantizeOptionsT(), options.DequantizeOptions),
        (("MUL", 1), [real, scale], scaled, schema.MulOptionsT(), options.MulOptions),
        (("RESHAPE", 1), [scaled], index, reshape, options.ReshapeOptions),
    )
    for place, (code, given, made, how, kind) in enumerate(steps):
        operator = schema.OperatorT()
        operator.opcodeIndex = operator_code(model, *code)
        operator.inputs, operator.outputs = given, [made]
        operator.builtinOptions, operator.builtinOptionsType = how, kind
        graph.operators.insert(place, operator)


def _packed(integers: np.ndarray) -> np.ndarray:
    """Two integers of 4 bits in a byte, the first in its lower half (TFLite's schema, INT4)."""
    low, high = integers.reshape(-1, 2).T.astype(np.uint8) & 15
    return np.asarray(low | high << 4)


def block_weights(content: bytes) -> Iterator[np.ndarray]:
    """What integers with scales stand for in a file, in float32: those that an operator widens, and
    those of blocks, which are multiplied behind it."""
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    builtin = schema.BuiltinOperator
    for graph in model.subgraphs:
        widened: dict[int, np.ndarray] = {}
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex].builtinCode
            given = [int(each) for each in operator.inputs]
            if (
                code == builtin.DEQUANTIZE
                and (real := _real(model, graph.tensors[given[0]])) is not None
            ):
                widened[int(operator.outputs[0])] = real
                yield real
            elif code == builtin.MUL and given[0] in widened:
                scales = graph.tensors[given[1]]
                data = model.buffers[scales.buffer].data
                if data is not None and len(data):
                    factors = np.asarray(data, np.uint8).view(np.float32)
                    yield widened[given[0]] * factors.reshape(scales.shape)


def _real(model: Any, tensor: Any) -> np.ndarray | None:
    """Stored integers of 8 or 4 bits times their scales; None where it is something else."""
    from ai_edge_litert import schema_py_generated as schema

    data, how = model.buffers[tensor.buffer].data, tensor.quantization
    if data is None or how is None or how.scale is None:
        return None
    stored = np.asarray(data, np.uint8)
    if tensor.type == schema.TensorType.INT4:
        nibbles = np.stack((stored & 15, stored >> 4), -1).reshape(-1).astype(np.int8)
        integers = np.where(nibbles > 7, nibbles - 16, nibbles)
    elif tensor.type == schema.TensorType.INT8:
        integers = stored.view(np.int8)
    else:
        return None
    shape = [1] * len(tensor.shape)
    if len(how.scale) > 1:
        shape[how.quantizedDimension] = -1
    scale, zero = (np.asarray(each).reshape(shape) for each in (how.scale, how.zeroPoint))
    widened = (integers.reshape(tensor.shape) - zero).astype(np.float32)
    return np.asarray(widened * scale.astype(np.float32))
