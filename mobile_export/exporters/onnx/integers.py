"""Files of integers: a program with a plan in it as onnxruntime's kernels of integers take it.

onnxruntime makes one kernel of an operator and the DequantizeLinear and QuantizeLinear around it,
where it knows the pattern and all of them have one type. A pad or a clamp between the operator and
its QuantizeLinear breaks the pattern. So does the type: on x86 it turns int8 into uint8, which its
products want, but not where a tensor is read twice (a residual): what touches such a tensor stays
floating point. Activations of 8 bits are therefore uint8 in the file: 128 more than those of the
plan, and the zero point, too, which stands for the same.

On x86 without VNNI the fast product of uint8 and int8 adds two products in 16 bits, which
saturates: with EfficientNet-Lite0's trained weights that leaves 8 dB of 23. onnxruntime's switch
``session.x64quantprecision`` chooses products that do not, and does nothing where none does (ARM,
VNNI). It replaces zero points of weights, and fails where two layers share a stored one (1.32).

Weights of int8 in front of a MatMul of floats it takes for its MatMulNBits, which rounds the other
factor to 8 bits while it runs (`runtime_faults`, 1e-3 off): such weights have one axis more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...graph.editor import GraphEditor
from ...graph.quantized import is_quantization
from ...graph.roundings import Pads, free_clamps, free_pads, grid_of

if TYPE_CHECKING:
    import onnx
    from torch.fx import Node

    from ...graph.program import Program

__all__ = [
    "as_planned",
    "fold_pads",
    "keep_products_floating",
    "separate_zero_points",
    "with_kernels",
]

_OFFSET = 128


def with_kernels(program: Program) -> Program:
    """``program``, which has a plan in it, in the form above."""
    graph = GraphEditor(program)
    free_clamps(graph)
    free_pads(graph, _takes)
    for node in graph.nodes:
        if is_quantization(node) and _is_activation(graph, node):
            _without_sign(graph, node)
    return graph.result().program


def _takes(conv: Node, pads: Pads) -> bool:
    """Whether a Conv's attribute ``pads`` can say it: any, before and after each axis."""
    return True


def _is_activation(graph: GraphEditor, node: Node) -> bool:
    """Whether a node has one scale and int8, and is not of the weights of a layer."""
    grid = grid_of(node)
    if grid is None or grid[-1] is not torch.int8:
        return False
    stored = graph.is_constant(node.args[0])
    return not (stored and any(_is_weight_of(node, user) for user in node.users))


def _is_weight_of(node: Node, user: Node) -> bool:
    schema: Any = getattr(user.target, "_schema", None)
    names = [each.name for each in schema.arguments] if schema is not None else []
    given = dict(zip(names, user.args, strict=False)) | user.kwargs
    return given.get("weight") is node


def _without_sign(graph: GraphEditor, node: Node) -> None:
    scale, zero, least, largest, _ = grid_of(node) or ()
    source: Any = node.args[0]
    stored = graph.constant(source)
    if stored is not None:
        unsigned = (stored.to(torch.int16) + _OFFSET).to(torch.uint8)
        source = graph.add_constant(unsigned, f"{graph.name_of(source)}.uint8")
    limits = (least + _OFFSET, largest + _OFFSET, torch.uint8)
    node.args = (source, scale, zero + _OFFSET, *limits)
    graph.refresh(node)
    graph.changed(node, "integers without a sign")


def as_planned(value: np.ndarray, zero_point: int) -> tuple[np.ndarray, int]:
    """Integers of a file, and their zero point, as a plan has them: with a sign."""
    if value.dtype != np.uint8:
        return value, zero_point
    return (value.astype(np.int16) - _OFFSET).astype(np.int8), zero_point - _OFFSET


def fold_pads(model: onnx.ModelProto) -> int:
    """Let convolutions put the zeros around what they read that a ``Pad`` in front puts there;
    return how many do (ONNX operator Conv, attribute ``pads``: before all axes, then behind all).
    """
    from onnx.numpy_helper import to_array

    graph = model.graph
    stored = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    made = {node.output[0]: node for node in graph.node if node.op_type == "Pad"}
    returned = {output.name for output in graph.output}
    readers: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    folded = 0
    for conv in [node for node in graph.node if node.op_type == "Conv"]:
        pad = made.get(conv.input[0])
        own = next((each for each in conv.attribute if each.name == "pads"), None)
        if pad is None or own is None or readers[conv.input[0]] > 1 or conv.input[0] in returned:
            continue
        zeros = _zeros(pad, stored, len(own.ints) // 2)
        if zeros is not None:
            own.ints[:] = [a + b for a, b in zip(own.ints, zeros, strict=True)]
            conv.input[0] = pad.input[0]
            graph.node.remove(pad)
            folded += 1
    return folded


def _zeros(pad: onnx.NodeProto, stored: dict[str, np.ndarray], rank: int) -> list[int] | None:
    """What a ``Pad`` puts before and behind ``rank`` spatial axes; None where it is no zeros, or
    is not known."""
    mode = next((each.s for each in pad.attribute if each.name == "mode"), b"constant")
    names = [*pad.input, "", ""]
    value = stored.get(names[2]) if names[2] else np.zeros(1)
    amounts = stored.get(names[1])
    if mode != b"constant" or names[3] or value is None or value.any() or amounts is None:
        return None
    before, behind = amounts.reshape(2, -1).tolist()
    other = len(before) - rank
    if other < 0 or any(before[:other] + behind[:other]) or amounts.min() < 0:
        return None
    return [int(each) for each in before[other:] + behind[other:]]


def separate_zero_points(model: onnx.ModelProto) -> None:
    """Give each layer's weights of int8 a stored zero point of their own, as the switch wants."""
    import onnx

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    known: set[str] = set()
    for node in graph.node:
        whole = node.op_type == "DequantizeLinear" and len(node.input) > 2
        weight = stored.get(node.input[0]) if whole else None
        if weight is None or weight.data_type != onnx.TensorProto.INT8:
            continue
        name = node.input[2]
        if name in known:
            own = onnx.TensorProto()
            own.CopyFrom(stored[name])
            own.name = f"{weight.name}.zero_point"
            graph.initializer.append(own)
            node.input[2] = own.name
        known.add(name)


def keep_products_floating(model: onnx.ModelProto) -> None:
    """Give the weights of a MatMul one axis more where the other factor is no integers."""
    import onnx

    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    axes = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "weights.axes")
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type == "MatMul" and _is_of_floats(node, made):
            wide = f"{node.input[1]}.wide.{len(nodes)}"
            nodes.append(onnx.helper.make_node("Unsqueeze", [node.input[1], axes.name], [wide]))
            node.input[1] = wide
        nodes.append(node)
    if len(nodes) > len(graph.node):
        graph.initializer.append(axes)
        graph.ClearField("node")
        graph.node.extend(nodes)


def _is_of_floats(product: onnx.NodeProto, made: dict[str, onnx.NodeProto]) -> bool:
    """Whether a MatMul multiplies floats with stored integers."""
    first, second = (made.get(name) for name in product.input)
    if second is not None and second.op_type == "Transpose":
        second = made.get(second.input[0])
    if second is None or second.op_type != "DequantizeLinear" or second.input[0] in made:
        return False
    return first is None or first.op_type != "DequantizeLinear"
