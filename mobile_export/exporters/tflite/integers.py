"""Files of integers: a program with a plan in it as litert-torch takes it, and floats at both ends.

litert-torch knows stored integers only as stored floats with a quantise behind them, and makes
the integers of a bias itself. Its converter takes the scales as they are; `parity` compares the
integers and the scales of the written file with the plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...graph.editor import GraphEditor
from ...graph.ops import argument, as_list
from ...graph.quantized import is_quantization
from ...graph.roundings import Pads, free_pads
from ...graph.stored_integers import exact_floats
from ...system.torch_private import quantization_operators
from .flatbuffer import name_of, operator_code, pack, unpack

if TYPE_CHECKING:
    from torch.fx import Node

    from ...graph.program import Program

__all__ = ["with_float_ends", "with_stored_floats"]


def with_stored_floats(program: Program) -> Program:
    """``program`` with stored floats on the grid of the plan in the place of stored integers.

    The floats are exact, in float64, so that the proof compares what the plan says: a bias that is
    rounded to float32 moves sums to the other side of a rounding, which later layers amplify. The
    writer rounds them (`Program.in_float32`); the integers come back, and are compared.
    """
    graph = GraphEditor(program)
    free_pads(graph, _is_same)
    for node in graph.nodes:
        if is_quantization(node) and graph.is_constant(node.args[0]):
            _store_floats(graph, node)
    _widen_apart(graph)
    return graph.result().program


def _widen_apart(graph: GraphEditor) -> None:
    """Give every user of integers a dequantise of its own.

    litert-torch 0.10 forgets the shape and the layout of one when it puts a transpose between it
    and one of its users (``OptimizeLayoutTransposesPass.insert_t_q_dq``), and then converts what
    the others read to the wrong layout, or refuses it.
    """
    for node in graph.nodes:
        source: Any = node.args[0] if is_quantization(node) else None
        if source is not None and is_quantization(source):
            for user in list(node.users)[1:]:
                own = graph.call(node.target, *node.args, like=node)
                user.replace_input_with(node, own)


def _is_same(conv: Node, pads: Pads) -> bool:
    """Whether zeros are what TFLite's padding SAME puts around what a convolution reads.

    An output of ceil(n / stride) places needs (ceil(n / stride) - 1) · stride + (kernel - 1) ·
    dilation + 1 of the input; what is missing is halved, the odd one behind (TensorFlow, "notes on
    padding"). Any other padding stays a PAD with the scale of its input.
    """
    rank = len(pads)
    kernel = argument(conv, "weight").meta["val"].shape[2:]
    stride, own, dilation = (
        as_list(argument(conv, name), rank) for name in ("stride", "padding", "dilation")
    )
    if rank != 2 or any(own):
        return False
    size = argument(conv, "input").meta["val"].shape[2:]
    for n, k, s, d, (before, behind) in zip(size, kernel, stride, dilation, pads, strict=True):
        bare = int(n) - before - behind
        missing = max((-(-bare // s) - 1) * s + (k - 1) * d + 1 - bare, 0)
        if (before, behind) != (missing // 2, missing - missing // 2):
            return False
    return True


def _store_floats(graph: GraphEditor, node: Node) -> None:
    import torch

    operators = quantization_operators()
    integers = graph.constant(node.args[0])
    assert integers is not None
    name = graph.name_of(node.args[0]).replace(".integers", ".values")
    stored = graph.add_constant(exact_floats(graph, node), name)
    if integers.dtype == torch.int32:
        graph.replace(node, stored, "a bias as floats")
        return
    quantize = operators.quantize_per_channel.default
    how: tuple[Any, ...] = tuple(node.args[1:4])
    if node.target is operators.dequantize_per_tensor.default:
        quantize, how = operators.quantize_per_tensor.default, tuple(node.args[1:3])
    rounded = graph.call(quantize, stored, *how, *node.args[-3:], like=node)
    node.replace_input_with(node.args[0], rounded)  # type: ignore[arg-type]
    graph.changed(node, "weights as floats on their grid")


def with_float_ends(content: bytes) -> bytes:
    """A file whose inputs and outputs are integers with ones of float32 around them.

    QUANTIZE and DEQUANTIZE are what converters write there for apps that give floats; the signature
    keeps its names.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = unpack(content)
    graph = model.subgraphs[0]
    kinds = (schema.TensorType.INT8, schema.TensorType.INT16)
    graph.inputs, graph.outputs = [*graph.inputs], [*graph.outputs]
    for ends, word in ((graph.inputs, "QUANTIZE"), (graph.outputs, "DEQUANTIZE")):
        for place, index in enumerate(ends):
            inner = graph.tensors[index]
            if inner.type not in kinds:
                continue
            outer = _like(inner, schema)
            graph.tensors.append(outer)
            number = len(graph.tensors) - 1
            operator = schema.OperatorT()
            operator.opcodeIndex = operator_code(model, word, version=2, any_version=True)
            given, made = (number, index) if word == "QUANTIZE" else (index, number)
            operator.inputs, operator.outputs = [given], [made]
            at = 0 if word == "QUANTIZE" else len(graph.operators)
            graph.operators.insert(at, operator)
            ends[place] = number
            _rename(model, int(index), number)
    return pack(model)


def _like(inner: Any, schema: Any) -> Any:
    """A float32 tensor of the same shape, which takes the name."""
    outer = schema.TensorT()
    outer.shape, outer.shapeSignature = inner.shape, inner.shapeSignature
    outer.type, outer.buffer = schema.TensorType.FLOAT32, 0
    outer.name = inner.name
    inner.name = f"{name_of(inner)}_integers"
    return outer


def _rename(model: Any, old: int, new: int) -> None:
    """Let the signatures name another tensor."""
    for signature in model.signatureDefs or ():
        for each in (*(signature.inputs or ()), *(signature.outputs or ())):
            if each.tensorIndex == old:
                each.tensorIndex = new
