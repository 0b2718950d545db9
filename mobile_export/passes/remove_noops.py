"""Remove ops that change nothing and shorten chains of ops that only rearrange.

Nothing:       reshape or expand to the own shape, permute in order, slice of everything, padding by
               zero, pooling by 1, mean over axes of size 1 that are kept, a cat of one, what a cat
               joins that has no elements, a split into one part, relu of relu.
One place:     a softmax over an axis of size 1 is 1 whatever it reads (attention at one position),
               and a product with a stored matrix of ones that sums one number repeats the other.
Chains:        reshape(reshape(x)) = reshape(x); permute(permute(x)) = permute(x), unless that is
               dearer than the second one and others read the first one, too; slice(slice(x)) along
               one axis is one slice; a slice inside one piece of a cat is a slice of the piece.
Only ones:     a permute that moves nothing but axes of size 1 is a reshape.
Duplicates:    two calls of one op with the same arguments are one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, as_list, is_call, source_of
from ..graph.rearrange import GRAPH_PRICES
from ..graph.rounds import settle
from ..system.torch_private import OpOverload

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["remove_noops", "simplify"]

aten = torch.ops.aten


def remove_noops(program: Program) -> PassResult:
    """No op is left that changes nothing."""
    graph = GraphEditor(program)
    simplify(graph)
    return graph.result()


def simplify(graph: GraphEditor) -> None:
    """`remove_noops` inside the session of another pass."""
    settle("remove_noops", lambda: _simplify_once(graph))


def _simplify_once(graph: GraphEditor) -> set[str]:
    """Apply every rule at every node; the names of the ops that were replaced."""
    fired: set[str] = set()
    seen: dict[Any, Node] = {}
    for node in graph.nodes:
        if node.op != "call_function" or node not in graph or not node.users:
            continue
        rule = _RULES.get(node.target)
        new = rule(graph, node) if rule is not None else None
        if new is not None:
            fired.add(str(node.target))
            graph.replace(node, new, "changes nothing" if new is node.args[0] else "shortened")
            continue
        key = _key(node)
        if key is not None and seen.setdefault(key, node) is not node:
            fired.add(f"equal calls of {node.target}")
            graph.replace(node, seen[key], f"the same as {seen[key].name}")
    graph.sweep()
    return fired


def _key(node: Node) -> Any:
    """Equal for calls that compute the same; None for what must not be shared."""
    target = node.target
    if isinstance(target, OpOverload) and (
        target._schema.is_mutable or torch.Tag.nondeterministic_seeded in target.tags
    ):
        return None
    return (target, _frozen(node.args), _frozen(node.kwargs))


def _frozen(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, Node):
        return value
    return (type(value).__name__, value)


def _reshape(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    if shape_of(source) == shape_of(node):
        return source
    if is_call(source, aten.reshape.default):
        return graph.call(aten.reshape.default, source.args[0], list(shape_of(node)), like=node)
    return None


def _permute(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    order: list[int] = node.args[1]  # type: ignore[assignment]
    if order == sorted(order):
        return source
    if is_call(source, aten.permute.default):
        first: list[int] = source.args[1]  # type: ignore[assignment]
        composed = [first[axis] for axis in order]
        if len(source.users) == 1 or _price(composed) <= _price(order):
            return graph.call(aten.permute.default, source.args[0], composed, like=node)
    shape = shape_of(source)
    if [axis for axis in order if shape[axis] != 1] == [
        axis for axis in range(len(shape)) if shape[axis] != 1
    ]:
        return graph.call(aten.reshape.default, source, list(shape_of(node)), like=node)
    return None


def _price(order: list[int]) -> float:
    """Of a permute: one of a permute that others read, too, may be cheaper than one for both, and
    `move_less` writes it then."""
    return 0 if order == sorted(order) else GRAPH_PRICES.of_permute(order)


def _same_shape(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    return source if shape_of(source) == shape_of(node) else None


_BROADCASTING = (aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor)


def _expand(graph: GraphEditor, node: Node) -> Node | None:
    """Arithmetic repeats its operands itself (litert-torch 0.10 breaks on some of these)."""
    same = _same_shape(graph, node)
    if same is not None:
        return same
    source = source_of(node)
    for user in node.users:
        if not is_call(user, *_BROADCASTING):
            return None
        others = [x for x in user.args if isinstance(x, Node) and x is not node]
        if not others or _broadcast(source, others[0]) != shape_of(user):
            return None
    return source


def _broadcast(a: Node, b: Node) -> tuple[int, ...]:
    shape: tuple[int, ...] = torch.broadcast_shapes(shape_of(a), shape_of(b))  # type: ignore[no-untyped-call]
    return shape


def _slice(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    if argument(node, "step") != 1:
        return None
    if shape_of(source) == shape_of(node):
        return source
    sizes = (*shape_of(source), *shape_of(node))
    if not all(isinstance(size, int) for size in sizes):
        return None
    axis, start, end = _range(node)
    if is_call(source, aten.slice.Tensor) and argument(source, "step") == 1:
        inner, before, _ = _range(source)
        if inner == axis:
            args = (source_of(source), axis, before + start, before + end)
            return graph.call(aten.slice.Tensor, *args, like=node)
    if is_call(source, aten.cat.default) and argument(source, "dim") % len(shape_of(node)) == axis:
        return _inside_piece(graph, node, axis, start, end)
    return None


def _range(node: Node) -> tuple[int, int, int]:
    """Axis, start and end of a slice with a step of 1."""
    shape = shape_of(source_of(node))
    axis = argument(node, "dim") % len(shape)
    start, end, _ = slice(argument(node, "start"), argument(node, "end")).indices(shape[axis])
    return axis, start, max(start, end)


def _inside_piece(graph: GraphEditor, node: Node, axis: int, start: int, end: int) -> Node | None:
    """A slice of what was joined is one of the piece that it lies in. (coremltools 9.0 takes such
    a slice of a stored piece for integers.)"""
    before = 0
    for piece in source_of(node).args[0]:  # type: ignore[union-attr]
        assert isinstance(piece, Node)
        if len(shape_of(piece)) <= axis:  # (0,), which a cat of any rank takes
            return None
        after = before + shape_of(piece)[axis]
        if before <= start and end <= after:
            args = (piece, axis, start - before, end - before)
            return graph.call(aten.slice.Tensor, *args, like=node)
        before = after
    return None


def _pad(graph: GraphEditor, node: Node) -> Node | None:
    return source_of(node) if not any(node.args[1]) else None  # type: ignore[arg-type]


def _pool(graph: GraphEditor, node: Node) -> Node | None:
    ones = all(n == 1 for n in as_list(argument(node, "kernel_size"), 2))
    divisor = is_call(node, aten.avg_pool2d.default) and argument(node, "divisor_override")
    return _same_shape(graph, node) if ones and not divisor else None


def _mean(graph: GraphEditor, node: Node) -> Node | None:
    source, axes = source_of(node), node.args[1]
    if argument(node, "dtype") is not None or not axes:
        return None
    if any(shape_of(source)[axis] != 1 for axis in axes):  # type: ignore[union-attr,index]
        return None
    if argument(node, "keepdim"):
        return source
    return graph.call(aten.reshape.default, source, list(shape_of(node)), like=node)


def _cat(graph: GraphEditor, node: Node) -> Node | None:
    tensors: list[Node] = node.args[0]  # type: ignore[assignment]
    if len(tensors) == 1:
        return tensors[0]
    full = [each for each in tensors if each.meta["val"].numel()]
    if not full or len(full) == len(tensors):
        return None
    return graph.call(node.target, full, *node.args[1:], like=node, kwargs=dict(node.kwargs))


def _part(graph: GraphEditor, node: Node) -> Node | None:
    """The one part of a split."""
    if not is_call(source_of(node), *_SPLITS):
        return None
    whole = source_of(source_of(node))
    return whole if shape_of(whole) == shape_of(node) else None


_SPLITS = (aten.chunk.default, aten.split.Tensor, aten.split_with_sizes.default)


def _relu(graph: GraphEditor, node: Node) -> Node | None:
    source = source_of(node)
    return source if is_call(source, aten.relu.default, aten.relu6.default) else None


def _softmax(graph: GraphEditor, node: Node) -> Node | None:
    """Ones, where the axis has one place."""
    shape = shape_of(node)
    if shape[node.args[1]] != 1:  # type: ignore[index]
        return None
    dtype = node.meta["val"].dtype
    return graph.add_constant(torch.ones(shape, dtype=dtype), f"{node.name}.ones")


def _product_with_ones(graph: GraphEditor, node: Node) -> Node | None:
    """The other operand, repeated, where the product has one addend, with the factor 1."""
    first, second = node.args[:2]
    shape = shape_of(node)
    for ones, other, summed in ((first, second, -2), (second, first, -1)):
        stored = graph.constant(ones)
        if stored is None or stored.ndim < 2 or not torch.all(stored == 1):
            continue
        given = shape_of(other)  # type: ignore[arg-type]
        if len(given) < 2 or given[summed] != 1:
            continue
        if given == shape:
            return other  # type: ignore[return-value]
        return graph.call(aten.expand.default, other, list(shape), like=node)
    return None


_RULES: dict[Any, Callable[[GraphEditor, Node], Node | None]] = {
    aten.reshape.default: _reshape,
    aten.permute.default: _permute,
    aten.expand.default: _expand,
    aten.slice.Tensor: _slice,
    aten.pad.default: _pad,
    aten.constant_pad_nd.default: _pad,
    aten.avg_pool2d.default: _pool,
    aten.max_pool2d.default: _pool,
    aten.mean.dim: _mean,
    aten.cat.default: _cat,
    aten.relu.default: _relu,
    aten.softmax.int: _softmax,
    aten.matmul.default: _product_with_ones,
    operator.getitem: _part,
}
