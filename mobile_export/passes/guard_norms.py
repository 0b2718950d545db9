"""Norms in forms that float16 can hold: no square of a large value stands on its own.

A float16 square overflows from 256 on, and activations of 256 are common. What is found here is the
root of a sum or mean of squares, wherever it stands: ``(x - u).pow(2).mean(axes)``, ``x * x``,
``var``, ``std``, with an epsilon added, with a lower bound or with neither; so layer norms, RMS
norms, group norms and L2 norms written by hand, along any axes.

* c / sqrt(mean(c²) + e) with c = x - mean(x), along the last axes, is a layer norm: runtimes have
  it whole, and add its squares up in float32.
* Any other root is computed from numbers between -1 and 1: with m = max|c|,

      sqrt(mean(c²) + e) = m · sqrt(mean((c/m)²) + (sqrt(e)/m)²)

  which is exact for every m > 0, so m may be bounded below where c vanishes. What was multiplied by
  the reciprocal root is divided by the root instead: the reciprocal of a large number is a float16
  subnormal.
* A variance of which no root is taken is m · m · mean((c/m)²): one value of 300 among a thousand
  small ones has a square beyond float16, and a variance of 90.
* ``group_norm`` is a layer norm of its groups, ``rms_norm`` a division by such a root: coremltools
  writes the first with squares, and the second wrongly where no epsilon is given.

Source of the scaling: coremltools 9.0, ``rms_norm`` of its PyTorch frontend (there the epsilon is
not scaled, so it is not exact).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, argument_names, is_call, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["guard_norms"]

aten = torch.ops.aten
_SCALED = "scaled before it is squared"
_SMALLEST = 2.0**-14
"""The smallest normal float16: the least that a root is scaled by."""

_MEANS = (aten.mean.dim, aten.mean.default)
_SUMS = (aten.sum.dim_IntList, aten.sum.default)
_VARIANCES = (aten.var.correction, aten.var.dim, aten.var.default)
_DEVIATIONS = (aten.std.correction, aten.std.dim, aten.std.default)


@dataclass(frozen=True)
class _Squares:
    """factor · mean(centred²) + epsilon along ``axes``, not below ``bound``.

    Attributes:
        centred: what is squared; None where it is ``source`` minus its mean and no node yet.
        kept: whether the axes stay, with size 1.
    """

    source: Node
    centred: Node | None
    axes: tuple[int, ...]
    kept: bool
    factor: float = 1.0
    epsilon: float = 0.0
    bound: float = 0.0

    @property
    def count(self) -> int:
        """Elements that are squared for one result."""
        return math.prod(shape_of(self.source)[axis] for axis in self.axes)


def guard_norms(program: Program) -> PassResult:
    """Roots of means of squares are computed without large squares; layer norms are written whole.

    A second run finds nothing: what is squared then was divided by its largest magnitude.
    """
    graph = GraphEditor(program)
    for node in graph.find(aten.group_norm.default):
        graph.replace(node, _group_norm(graph, node), "a layer norm of its groups")
    for node in graph.find(aten.rms_norm.default):
        new = _rms_norm(graph, node)
        if new is not None:
            graph.replace(node, new, _SCALED)
    for node in graph.find(aten.sqrt.default, aten.rsqrt.default, aten.pow.Tensor_Scalar):
        power = _root(node)
        squares = None if power is None else _sum_of_squares(source_of(node))
        if squares is None:
            continue
        if power == -0.5:
            _guard_reciprocal(graph, node, squares)
        else:
            _guard_root(graph, node, squares)
    for node in graph.find(*_DEVIATIONS):
        squares = _variance(node)
        if squares is not None:
            _guard_root(graph, node, squares)
    for node in graph.find(*_VARIANCES):
        squares = _variance(node) if node.users else None
        if squares is not None:
            graph.replace(node, _shaped(graph, _scaled_mean(graph, node, squares), node), _SCALED)
    return graph.result()


# Recognising ----------------------------------------------------------------------------------


def _root(node: Node) -> float | None:
    """The power that ``node`` raises to, where that is 1/2 or -1/2."""
    if node.target is aten.pow.Tensor_Scalar:
        power = argument(node, "exponent")
        return float(power) if power in (0.5, -0.5) else None
    return 0.5 if node.target is aten.sqrt.default else -0.5


def _sum_of_squares(node: Node) -> _Squares | None:
    """What ``node`` adds up, from the outside to the inside; None for anything else."""
    number = _number(node, 1)
    if number is not None:
        inner = source_of(node)
        if node.target is aten.add.Tensor and number >= 0 and argument(node, "alpha") == 1:
            found = _sum_of_squares(inner)
            ok = found is not None and not found.bound
            return replace(found, epsilon=found.epsilon + number) if found and ok else None
        if node.target in (aten.clamp_min.default, aten.clamp.default) and number > 0:
            if node.target is aten.clamp.default and argument(node, "max") is not None:
                return None
            found = _sum_of_squares(inner)
            return replace(found, bound=max(found.bound, number)) if found else None
        if node.target in (aten.mul.Tensor, aten.div.Tensor) and number > 0:
            found = _sum_of_squares(inner)
            if found is None or found.epsilon or found.bound:
                return None
            factor = number if node.target is aten.mul.Tensor else 1 / number
            return replace(found, factor=found.factor * factor)
    if is_call(node, *_VARIANCES):
        return _variance(node)
    if is_call(node, aten.sub.Tensor):
        return _moments(node)
    if is_call(node, *_MEANS, *_SUMS):
        return _mean_of_squares(node)
    return None


def _number(node: Node, position: int) -> float | None:
    """A positional argument of a call of a node and a number; None where it is no number."""
    if node.op != "call_function" or len(node.args) <= position:
        return None
    first, value = node.args[0], node.args[position]
    plain = isinstance(first, Node) and isinstance(value, int | float)
    return float(value) if plain and math.isfinite(value) else None  # type: ignore[arg-type]


def _mean_of_squares(node: Node) -> _Squares | None:
    squared = source_of(node)
    if argument(node, "dtype") is not None:
        return None
    x = _squared(squared)
    if x is None or not _is_float(x) or _is_scaled(x):
        return None
    found = _Squares(x, x, _axes(node), _keeps(node))
    return replace(found, factor=float(found.count)) if node.target in _SUMS else found


def _squared(node: Any) -> Node | None:
    """x where ``node`` is x²."""
    power = is_call(node, aten.pow.Tensor_Scalar) and argument(node, "exponent") == 2
    product = is_call(node, aten.mul.Tensor) and node.args[0] is node.args[1]
    if power or product or is_call(node, aten.square.default):
        return source_of(node)
    return None


def _moments(node: Node) -> _Squares | None:
    """mean(x²) - mean(x)², the variance."""
    first, second = node.args
    mean = _squared(second)
    if not is_call(first, aten.mean.dim) or mean is None or not is_call(mean, aten.mean.dim):
        return None
    found = _mean_of_squares(first)  # type: ignore[arg-type]
    if found is None or mean.args[0] is not found.source or argument(node, "alpha") != 1:
        return None
    same = _axes(mean) == found.axes and _keeps(mean) == found.kept
    return replace(found, centred=None) if same else None


def _variance(node: Node) -> _Squares | None:
    x = source_of(node)
    if not _is_float(x):
        return None
    names = argument_names(node)
    if "correction" in names:
        given = argument(node, "correction")
        correction = 1.0 if given is None else float(given)
    else:
        correction = 1.0 if argument(node, "unbiased") else 0.0
    found = _Squares(x, None, _axes(node), _keeps(node))
    if found.count <= correction:
        return None
    return replace(found, factor=found.count / (found.count - correction))


def _is_float(node: Node) -> bool:
    return bool(node.meta["val"].dtype == torch.float32)


def _axes(node: Node) -> tuple[int, ...]:
    """The axes that a reduction takes, sorted and not negative."""
    rank = len(shape_of(source_of(node)))
    names = argument_names(node)
    given = argument(node, "dim") if "dim" in names else None
    if given is None or given == []:
        return tuple(range(rank))
    return tuple(sorted(axis % rank for axis in ([given] if isinstance(given, int) else given)))


def _keeps(node: Node) -> bool:
    names = argument_names(node)
    return "keepdim" in names and bool(argument(node, "keepdim"))


def _is_scaled(x: Node) -> bool:
    """Whether ``x`` was divided by its largest magnitude already."""
    if not is_call(x, aten.div.Tensor):
        return False
    largest: Any = x.args[1]
    return is_call(largest, aten.clamp_min.default) and is_call(largest.args[0], aten.amax.default)


def _centred_on(node: Any, axes: tuple[int, ...]) -> Node | None:
    """x where ``node`` is x minus its mean along ``axes``, which stay."""
    if not is_call(node, aten.sub.Tensor) or argument(node, "alpha") != 1:
        return None
    x: Any
    mean: Any
    x, mean = node.args
    if not (isinstance(x, Node) and is_call(mean, aten.mean.dim) and mean.args[0] is x):
        return None
    return x if _axes(mean) == axes and _keeps(mean) else None


# Writing --------------------------------------------------------------------------------------


def _guard_root(graph: GraphEditor, node: Node, squares: _Squares) -> None:
    """Replace a root; where it divides what it is the root of, the whole is a layer norm."""
    for user in list(node.users):
        if is_call(user, aten.div.Tensor) and user.args[1] is node:
            _replace_by_norm(graph, user, user.args[0], squares)
    if node in graph and node.users:
        root = _scaled_root(graph, node, squares)
        graph.replace(node, _shaped(graph, root, node), _SCALED)


def _guard_reciprocal(graph: GraphEditor, node: Node, squares: _Squares) -> None:
    """Replace a reciprocal root: what it was multiplied with is divided by the root."""
    factors: list[tuple[Node, Node]] = []
    for user in list(node.users):
        others = [a for a in user.args if isinstance(a, Node) and a is not node]
        product = is_call(user, aten.mul.Tensor) and len(others) == 1
        if product and not _replace_by_norm(graph, user, others[0], squares):
            factors.append((user, others[0]))
    if node not in graph or not node.users:
        return
    root = _shaped(graph, _scaled_root(graph, node, squares), node)
    for user, other in factors:
        graph.replace(user, graph.call(aten.div.Tensor, other, root, like=user), _SCALED)
    if node in graph and node.users:
        graph.replace(node, graph.call(aten.reciprocal.default, root, like=node), _SCALED)


def _replace_by_norm(graph: GraphEditor, node: Node, centred: Any, squares: _Squares) -> bool:
    """Replace ``node``, which is ``centred`` / root, by a layer norm where it is one."""
    axes, rank = squares.axes, len(shape_of(squares.source))
    if axes != tuple(range(axes[0], rank)) or not squares.epsilon or squares.bound:
        return False
    x = _centred_on(centred, axes)
    if squares.centred is None:
        same = squares.source is x
    else:
        same = squares.centred is centred or _centred_on(squares.centred, axes) is x
    if x is None or not same or not squares.kept:
        return False
    shape, epsilon = list(shape_of(x)[axes[0] :]), squares.epsilon / squares.factor
    y = graph.call(aten.layer_norm.default, x, shape, None, None, epsilon, like=node)
    if squares.factor != 1:
        y = graph.call(aten.mul.Tensor, y, squares.factor**-0.5, like=node)
    graph.replace(node, y, "a layer norm by hand")
    return True


def _scaled_squares(graph: GraphEditor, node: Node, squares: _Squares) -> tuple[Node, Node]:
    """m = max|c|, and factor · mean((c/m)²); the axes stay, with size 1."""

    def call(target: Any, *args: Any) -> Node:
        return graph.call(target, *args, like=node)

    axes = list(squares.axes)
    c = squares.centred
    if c is None:
        mean = call(aten.mean.dim, squares.source, axes, True)
        c = call(aten.sub.Tensor, squares.source, mean)
    floor = max(_SMALLEST, math.sqrt(squares.epsilon))
    largest = call(aten.amax.default, call(aten.abs.default, c), axes, True)
    largest = call(aten.clamp_min.default, largest, floor)
    small = call(aten.div.Tensor, c, largest)
    total = call(aten.mean.dim, call(aten.mul.Tensor, small, small), axes, True)
    if squares.factor != 1:
        total = call(aten.mul.Tensor, total, squares.factor)
    return largest, total


def _scaled_mean(graph: GraphEditor, node: Node, squares: _Squares) -> Node:
    """factor · mean(c²), the square of m in two steps; the axes stay, with size 1."""
    largest, total = _scaled_squares(graph, node, squares)
    once = graph.call(aten.mul.Tensor, total, largest, like=node)
    return graph.call(aten.mul.Tensor, once, largest, like=node)


def _scaled_root(graph: GraphEditor, node: Node, squares: _Squares) -> Node:
    """sqrt(factor · mean(c²) + epsilon), not below sqrt(bound); the axes stay, with size 1."""

    def call(target: Any, *args: Any) -> Node:
        return graph.call(target, *args, like=node)

    largest, total = _scaled_squares(graph, node, squares)
    if squares.epsilon:
        share = call(aten.reciprocal.default, largest)
        share = call(aten.mul.Tensor, share, math.sqrt(squares.epsilon))
        total = call(aten.add.Tensor, total, call(aten.mul.Tensor, share, share))
    root = call(aten.mul.Tensor, call(aten.sqrt.default, total), largest)
    if squares.bound:
        root = call(aten.clamp_min.default, root, math.sqrt(squares.bound))
    return root


def _shaped(graph: GraphEditor, x: Node, node: Node) -> Node:
    """``x`` in the shape of ``node``."""
    if shape_of(x) == shape_of(node):
        return x
    return graph.call(aten.reshape.default, x, list(shape_of(node)), like=node)


# aten::group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None,
#     float eps=1e-05, bool cudnn_enabled=True) -> Tensor
def _group_norm(graph: GraphEditor, node: Node) -> Node:
    x, groups = source_of(node), argument(node, "num_groups")
    shape = shape_of(x)
    size = math.prod(shape[1:]) // groups
    y = graph.call(aten.reshape.default, x, [shape[0], groups, size], like=node)
    epsilon = argument(node, "eps")
    y = graph.call(aten.layer_norm.default, y, [size], None, None, epsilon, like=node)
    y = graph.call(aten.reshape.default, y, list(shape), like=node)
    channels = [1, shape[1], *[1] * (len(shape) - 2)]
    return _affine(graph, node, y, channels, argument(node, "weight"), argument(node, "bias"))


# aten::rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None)
#     -> Tensor
def _rms_norm(graph: GraphEditor, node: Node) -> Node | None:
    x, weight = source_of(node), argument(node, "weight")
    epsilon = argument(node, "eps")
    if epsilon is None or not _is_float(x):
        return None
    shape = list(argument(node, "normalized_shape"))
    rank = len(shape_of(x))
    axes = tuple(range(rank - len(shape), rank))
    squares = _Squares(x, x, axes, kept=True, epsilon=epsilon)
    root = _scaled_root(graph, node, squares)
    y = graph.call(aten.div.Tensor, x, root, like=node)
    return _affine(graph, node, y, shape, weight, None)


def _affine(
    graph: GraphEditor, node: Node, y: Node, shape: Sequence[int], weight: Any, bias: Any
) -> Node:
    """``y`` times ``weight`` plus ``bias``, each of which may be None, in ``shape``."""
    for target, value in ((aten.mul.Tensor, weight), (aten.add.Tensor, bias)):
        if value is None:
            continue
        stored = graph.exact(value)
        if stored is None:
            value = graph.call(aten.reshape.default, value, list(shape), like=node)
        elif tuple(stored.shape) != tuple(shape):
            value = graph.derived(value, stored.reshape(tuple(shape)), f"{node.name}.affine")
        y = graph.call(target, y, value, like=node)
    return y
