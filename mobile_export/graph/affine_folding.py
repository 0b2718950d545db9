"""Fold an affine map into the layers before it (`plan_before`) or after it (`plan_after`).

A plan is a list of edits that are exact only together; nothing is edited until the plan is
complete. A refusal is a sentence.

Before:  s · (W x + b) + t = (s W) x + (s b + t), along W's output channels; through sums of such
         terms (s (u + v) + t = (s u + t) + s v), concatenations, norms with a weight, products
         (s (A B) = A (s B), and A B + t = A (B + t) where the rows of A are a softmax and so sum
         to one).
After:   W (s · x + t) + b = (W s) x + (W t + b), along W's input channels. A convolution that pads
         with zeros sees s · 0 + 0 there, not s · 0 + t, so a shift is refused in front of padding.
         Through products in the same way: A (s · x + t) = s · A x + t.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import Node

from .affine import Affine, pull, push, vector
from .editor import GraphEditor, shape_of, where
from .layers import WeightedLayer, call_layer, layer_of
from .ops import argument, is_call, source_of

__all__ = [
    "Plan",
    "plan_after",
    "plan_before",
    "plans_of_layers",
    "scale_inputs",
    "scale_layer",
    "scale_norm",
    "sums_to_one",
]

aten = torch.ops.aten


@dataclass(frozen=True)
class Plan:
    """Edits that fold one affine map.

    Attributes:
        into: the nodes whose weights change.
        edits: to be run once, in order.
    """

    into: tuple[Node, ...] = ()
    edits: tuple[Callable[[], None], ...] = ()

    def __add__(self, other: Plan) -> Plan:
        return Plan(self.into + other.into, self.edits + other.edits)

    def run(self) -> str:
        """Do it; the names of what was changed."""
        for edit in self.edits:
            edit()
        return ", ".join(where(node) for node in self.into)


# Into what comes before -------------------------------------------------------------------------


def plan_before(graph: GraphEditor, node: Node, user: Node, affine: Affine) -> Plan | str:
    """Fold ``affine``, which ``user`` applies to ``node``, into what computes ``node``."""
    if not _is_private(graph, node, user):
        return f"{where(node)} before it has other users"
    layer = layer_of(graph, node)
    if isinstance(layer, str):
        return f"{where(node)}: {layer}"
    if layer is not None:
        return scale_layer(graph, layer, affine)
    if is_call(node, aten.batch_norm.default, aten.layer_norm.default):
        return scale_norm(graph, node, affine)
    if is_call(node, aten.add.Tensor, aten.sub.Tensor):
        return _scale_sum(graph, node, affine)
    if is_call(node, aten.matmul.default):
        return _scale_product(graph, node, affine)
    if is_call(node, aten.cat.default):
        return _scale_pieces(graph, node, affine)
    before = pull(node, affine)
    if before is None:
        return f"{where(node)} ({_op(node)}) is not linear in what comes before it"
    inner = source_of(node) if is_call(node, operator.getitem) else node
    return plan_before(graph, source_of(inner), inner, before)


def _is_private(graph: GraphEditor, node: Node, user: Node) -> bool:
    """Whether nothing but ``user`` sees ``node``. (Pieces of a split are apart: see `pull`.)"""
    return graph.only_user(node) is user


def _op(node: Node) -> str:
    return str(node.target).removeprefix("aten.") if node.op == "call_function" else node.op


def scale_layer(graph: GraphEditor, layer: WeightedLayer, affine: Affine) -> Plan | str:
    """``affine`` of what a layer gives, in its weights and bias."""
    scale = vector(affine.scale, layer.axis, layer.channels)
    shift = vector(affine.shift, layer.axis, layer.channels)
    if scale is None or shift is None:
        return f"the factor varies along other axes than the channels of {where(layer.node)}"

    def edit() -> None:
        now = layer_of(graph, layer.node)
        assert isinstance(now, WeightedLayer)
        weight = _times_outputs(now, scale)
        bias = shift if now.bias is None else now.bias * scale + shift
        keep = now.bias is not None or bool(shift.any())
        call_layer(graph, now, weight, bias if keep else None)

    return Plan((layer.node,), (edit,))


def _times_outputs(layer: WeightedLayer, scale: Tensor) -> Tensor:
    weight = layer.weight
    if not layer.transposed:
        return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    inputs, per_group = weight.shape[:2]
    grouped = weight.reshape(layer.groups, inputs // layer.groups, *weight.shape[1:])
    factors = scale.reshape(layer.groups, 1, per_group, *[1] * layer.rank)
    return (grouped * factors).reshape(weight.shape)


def scale_norm(graph: GraphEditor, node: Node, affine: Affine) -> Plan | str:
    """(n · w + b) · s + t = n · (w s) + (b s + t) for a norm n with weight w and bias b."""
    rank = len(shape_of(node))
    if is_call(node, aten.batch_norm.default):
        shape: tuple[int, ...] = (shape_of(node)[1],)
        parts = [vector(value, 1, shape[0]) for value in (affine.scale, affine.shift)]
        slots = (1, 2)
    else:
        shape = tuple(node.args[1])  # type: ignore[arg-type]
        outer = rank - len(shape)
        parts = [
            value.reshape(value.shape[outer:]) if math.prod(value.shape[:outer]) == 1 else None
            for value in (affine.scale, affine.shift)
        ]
        slots = (2, 3)
    scale, shift = parts
    if scale is None or shift is None:
        return f"the factor varies along other axes than the weights of {where(node)}"
    weight, bias = (node.args[i] if i < len(node.args) else None for i in slots)
    if any(value is not None and graph.exact(value) is None for value in (weight, bias)):
        return f"the weights of {where(node)} are computed from the input"

    def edit() -> None:
        old = [node.args[i] if i < len(node.args) else None for i in slots]
        w, b = (graph.exact(value) for value in old)
        new_w = scale.expand(shape) if w is None else w * scale
        new_b = shift.expand(shape) if b is None else b * scale + shift
        args = list(node.args) + [None] * max(0, slots[1] + 1 - len(node.args))
        args[slots[0]] = graph.derived(old[0], new_w.contiguous(), f"{node.name}.weight")
        args[slots[1]] = graph.derived(old[1], new_b.contiguous(), f"{node.name}.bias")
        node.args = tuple(args)

    return Plan((node,), (edit,))


def _scale_sum(graph: GraphEditor, node: Node, affine: Affine) -> Plan | str:
    first, second = node.args[:2]
    if not isinstance(first, Node) or not isinstance(second, Node) or first is second:
        return f"{where(node)} adds a number"
    shape = shape_of(node)
    if shape_of(first) != shape or shape_of(second) != shape:
        return f"{where(node)} broadcasts"
    zero = torch.zeros_like(affine.shift)
    one = plan_before(graph, first, node, affine)
    if isinstance(one, str):
        return one
    two = plan_before(graph, second, node, Affine(affine.scale, zero))
    return two if isinstance(two, str) else one + two


def _scale_pieces(graph: GraphEditor, node: Node, affine: Affine) -> Plan | str:
    """Each concatenated tensor takes its part of the map."""
    pieces: list[Node] = node.args[0]  # type: ignore[assignment]
    if len(set(pieces)) < len(pieces):
        return f"{where(node)} repeats a tensor"
    axis = argument(node, "dim") % len(shape_of(node))
    plan, start = Plan(), 0
    for piece in pieces:
        size = shape_of(piece)[axis]
        scale, shift = (
            value if value.shape[axis] == 1 else value.narrow(axis, start, size)
            for value in (affine.scale, affine.shift)
        )
        part = plan_before(graph, piece, node, Affine(scale, shift))
        if isinstance(part, str):
            return part
        plan, start = plan + part, start + size
    return plan


def _scale_product(graph: GraphEditor, node: Node, affine: Affine) -> Plan | str:
    reason = ""
    for operand in reversed(node.args):
        assert isinstance(operand, Node)
        through = _through_product(node, operand, affine)
        if isinstance(through, str):
            reason = through
            continue
        if graph.is_constant(operand):
            return f"{where(node)} multiplies by a stored tensor"
        plan = plan_before(graph, operand, node, through)
        if isinstance(plan, Plan):
            return plan
        reason = plan
    return reason


# Into what comes after --------------------------------------------------------------------------


def plan_after(graph: GraphEditor, node: Node, affine: Affine) -> Plan | str:
    """Fold ``affine``, which ``node`` applies, into everything that uses ``node``."""
    if graph.is_output(node):
        return "the program returns it"
    plan = Plan()
    for user in node.users:
        if len(plan.into) > 8:
            return "too many layers use it"
        part = _plan_user(graph, user, node, affine)
        if isinstance(part, str):
            return part
        plan = plan + part
    return plan


def plans_of_layers(graph: GraphEditor, node: Node, affine: Affine) -> dict[Node, Plan]:
    """Of the layers that use ``node`` directly, those that can take ``affine``, each with its plan.

    What else uses ``node`` still needs it as it is.
    """
    layers = [user for user in node.users if isinstance(layer_of(graph, user), WeightedLayer)]
    plans = {user: _plan_user(graph, user, node, affine) for user in layers}
    return {user: plan for user, plan in plans.items() if isinstance(plan, Plan)}


def _plan_user(graph: GraphEditor, user: Node, node: Node, affine: Affine) -> Plan | str:
    layer = layer_of(graph, user)
    if isinstance(layer, str):
        return f"{where(user)}: {layer}"
    if layer is not None:
        if layer.source is not node:
            return f"{where(user)} uses it as a weight"
        return scale_inputs(graph, layer, affine)
    if is_call(user, aten.matmul.default):
        through = _through_product(user, node, affine)
        return through if isinstance(through, str) else plan_after(graph, user, through)
    if node in user.all_input_nodes and user.args[0] is node and len(user.all_input_nodes) == 1:
        after = push(user, affine)
        if after is not None:
            return plan_after(graph, user, after)
    return f"{where(user)} ({_op(user)}) uses it and is not linear with stored weights"


def _through_product(product: Node, operand: Node, affine: Affine) -> Affine | str:
    """``affine`` of an operand of ``product`` is the same of the result; or why it is not."""
    first, second = product.args
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    if first is second:
        return f"{where(product)} squares it"
    inner, outer = shape_of(operand), shape_of(product)
    if len(inner) != len(outer) or inner[:-2] != outer[:-2]:
        return f"{where(product)} broadcasts it"
    other, summed, over = (second, -1, -2) if operand is first else (first, -2, -1)
    if any(value.shape[summed] != 1 for value in (affine.scale, affine.shift)):
        return f"it varies along the axis that {where(product)} sums over"
    if affine.shifts and not sums_to_one(other, over):
        return f"a shift cannot move through {where(product)}: {where(other)} does not sum to one"
    return affine


def sums_to_one(node: Node, axis: int) -> bool:
    """Whether ``node`` is a softmax along ``axis``, one of the last two, perhaps rearranged."""
    axis %= len(shape_of(node))
    while is_call(node, aten.permute.default, aten.reshape.default):
        before = source_of(node)
        shape, old = shape_of(node), shape_of(before)
        if is_call(node, aten.permute.default):
            axis = node.args[1][axis]  # type: ignore[index,assignment]
        elif shape[-2:] == old[-2:] and axis >= len(shape) - 2:
            axis += len(old) - len(shape)
        else:
            return False
        node = before
    rank = len(shape_of(node))
    return is_call(node, aten.softmax.int) and argument(node, "dim") % rank == axis


def scale_inputs(graph: GraphEditor, layer: WeightedLayer, affine: Affine) -> Plan | str:
    """``affine`` of what a layer reads, in its weights and bias."""
    name = where(layer.node)
    if layer.transposed:
        return f"{name} is transposed: its border sums fewer terms"
    channels = shape_of(layer.source)[layer.axis]
    scale = vector(affine.scale, layer.axis, channels)
    shift = vector(affine.shift, layer.axis, channels)
    if scale is None or shift is None:
        return f"it varies along other axes than the channels of {name}"
    if any(layer.padding) and shift.any():
        worst = int(shift.abs().argmax())
        return (
            f"{name} pads with zeros (padding {list(layer.padding)}) after a shift of "
            f"{float(shift[worst]):.3g} in channel {worst}"
        )

    def edit() -> None:
        now = layer_of(graph, layer.node)
        assert isinstance(now, WeightedLayer)
        per_output = now.weight.shape[1]
        group = torch.arange(now.channels) // (now.channels // now.groups)
        index = group[:, None] * per_output + torch.arange(per_output)
        spatial = [1] * layer.rank
        weight = now.weight * scale[index].reshape(*index.shape, *spatial)
        bias = now.bias
        if shift.any():
            extra = (now.weight * shift[index].reshape(*index.shape, *spatial)).flatten(1).sum(1)
            bias = extra if bias is None else bias + extra
        call_layer(graph, now, weight, bias)

    return Plan((layer.node,), (edit,))
