"""Inserting a plan into a program: stored integers, and a quantise and a dequantise at each tensor.

What comes out computes in float64 exactly what the plan says (`graph.quantized`): it is the
reference that files of integers are faithful to, and what their writers are given.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.fx import Node

from ..errors import BUG, PassError, UsageError
from ..graph.editor import GraphEditor
from ..graph.quantized import dequantized, quantized
from ..system.torch_private import quantization_operators
from .assign import Assignment, assign, pads_with_zeros, sources
from .blocks import block_values
from .palettes import nearest_entries
from .plan import PROJECTED, PlannedTensor, QuantizationPlan
from .roles import ONE_SCALE
from .schemes import SCHEMES

if TYPE_CHECKING:
    from ..graph.layers import WeightedLayer
    from ..graph.program import Program

__all__ = ["STORED", "insert", "rounded_values", "stored_integers"]

STORED = "stored_values"
"""Last part of the name of weights whose integers a writer finds by their values."""

_DTYPES = {4: torch.int8, 8: torch.int8, 16: torch.int16, 32: torch.int32}


def insert(program: Program, plan: QuantizationPlan) -> Program:
    """``program`` with the integers of a plan, which was made of it.

    Raises:
        UsageError: a tensor of the plan is none of the program's, or its scales do not fit it.
    """
    graph = GraphEditor(program)
    found = assign(graph)
    _require_fits(graph, found, plan)
    _insert_layers(graph, found, plan)
    constants = plan.by_name("constant")
    for node in found.constants:
        if node.name in constants:
            _store_operand(graph, node, constants[node.name])
    planned = plan.by_name("activation")
    first = next(node for node in graph.nodes if node.op == "call_function")
    for node, role in found.roles.items():
        if role in ONE_SCALE:
            _requantize(graph, node, planned)
    for node in found.tensors:
        if node.name in planned:
            before = first if node.op == "placeholder" else node.next
            _round_trip(graph, node, planned[node.name], before, node)
    result = graph.result().program
    if result is program:
        raise PassError(f"{BUG}: the plan of {program.spec} names nothing in it.")
    return result


def _insert_layers(graph: GraphEditor, found: Assignment, plan: QuantizationPlan) -> None:
    """What layers store, and what a projection rounds in front of them and behind them."""
    weights, biases = plan.by_name("weight"), plan.by_name("bias")
    for node, layer in found.layers.items():
        if node.name in weights and _is_lossless(weights[node.name]):
            _store_values(graph, layer, weights[node.name])
        elif node.name in weights:
            _store(graph, layer, weights[node.name], biases.get(node.name))
    results = plan.by_name("result")
    _round_read(graph, found.layers.values(), plan.by_name("source"), results)
    for node in [*found.roles]:
        if node.name in results:
            _round_trip(graph, node, results[node.name], node.next, node)
    if SCHEMES[plan.precision].dynamic:
        _round_sources(graph, [each for each in found.layers.values() if each.node.name in weights])


def _require_fits(graph: GraphEditor, found: Assignment, plan: QuantizationPlan) -> None:
    layers = {node.name: layer for node, layer in found.layers.items()}
    shapes: dict[tuple[str, str], torch.Size | None] = {
        **{("weight", name): layer.weight.shape for name, layer in layers.items()},
        **{("bias", name): _shape(layer.bias) for name, layer in layers.items()},
        **{("constant", node.name): _shape(graph.exact(node)) for node in found.constants},
        **{("activation", node.name): torch.Size() for node in found.tensors},
        **{("source", name): torch.Size() for name in layers},
        **{("result", node.name): torch.Size() for node in found.roles},
    }
    for each in plan.tensors:
        shape = shapes.get((each.kind, each.name))
        if shape is None:
            raise UsageError(
                f"The plan has {each.kind} {each.name}, which {plan.model} has not.",
                hint="Give another file as `plan`: it is written when it does not exist.",
            )
        axis = None if each.kind in ("activation", *PROJECTED) else each.axis
        if _is_lossless(each):
            continue
        places = shape[axis] if axis is not None and axis < len(shape) else 1
        if len(each.scale) != places or each.axis != axis:
            raise UsageError(
                f"The plan has {len(each.scale)} scales for {each.kind} {each.name}, which has "
                f"{places} places on its axis.",
                hint="Give another file as `plan`: it is written when it does not exist.",
            )


def _shape(value: torch.Tensor | None) -> torch.Size | None:
    return None if value is None else value.shape


def stored_integers(values: torch.Tensor, planned: PlannedTensor) -> torch.Tensor:
    """The integers of a stored tensor: rounded to the nearest, ties to even."""
    shape = [1] * values.ndim
    if planned.axis is not None:
        shape[planned.axis] = -1
    scale = torch.tensor(planned.scale, dtype=torch.float64).reshape(shape)
    zero = torch.tensor(planned.zero_point).reshape(shape)
    dtype = _DTYPES[planned.bits]
    given = values.double()
    if planned.shift:
        given = given + torch.tensor(planned.shift, dtype=torch.float64).reshape(shape)
    return quantized(given, scale, zero, planned.low, planned.high, dtype)


def rounded_values(values: torch.Tensor, planned: PlannedTensor) -> torch.Tensor:
    """What the integers of a stored tensor stand for, in float64."""
    shape = [1] * values.ndim
    if planned.axis is not None:
        shape[planned.axis] = -1
    scale = torch.tensor(planned.scale, dtype=torch.float64).reshape(shape)
    zero = torch.tensor(planned.zero_point).reshape(shape)
    return dequantized(stored_integers(values, planned), scale, zero)


def _dequantize(
    graph: GraphEditor, integers: Node, planned: PlannedTensor, like: Node, before: Node
) -> Node:
    operators = quantization_operators()
    limits = (planned.low, planned.high, _DTYPES[planned.bits])
    if planned.axis is None:
        return graph.call(
            operators.dequantize_per_tensor.default,
            integers,
            planned.scale[0],
            planned.zero_point[0],
            *limits,
            like=like,
            before=before,
        )
    name = f"{planned.name}.{planned.kind}"
    scale = graph.add_constant(torch.tensor(planned.scale, dtype=torch.float32), f"{name}.scale")
    zero = graph.add_constant(torch.tensor(planned.zero_point), f"{name}.zero_point")
    return graph.call(
        operators.dequantize_per_channel.default,
        integers,
        scale,
        zero,
        planned.axis,
        *limits,
        like=like,
        before=before,
    )


def _store(
    graph: GraphEditor, layer: WeightedLayer, weight: PlannedTensor, bias: PlannedTensor | None
) -> None:
    """Integers in the place of the weight and the bias of a layer."""
    node = layer.node
    for planned, values, position in ((weight, layer.weight, 1), (bias, layer.bias, 2)):
        if planned is None or values is None:
            continue
        integers = graph.add_constant(
            stored_integers(values, planned), f"{node.name}.{planned.kind}.integers"
        )
        real = _dequantize(graph, integers, planned, node, node)
        key = ("weight", "bias")[position - 1]
        if key in node.kwargs:
            node.kwargs = {**node.kwargs, key: real}
        else:
            node.args = (*node.args[:position], real, *node.args[position + 1 :])
    graph.changed(node, f"weights of {weight.bits} bits")


def _is_lossless(planned: PlannedTensor) -> bool:
    """Whether a writer finds the integers by the float32 values that they stand for."""
    return planned.palette is not None or planned.block is not None


def _store_values(graph: GraphEditor, layer: WeightedLayer, planned: PlannedTensor) -> None:
    """The values of a palette, or of integers in blocks, in the place of the weights of a layer.

    Raises:
        UsageError: the plan has another number of blocks.
    """
    node = layer.node
    weight = layer.weight.numpy()
    if planned.palette is not None:
        palette = np.asarray(planned.palette, np.float32)
        values = palette[nearest_entries(weight, palette)]
    else:
        try:
            values = block_values(weight, planned)
        except ValueError as error:
            raise UsageError(
                f"The plan does not fit the weights of {node.name}: {error}.",
                hint="Give another file as `plan`: it is written when it does not exist.",
            ) from error
    stored = graph.add_constant(torch.from_numpy(values), f"{node.name}.weight.{STORED}")
    if "weight" in node.kwargs:
        node.kwargs = {**node.kwargs, "weight": stored}
    else:
        node.args = (node.args[0], stored, *node.args[2:])
    graph.changed(node, f"weights of {planned.bits} bits")


def _store_operand(graph: GraphEditor, constant: Node, planned: PlannedTensor) -> None:
    value = graph.exact(constant)
    assert value is not None
    users = [user for user in constant.users if constant in sources(user)]
    integers = graph.add_constant(stored_integers(value, planned), f"{planned.name}.integers")
    for user in users:
        real = _dequantize(graph, integers, planned, user, user)
        user.replace_input_with(constant, real)
    graph.changed(users[0], f"a stored operand of {planned.bits} bits")


def _round_trip(
    graph: GraphEditor, node: Node, planned: PlannedTensor, before: Node, like: Node
) -> Node:
    """Quantise and dequantise ``node`` for all its users."""
    users = list(node.users)
    real = _rounded(graph, node, planned, before, like)
    for user in users:
        user.replace_input_with(node, real)
    graph.changed(like, f"integers of {planned.bits} bits")
    return real


def _rounded(
    graph: GraphEditor, node: Node, planned: PlannedTensor, before: Node, like: Node
) -> Node:
    integers = graph.call(
        quantization_operators().quantize_per_tensor.default,
        node,
        planned.scale[0],
        planned.zero_point[0],
        planned.low,
        planned.high,
        _DTYPES[planned.bits],
        like=like,
        before=before,
    )
    return _dequantize(graph, integers, planned, like, before)


def _round_read(
    graph: GraphEditor,
    layers: Iterable[WeightedLayer],
    planned: Mapping[str, PlannedTensor],
    results: Mapping[str, PlannedTensor],
) -> None:
    """Round what layers read, for them alone; once for those that read one tensor at one scale.

    In front of the zeros that a layer alone has around it: there they are the layer's own padding.

    Args:
        results: what layers give as integers, which is not rounded once more by the same scale.
    """
    known: dict[tuple[Node, float], Node] = {}
    for layer in layers:
        node, source, reader = layer.node, layer.source, layer.node
        each = planned.get(node.name)
        if each is None:
            continue
        while pads_with_zeros(source) and graph.only_user(source) is reader:
            source, reader = source.all_input_nodes[0], source
        key = (source, each.scale[0])
        if source.name in results and results[source.name].scale == each.scale:
            continue
        if key not in known:
            known[key] = _rounded(graph, source, each, reader, node)
        reader.replace_input_with(source, known[key])
        graph.changed(node, f"reads integers of {each.bits} bits")


_BYTE = (-128, 127)
_EPSILON = 2.0**-100


def _round_sources(graph: GraphEditor, layers: Sequence[WeightedLayer]) -> None:
    """Round what layers read to integers whose scale is chosen while they run."""
    operators = quantization_operators()
    known: dict[Node, Node] = {}
    for layer in layers:
        source, node = layer.source, layer.node
        if source not in known:
            call = functools.partial(graph.call, like=node)
            chosen = call(operators.choose_qparams.tensor, source, *_BYTE, _EPSILON, torch.int8)
            scale, zero = (call(operator.getitem, chosen, index) for index in (0, 1))
            how = (scale, zero, *_BYTE, torch.int8)
            integers = call(operators.quantize_per_tensor.tensor, source, *how)
            known[source] = call(operators.dequantize_per_tensor.tensor, integers, *how)
        node.replace_input_with(source, known[source])
        graph.changed(node, "integers whose scale is chosen while it runs")


def _requantize(graph: GraphEditor, node: Node, planned: Mapping[str, PlannedTensor]) -> None:
    """Bring the sources of an operator that computes nothing to the scale of its result."""
    own = planned.get(node.name)
    if own is None or node.op != "call_function":
        return
    for source in sources(node):
        other = planned.get(source.name)
        if other is None or (other.scale, other.zero_point) == (own.scale, own.zero_point):
            continue
        changed = _rounded(graph, source, own, node, node)
        node.replace_input_with(source, changed)
