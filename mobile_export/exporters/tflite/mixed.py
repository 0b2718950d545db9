"""Operators in float32 between integers: layers that mixed precision leaves, and what has no
kernel of 16 bits.

LiteRT's converter makes integers of stored weights wherever what a layer reads was widened from
integers and what it gives is rounded to them, by scales of its own, whatever the plan says. So a
mark stands between the widening and the layer while it converts, -min(-x, 2^127), which is x and
which the converter neither folds nor makes integers of; it only moves the last change of sign into
weights. In the file the mark is taken out, and the sign is changed back: what is left is
DEQUANTIZE, the layer in float32, QUANTIZE.

So it is with operators that the converter takes between integers of 16 bits and then refuses, as
its dialect has them of 8 bits only; or computes with other numbers (SOFTMAX and TANH, two steps
off). It refuses clamps that stand alone, and puts ReLU6 into the end of the mark before it: in the
file that end becomes the clamp.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...errors import BUG, ExportError
from ...graph.editor import GraphEditor
from ...graph.layers import WeightedLayer, layer_of
from ...graph.ops import called_name
from ...graph.quantized import is_quantization
from ...graph.roundings import grid_of
from .flatbuffer import add_buffer, operator_code, pack, unpack

if TYPE_CHECKING:
    from torch.fx import Node

    from ...graph.program import Program

aten: Any = torch.ops.aten

__all__ = ["mark_float_layers", "without_marks"]

_ABOVE_ALL = 2.0**127
"""Exactly a float32; above every number that an integer of a plan stands for."""


def mark_float_layers(program: Program) -> Program:
    """A program with a plan in it, with marks around each operator in float32 between integers.

    Behind layers of float weights there is none: what the converter makes of them depends on what
    they read.
    """
    graph = GraphEditor(program)
    marks: dict[Node, Node] = {}
    for node in graph.nodes:
        layer = layer_of(graph, node)
        if isinstance(layer, WeightedLayer):
            sources = [layer.source] if is_quantization(layer.source) else []
            roundings = []
        else:
            sources = _of_16_bits(node)
            last = _with_clamp(graph, node)
            roundings = [user for user in last.users if sources and is_quantization(user)]
        for source in sources:
            if source not in marks:
                marks[source] = _mark(graph, source, node)
            node.replace_input_with(source, marks[source])
            graph.changed(node, "a mark: it is computed in float32")
        for user in roundings:
            user.replace_input_with(last, _mark(graph, last, user))
    return graph.result().program


def _mark(graph: GraphEditor, value: Node, user: Node) -> Node:
    """``value``, by operations that the converter leaves alone, before ``user``."""
    call = functools.partial(graph.call, like=user)
    bounded = call(aten.clamp.default, call(aten.neg.default, value), None, _ABOVE_ALL)
    return call(aten.neg.default, bounded)


_CLAMPS = ("clamp", "clamp_max", "clamp_min", "hardtanh", "relu6")
_WITHOUT_16_BITS = (
    *("cat", "elu", "gelu", "hardswish", "index", "index_select", "softmax", "stack", "tanh"),
    *("upsample_bilinear2d", *_CLAMPS),
)
"""Operators, without overload, that the converter has of 8 bits only, or computes otherwise."""


def _of_16_bits(node: Node) -> list[Node]:
    """What an operator without a kernel of 16 bits reads of integers of 16 bits."""
    if called_name(node) in _WITHOUT_16_BITS or _repeats_operands(node):
        return [each for each in node.all_input_nodes if _LARGEST_16 in (grid_of(each) or ())]
    return []


def _repeats_operands(node: Node) -> bool:
    """Whether ``node`` adds or subtracts tensors of two shapes, or has a number for an operand, of
    which the converter makes an integer of 8 bits."""
    if called_name(node) in ("add", "div", "mul", "sub") and len(node.all_input_nodes) == 1:
        return True
    if called_name(node) not in ("add", "sub"):
        return False
    shapes = [tuple(each.meta["val"].shape) for each in node.all_input_nodes]
    return any(shape != tuple(node.meta["val"].shape) for shape in shapes)


def _with_clamp(graph: GraphEditor, node: Node) -> Node:
    """``node``, or the clamp that alone reads it: what it gives is rounded behind that."""
    user = graph.only_user(node)
    return user if user is not None and called_name(user) in ("relu", *_CLAMPS) else node


_LARGEST_16 = 2**15 - 1


def without_marks(content: bytes, program: Program) -> bytes:
    """A file without the marks that `mark_float_layers` put into the program it was made of.

    Raises:
        ExportError: the converter has made something else of one.
    """
    marks = sum(_is_mark(node) for node in program.exported.graph.nodes)
    if not marks:
        return content
    model = unpack(content)
    found = sum(_take_out(model, graph) for graph in model.subgraphs)
    if found != marks:
        raise ExportError(
            f"{BUG}: layers of {program.spec} in float32 between integers read {marks} tensors, "
            f"and LiteRT's converter has left {found} of them.",
            hint="Use another format, or a lower `sqnr` or `agreement`.",
        )
    return pack(model)


def _is_mark(node: torch.fx.Node) -> bool:
    return node.target is aten.clamp.default and node.args[1:] == (None, _ABOVE_ALL)


def _take_out(model: Any, graph: Any) -> int:
    """Let what reads a mark read what the mark reads; return how many there were."""
    from ai_edge_litert import schema_py_generated as schema

    minimum = schema.BuiltinOperator.MINIMUM
    made = {int(i): operator for operator in graph.operators for i in operator.outputs}
    ends: dict[int, int] = {}
    gone: set[int] = set()
    count = 0
    for middle in graph.operators:
        given = [int(i) for i in middle.inputs]
        inner = [i for i in given if _number(model, graph, i) != _ABOVE_ALL]
        bounded = len(inner) == 1 < len(given)
        if model.operatorCodes[middle.opcodeIndex].builtinCode != minimum or not bounded:
            continue
        first = made.get(inner[0])
        source = _negated(model, graph, first, schema) if first is not None else -1
        value = int(middle.outputs[0])
        users = [each for each in graph.operators if value in map(int, each.inputs)]
        last = [each for each in users if _negated(model, graph, each, schema) == value]
        folded = [each for each in users if each not in last]
        if source < 0 or not all(_negate_weights(model, graph, each, schema) for each in folded):
            continue
        clamps = [each for each in last if _stand_alone(model, each, source, schema)]
        plain = [each for each in last if each not in clamps]
        ends |= {value: source} | {int(each.outputs[0]): source for each in plain}
        gone |= {id(each) for each in (first, middle, *plain)}
        count += 1
    for operator in graph.operators:
        operator.inputs = [_end(ends, int(i)) for i in operator.inputs]
    graph.operators = [operator for operator in graph.operators if id(operator) not in gone]
    return count


def _stand_alone(model: Any, last: Any, source: int, schema: Any) -> bool:
    """Make the clamp that the converter has put into the end of a mark, if it has, an operator of
    its own that reads what the mark reads; say whether it has."""
    names = {v: k for k, v in vars(schema.ActivationFunctionType).items() if isinstance(v, int)}
    clamp = names[getattr(last.builtinOptions, "fusedActivationFunction", 0)]
    if clamp == "NONE":
        return False
    last.opcodeIndex = operator_code(model, clamp, version=1, any_version=True)
    last.inputs = [source]
    last.builtinOptions, last.builtinOptionsType = None, schema.BuiltinOptions.NONE
    return True


def _end(ends: dict[int, int], index: int) -> int:
    """What is read in the place of a tensor: behind one mark may stand another."""
    while index in ends:
        index = ends[index]
    return index


def _negate_weights(model: Any, graph: Any, layer: Any, schema: Any) -> bool:
    """Undo the last change of sign, which the converter has moved into the weights of a layer; say
    whether it is one that has them stored for itself."""
    builtin = schema.BuiltinOperator
    layers = (builtin.CONV_2D, builtin.DEPTHWISE_CONV_2D, builtin.FULLY_CONNECTED)
    if model.operatorCodes[layer.opcodeIndex].builtinCode not in layers:
        return False
    index = int(layer.inputs[1])
    tensor = graph.tensors[index]
    buffer = model.buffers[tensor.buffer]
    readers = sum(index in map(int, each.inputs) for each in graph.operators)
    if buffer.data is None or tensor.type != schema.TensorType.FLOAT32 or readers > 1:
        return False
    negated = -np.frombuffer(bytes(buffer.data), np.float32)
    shared = sum(each.buffer == tensor.buffer for part in model.subgraphs for each in part.tensors)
    if shared > 1:
        tensor.buffer = add_buffer(model, negated)
    else:
        buffer.data = negated.view(np.uint8)
    return True


def _negated(model: Any, graph: Any, operator: Any, schema: Any) -> int:
    """The tensor that an operator turns the sign of, by NEG or a factor of -1; else -1."""
    code = model.operatorCodes[operator.opcodeIndex].builtinCode
    given = [int(i) for i in operator.inputs]
    if code == schema.BuiltinOperator.NEG:
        return given[0]
    others = [i for i in given if _number(model, graph, i) != -1.0]
    return others[0] if code == schema.BuiltinOperator.MUL and len(others) == 1 else -1


def _number(model: Any, graph: Any, index: int) -> float | None:
    """The one number that a tensor stores as float32; None of another tensor."""
    data = model.buffers[graph.tensors[index].buffer].data if index >= 0 else None
    if data is None or len(data) != 4:
        return None
    return float(np.frombuffer(bytes(data), np.float32)[0])
