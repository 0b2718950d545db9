"""The stack axes of products: in (…, M, K) (…, K, N) all axes but the last two only count matrices.

reshape(x) · reshape(y) = reshape(x · y) and softmax(reshape(x)) = reshape(softmax(x)) for reshapes
that leave the last two axes alone. So attention can work on the stack as its operands come, and the
reshapes to another one, which copy in some runtimes, are not needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.fx import Node

from .editor import GraphEditor, shape_of
from .ops import argument, is_call, is_elementwise, source_of
from .rearrange import MAX_RANK

__all__ = ["keep_stack"]

aten = torch.ops.aten
Shape = tuple[int, ...]


@dataclass(frozen=True)
class _Attention:
    """A product, what is computed of it element by element or row by row, and a second product.

    Attributes:
        rows: the calls between the two products.
        operands: both of the first product, the right one of the second.
    """

    first: Node
    rows: tuple[Node, ...]
    second: Node
    operands: tuple[Node, Node, Node]


def keep_stack(graph: GraphEditor, node: Node) -> None:
    """Let the attention that begins with the product ``node`` take its stack as it comes."""
    attention = _attention(graph, node)
    if attention is None or not is_call(graph.only_user(attention.second), aten.reshape.default):
        return
    for operand in attention.operands:
        stack = _comes_as(operand)
        if stack is None or sum(_reshapes(o, stack) for o in attention.operands) >= 0:
            continue
        result = _written(graph, attention, stack)
        shape = list(shape_of(attention.second))
        back = graph.call(aten.reshape.default, result, shape, like=attention.second)
        graph.replace(attention.second, back, f"on a stack of {list(stack)} as it comes")
        return


def _attention(graph: GraphEditor, node: Node) -> _Attention | None:
    rows: list[Node] = []
    end = node
    while (user := graph.only_user(end)) is not None and _is_by_rows(user):
        rows.append(user)
        end = user
    if user is None or not is_call(user, aten.matmul.default) or user.args[0] is not end:
        return None
    operands = (*node.args, user.args[1])
    stack = shape_of(node)[:-2]
    if any(graph.is_constant(o) or shape_of(o)[:-2] != stack for o in operands):  # type: ignore[arg-type]
        return None
    return _Attention(node, tuple(rows), user, operands)  # type: ignore[arg-type]


def _is_by_rows(node: Node) -> bool:
    if is_call(node, aten.softmax.int):
        last = len(shape_of(node)) - 1
        return argument(node, "dtype") is None and argument(node, "dim") in (-1, last)
    return is_elementwise(node)


def _comes_as(operand: Node) -> Shape | None:
    """The stack of ``operand`` before the reshape that gives it another one."""
    if not is_call(operand, aten.reshape.default):
        return None
    before = shape_of(source_of(operand))
    same = before[-2:] == shape_of(operand)[-2:]
    return before[:-2] if same and 2 < len(before) <= MAX_RANK else None


def _reshapes(operand: Node, stack: Shape) -> int:
    """How many reshapes more there are when ``operand`` has ``stack``."""
    if not is_call(operand, aten.reshape.default):
        return 1
    return -1 if _comes_as(operand) == stack else 0


def _written(graph: GraphEditor, attention: _Attention, stack: Shape) -> Node:
    left, right, values = (
        graph.call(aten.reshape.default, o, [*stack, *shape_of(o)[-2:]], like=attention.first)
        for o in attention.operands
    )
    result = graph.call(aten.matmul.default, left, right, like=attention.first)
    for row in attention.rows:
        if is_call(row, aten.softmax.int):
            result = graph.call(aten.softmax.int, result, len(stack) + 1, like=row)
        else:
            kwargs = dict(row.kwargs)
            result = graph.call(row.target, result, *row.args[1:], like=row, kwargs=kwargs)
    return graph.call(aten.matmul.default, result, values, like=attention.second)
