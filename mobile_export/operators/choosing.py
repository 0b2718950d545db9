"""Choices between two tensors, of which the one not chosen may be no number there.

A format without a choice computes mask · x + (1 - mask) · y, in which 0 · NaN is NaN. So a function
that is not defined everywhere (`log`) is given 1 where its result is not chosen:
``where(mask, log(x), y)`` becomes ``where(mask, log(where(mask, x, 1)), y)``, which is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import is_call
from ..system.torch_private import OpOverload

__all__ = ["choose", "chooses_undefined"]

aten = torch.ops.aten

_PARTIAL: dict[Any, tuple[int, float]] = {
    aten.acos.default: (0, 0.0),
    aten.acosh.default: (0, 1.0),
    aten.asin.default: (0, 0.0),
    aten.atanh.default: (0, 0.0),
    aten.div.Tensor: (1, 1.0),
    aten.log.default: (0, 1.0),
    aten.log10.default: (0, 1.0),
    aten.log1p.default: (0, 1.0),
    aten.log2.default: (0, 1.0),
    aten.pow.Tensor_Scalar: (0, 1.0),
    aten.pow.Tensor_Tensor: (0, 1.0),
    aten.reciprocal.default: (0, 1.0),
    aten.rsqrt.default: (0, 1.0),
    aten.sqrt.default: (0, 1.0),
}
"""Functions that are not defined everywhere: of which operand, and a number where they are."""


def chooses_undefined(node: Node) -> bool:
    """Whether a result that is chosen from may be no number where it is not chosen."""
    return any(next(_partial(node, branch), None) is not None for branch in _branches(node))


# aten::where.self(Tensor condition, Tensor self, Tensor other) -> Tensor
def choose(graph: GraphEditor, node: Node) -> Node:
    """The same choice between results that are numbers everywhere."""
    args = list(node.args)
    for index in _branches(node):
        partial = set(_partial(node, index))
        if partial:
            args[index] = _written(graph, node, index, node.args[index], partial, {})
    return graph.call(node.target, *args, like=node)


def _branches(node: Node) -> tuple[int, ...]:
    """The places of what is chosen from, among the arguments."""
    if is_call(node, aten.masked_fill.Scalar, aten.masked_fill.Tensor):
        return (0,)
    return tuple(i for i in (1, 2) if isinstance(node.args[i], Node))


def _partial(node: Node, index: int) -> Iterator[Node]:
    """The calls that argument ``index`` of a choice is made of, element by element, and that are
    not defined everywhere."""
    seen: set[Node] = set()
    found = [node.args[index]]
    while found:
        call = found.pop()
        if not isinstance(call, Node) or call in seen or not _is_by_elements(call, node):
            continue
        seen.add(call)
        found += call.all_input_nodes
        place = _PARTIAL.get(call.target)
        operand = call.args[place[0]] if place else None
        if _is_of_shape(operand, node) and not _is_chosen(operand, node, index) and _is_odd(call):
            yield call


def _is_by_elements(call: Node, choice: Node) -> bool:
    target = call.target
    pointwise = isinstance(target, OpOverload) and torch.Tag.pointwise in target.tags
    return pointwise and _is_of_shape(call, choice)


def _is_of_shape(value: Any, choice: Node) -> bool:
    held = value.meta["val"] if isinstance(value, Node) else None
    return isinstance(held, torch.Tensor) and tuple(held.shape) == shape_of(choice)


def _is_odd(call: Node) -> bool:
    """False for a power that is a product."""
    if not is_call(call, aten.pow.Tensor_Scalar):
        return True
    power = call.args[1]
    return not (isinstance(power, int | float) and power >= 0 and power == int(power))


def _is_chosen(operand: Any, choice: Node, index: int) -> bool:
    """Whether an operand was made by `_given`, for this choice and maybe for others around it."""
    place = 1 if index == 0 else 0
    while is_call(operand, *_WITH_A_NUMBER):
        if (
            operand.args[1 if is_call(operand, aten.masked_fill.Scalar) else 0]
            is choice.args[place]
        ):
            return True
        operand = next((arg for arg in _chosen_from(operand) if isinstance(arg, Node)), None)
    return False


def _chosen_from(choice: Node) -> list[Any]:
    return [choice.args[index] for index in _branches(choice)]


_WITH_A_NUMBER = (aten.where.ScalarOther, aten.where.ScalarSelf, aten.masked_fill.Scalar)
_CHOICES: dict[Any, Any] = {
    (aten.where.self, 1): aten.where.ScalarOther,
    (aten.where.self, 2): aten.where.ScalarSelf,
    (aten.masked_fill.Tensor, 0): aten.masked_fill.Scalar,
}


def _target(choice: Node, index: int) -> Any:
    """The overload of a choice with a number in the place of all but argument ``index``."""
    return _CHOICES.get((choice.target, index), choice.target)


def _given(graph: GraphEditor, choice: Node, index: int, operand: Any, number: float) -> Node:
    """``operand`` where argument ``index`` is chosen, elsewhere ``number``."""
    target = _target(choice, index)
    if index == 0:
        return graph.call(target, operand, choice.args[1], number, like=choice)
    others = (operand, number) if index == 1 else (number, operand)
    return graph.call(target, choice.args[0], *others, like=choice)


def _written(
    graph: GraphEditor,
    choice: Node,
    index: int,
    call: Any,
    partial: set[Node],
    made: dict[Any, Any],
) -> Any:
    """``call`` with `_given` operands in the calls of ``partial`` that it is made of."""
    if not isinstance(call, Node) or not _is_by_elements(call, choice):
        return call
    if call not in made:
        args = [_written(graph, choice, index, a, partial, made) for a in call.args]
        if call in partial:
            place, number = _PARTIAL[call.target]
            args[place] = _given(graph, choice, index, args[place], number)
        same = all(a is b for a, b in zip(args, call.args, strict=True))
        made[call] = (
            call if same else graph.call(call.target, *args, like=choice, kwargs=call.kwargs)
        )
    return made[call]
