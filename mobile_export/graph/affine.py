"""Affine maps y = scale · x + shift with stored scale and shift, and how they move along the graph.

``scale`` and ``shift`` have the rank of x, and on each axis either size 1 or the size of x. An
affine map commutes with everything that only rearranges, repeats or averages elements: `pull` takes
it from the output of such an op to its input, `push` from the input to the output. What they return
is None where the two do not commute.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from .editor import GraphEditor, shape_of
from .ops import FOLDABLE, argument, as_list, is_call, source_of

__all__ = ["Affine", "along", "batch_norm_of", "pull", "push", "scale_of", "vector"]

aten = torch.ops.aten
_RESIZES = (
    aten.upsample_nearest2d.vec,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.default,
    aten.upsample_bilinear2d.default,
)
_KINDS: dict[Any, str] = {
    aten.mul.Tensor: "mul",
    aten.div.Tensor: "div",
    aten.add.Tensor: "add",
    aten.sub.Tensor: "sub",
}
_SPLITS = (aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default, aten.unbind.int)


@dataclass(frozen=True)
class Affine:
    """x -> scale · x + shift."""

    scale: Tensor
    shift: Tensor

    @property
    def shifts(self) -> bool:
        """Whether the shift is anything but zero."""
        return bool(self.shift.any())

    def after(self, first: Affine) -> Affine:
        """x -> self(first(x))."""
        return Affine(self.scale * first.scale, self.scale * first.shift + self.shift)

    def map(self, function: Any) -> Affine | None:
        """``function`` applied to scale and shift; None when it gives None for one of them."""
        scale, shift = function(self.scale), function(self.shift)
        return None if scale is None or shift is None else Affine(scale, shift)


def vector(value: Tensor, axis: int, size: int) -> Tensor | None:
    """``value`` as a vector of ``size`` along ``axis``; None when it varies along another one."""
    if value.numel() == 1:
        return value.reshape(1).expand(size)
    if value.shape[axis] != value.numel():
        return None
    return value.reshape(-1)


def along(axis: int, rank: int, values: Tensor) -> Tensor:
    """A vector as a tensor of ``rank`` that varies along ``axis``."""
    shape = [1] * rank
    shape[axis] = -1
    return values.reshape(shape)


# Recognition ------------------------------------------------------------------------------------


def batch_norm_of(graph: GraphEditor, node: Node) -> Affine | str | None:
    """An eval-mode batch norm as an affine map; why it is none; None when it is something else."""
    if not is_call(node, aten.batch_norm.default):
        return None
    _, weight, bias, mean, var, training, _, eps, _ = node.args
    if training:
        return "it normalises with the statistics of the image (training mode, or no running ones)"
    stored = [graph.constant(value) for value in (weight, bias, mean, var)]
    given = [value for value in (weight, bias, mean, var) if value is not None]
    if len(given) != sum(value is not None for value in stored):
        return "its parameters are computed from the input"
    dtypes = {value.dtype for value in stored if value is not None}
    if not dtypes <= set(FOLDABLE):
        return f"its parameters are {', '.join(map(str, dtypes))}: folding would round them"
    gamma, beta, mu, sigma2 = (None if v is None else v.double() for v in stored)
    assert mu is not None
    assert sigma2 is not None
    assert isinstance(eps, float | int)
    if not torch.isfinite(mu).all() or not torch.isfinite(sigma2).all():
        return "its running statistics hold NaN or infinity"
    variance = sigma2 + eps
    if (variance <= 0).any():
        worst = int(variance.argmin())
        return (
            f"running variance + eps is {float(variance[worst]):g} in channel {worst}: "
            "its square root has no inverse"
        )
    scale = variance.rsqrt() if gamma is None else gamma * variance.rsqrt()
    shift = -mu * scale if beta is None else beta - mu * scale
    for name, value in (("scale", scale), ("shift", shift)):
        if not torch.isfinite(value.float()).all():
            return f"its {name} is not a finite float32"
    rank = len(shape_of(node))
    return Affine(along(1, rank, scale), along(1, rank, shift))


def scale_of(graph: GraphEditor, node: Node) -> tuple[Node, Affine] | str | None:
    """Multiplication, division, addition or subtraction of something stored, as an affine map.

    Returns:
        The other operand and the map; why it is none; or None when ``node`` is something else.
    """
    if is_call(node, aten.neg.default):
        x, kind, other = source_of(node), "mul", -1.0
        swapped = False
    elif is_call(node, *_KINDS):
        kind = _KINDS[node.target]
        first, second = node.args[:2]
        swapped = not isinstance(first, Node) or graph.is_constant(first)
        x, other = (second, first) if swapped else (first, second)  # type: ignore[assignment]
    else:
        return None
    if not isinstance(x, Node) or graph.is_constant(x) or (swapped and kind == "div"):
        return None
    if isinstance(other, Node) and not graph.is_constant(other):
        return None
    value = _stored_number(graph, other, len(shape_of(node)))
    if value is None or shape_of(x) != shape_of(node):
        return None
    if x.meta["val"].dtype not in FOLDABLE or x.meta["val"].dtype != node.meta["val"].dtype:
        return None
    if not torch.isfinite(value).all() or (kind == "div" and not value.all()):
        return "it combines with NaN, infinity or zero"
    alpha = float(node.kwargs.get("alpha", 1))  # type: ignore[arg-type]
    return x, _map_of(kind, value, alpha, swapped=swapped)


def _map_of(kind: str, value: Tensor, alpha: float, *, swapped: bool) -> Affine:
    """x · value, x / value, x ± alpha · value or, ``swapped``, value ± alpha · x."""
    one, zero = torch.ones_like(value), torch.zeros_like(value)
    if kind == "mul":
        return Affine(value, zero)
    if kind == "div":
        return Affine(1 / value, zero)
    sign = 1.0 if kind == "add" else -1.0
    return Affine(one * sign * alpha, value) if swapped else Affine(one, sign * alpha * value)


def _stored_number(graph: GraphEditor, other: Any, rank: int) -> Tensor | None:
    if isinstance(other, bool):
        return None
    if isinstance(other, int | float):
        return torch.full((1,) * rank, float(other), dtype=torch.float64)
    stored = graph.constant(other)
    if stored is None or stored.dtype not in FOLDABLE or stored.ndim > rank:
        return None
    return stored.double().reshape([1] * (rank - stored.ndim) + list(stored.shape))


# Motion -----------------------------------------------------------------------------------------


def pull(node: Node, affine: Affine) -> Affine | None:
    """The map to apply to the first argument of ``node`` instead of its result, or None."""
    if is_call(node, operator.getitem) and is_call(node.args[0], *_SPLITS):
        return _pull_piece(node, affine)
    if not is_call(node) and node.op != "call_function":
        return None
    target, source = node.target, node.args[0]
    if not isinstance(source, Node) or not isinstance(source.meta["val"], torch.Tensor):
        return None
    before, after = shape_of(source), shape_of(node)
    if target is aten.permute.default:
        order: list[int] = node.args[1]  # type: ignore[assignment]
        back = [order.index(axis) for axis in range(len(order))]
        return affine.map(lambda value: value.permute(back))
    if target is aten.reshape.default:
        return affine.map(lambda value: _reshaped(value, after, before))
    if target is aten.mean.dim:
        axes: list[int] = node.args[1]  # type: ignore[assignment]
        if argument(node, "keepdim"):
            return affine
        kept = [1 if axis in axes else None for axis in range(len(before))]
        return affine.map(lambda value: _with_ones(value, kept))
    if _averages(node, affine):
        return affine if _flat_from(affine, 2) else None
    if target is aten.pixel_shuffle.default and len(before) == 4 and _flat_from(affine, 2):
        count = before[1] // after[1]
        return affine.map(lambda v: v if v.shape[1] == 1 else v.repeat_interleave(count, 1))
    return _picked(node, affine)


def push(node: Node, affine: Affine) -> Affine | None:
    """The map to apply to the result of ``node`` instead of its first argument, or None."""
    target, source = node.target, node.args[0]
    if node.op != "call_function" or not isinstance(source, Node):
        return None
    if not isinstance(node.meta["val"], torch.Tensor):
        return None
    before, after = shape_of(source), shape_of(node)
    if target is aten.permute.default:
        order: Any = node.args[1]
        return affine.map(lambda value: value.permute(order))
    if target is aten.reshape.default:
        return affine.map(lambda value: _reshaped(value, before, after))
    if target is aten.mean.dim:
        axes: list[int] = node.args[1]  # type: ignore[assignment]
        if any(value.shape[axis] != 1 for value in (affine.scale, affine.shift) for axis in axes):
            return None
        return affine if argument(node, "keepdim") else affine.map(lambda v: _squeezed(v, axes))
    if _averages(node, affine):
        return affine if _flat_from(affine, 2) else None
    return _picked(node, affine)


def _picked(node: Node, affine: Affine) -> Affine | None:
    """Through what repeats or leaves out elements along axes on which the map is constant."""
    rank = len(shape_of(source_of(node)))
    if is_call(node, aten.slice.Tensor):
        axes = [argument(node, "dim") % rank]
    elif is_call(node, aten.pad.default):
        padding: list[int] = argument(node, "pad")
        axes = [rank - 1 - side // 2 for side, count in enumerate(padding) if count]
        zeros = argument(node, "mode") == "constant" and not argument(node, "value")
        if argument(node, "mode") == "constant" and (affine.shifts or not zeros):
            return None  # s · 0 + t is not what it pads with
    else:
        return None
    flat = all(v.shape[axis] == 1 for v in (affine.scale, affine.shift) for axis in axes)
    return affine if flat else None


def _pull_piece(node: Node, affine: Affine) -> Affine | None:
    """Through one piece of a split: the identity on the other pieces."""
    split: Any = node.args[0]
    index: Any = node.args[1]
    assert isinstance(split, Node)
    same = [user for user in split.users if user.args[1] == index]
    if len(same) > 1:
        return None
    whole = shape_of(source_of(split))
    dim = argument(split, "dim") % len(whole)
    if is_call(split, aten.unbind.int):
        affine_there = affine.map(lambda value: value.unsqueeze(dim))
        assert affine_there is not None
        affine = affine_there
    pieces = split.meta["val"]
    sizes = [1 if is_call(split, aten.unbind.int) else piece.shape[dim] for piece in pieces]
    start = sum(sizes[:index])

    def placed(value: Tensor, rest: float) -> Tensor:
        shape = list(value.shape)
        shape[dim] = whole[dim]
        full = torch.full(shape, rest, dtype=torch.float64)
        full.narrow(dim, start, sizes[index]).copy_(value)
        return full

    return Affine(placed(affine.scale, 1.0), placed(affine.shift, 0.0))


def _averages(node: Node, affine: Affine) -> bool:
    """Whether every output is a weighted mean (weights that sum to one) of inputs of a channel."""
    if is_call(node, *_RESIZES):
        return True
    if not is_call(node, aten.avg_pool2d.default):
        return False
    if argument(node, "divisor_override") is not None:
        return False
    padded = any(as_list(argument(node, "padding"), 2)) and argument(node, "count_include_pad")
    return not (affine.shifts and (padded or argument(node, "ceil_mode")))


def _flat_from(affine: Affine, axis: int) -> bool:
    """Whether scale and shift are constant along ``axis`` and all later axes."""
    return all(math.prod(value.shape[axis:]) == 1 for value in (affine.scale, affine.shift))


def _reshaped(value: Tensor, before: tuple[int, ...], after: tuple[int, ...]) -> Tensor:
    """``value``, which broadcasts to ``before``, as what broadcasts to the same reshaped."""
    if value.numel() == 1:
        return value.reshape([1] * len(after))
    full = value.expand(before).reshape(after)
    for axis in range(len(after)):
        first = full.narrow(axis, 0, 1)
        if full.shape[axis] > 1 and bool((full == first).all()):
            full = first
    return full


def _with_ones(value: Tensor, kept: list[int | None]) -> Tensor:
    for axis, one in enumerate(kept):
        if one is not None:
            value = value.unsqueeze(axis)
    return value


def _squeezed(value: Tensor, axes: list[int]) -> Tensor:
    return value.reshape([n for axis, n in enumerate(value.shape) if axis not in axes])
