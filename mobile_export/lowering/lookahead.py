"""Looking ahead: in which memory order the users of a result want it.

A linear layer and a matrix product may write their result in more than one order. Which one is best
depends on what comes next: a convolution wants channels first, a layer norm wants them last. That
is read off the ATen graph, through reshapes, permutes and elementwise calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import torch
from torch.fx import Node

from ..graph.ops import CONVS, TRANSPOSED, argument
from ..graph.quantized import is_quantization
from ..graph.rearrange import LAYER_PRICES, Rearrangement
from . import ir
from .table import Call
from .view import Factor, View

__all__ = ["moved_later", "preferred_layout"]

aten = torch.ops.aten

_CUT_OR_PADDED = (aten.slice.Tensor, aten.pad.default, aten.roll.default)
_PASSED = (
    aten.relu.default,
    aten.gelu.default,
    aten.silu.default,
    aten.hardswish.default,
    aten.sigmoid.default,
    aten.tanh.default,
    aten.hardtanh.default,
    aten.relu6.default,
    aten.add.Tensor,
    aten.mul.Tensor,
    aten.sub.Tensor,
    aten.div.Tensor,
)
"""Calls that compute each element by itself, so that their result lies as their input does."""

_IMAGES = (
    *CONVS,
    *TRANSPOSED,
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
    aten.upsample_bicubic2d.vec,
)
_FAR = 8
"""Calls to look through."""


def preferred_layout(call: Call) -> View | None:
    """The result of ``call`` as its users want it: a view of an imagined value in that order.

    Returns:
        None when no user that is near enough prefers an order.
    """
    shape = call.shape
    flat = (math.prod(shape),)
    imagined = View.of(ir.Value("imagined", flat), shape)
    found = _ahead(call.node, imagined, shape, call.live, _FAR)
    if found is None:
        return None
    view, wanted = found
    back = replace(view.rearranged(wanted, flat).inverse, after=shape).cut()
    return None if back is None else View(imagined.value, back)


def _ahead(
    node: Node, view: View, shape: ir.Shape, live: AbstractSet[Node], far: int
) -> tuple[View, tuple[Factor, ...]] | None:
    """The first user that prefers an order, of those up to ``far`` calls away.

    Args:
        view: what reshapes and permutes have made of the imagined value on the way to ``node``.
        shape: of ``node``; that of ``view`` unless something was cut off or padded.

    Returns:
        The view there, and the order of its factors that the user prefers.
    """
    for user in node.users if far else ():
        if user not in live or user.args[0] is not node:
            continue
        wanted = _wanted_by(user, view)
        if wanted is not None:
            return view, wanted
        onward = _through(user, view, shape)
        found = None if onward is None else _ahead(user, *onward, live, far - 1)
        if found is not None:
            return found
    return None


def _wanted_by(user: Node, view: View) -> tuple[Factor, ...] | None:
    if user.target in _IMAGES:
        kernel = user.args[1].meta["val"].shape[2:] if user.target in CONVS else (0,)  # type: ignore[union-attr]
        if math.prod(kernel) != 1:
            return view.of_axes(range(len(view.shape)))
    if user.target is aten.layer_norm.default:
        count = len(argument(user, "normalized_shape"))
        last = range(len(view.shape) - count, len(view.shape))
        return (*view.without(last), *view.of_axes(last))
    return None


def _through(user: Node, view: View, shape: ir.Shape) -> tuple[View, ir.Shape] | None:
    """``view`` and ``shape`` behind a call that takes its input in any order; None for others.

    What is cut, padded or rolled has its factors in the order of the tensor before it. It cannot be
    reshaped, because the factors have other sizes now.
    """
    result = user.meta.get("val")
    if not isinstance(result, torch.Tensor):
        return None
    after = tuple(result.shape)
    if user.target is aten.reshape.default:
        reshaped = view.reshape(after) if view.shape == shape else None
        return None if reshaped is None else (reshaped, after)
    if user.target in _CUT_OR_PADDED:
        return view, after
    if user.target is aten.permute.default:
        return view.permute(argument(user, "dims")), after
    passed = user.target in _PASSED or is_quantization(user)
    return (view, shape) if passed and after == shape else None


def moved_later(memory: Sequence[Factor], preferred: View | None) -> float:
    """Elements that its users move when a result lies in the order ``memory``.

    Args:
        preferred: the result as they want it, of the same factors; None when nobody cares.
    """
    if preferred is None:
        return 0.0
    order = tuple(list(memory).index(factor) for factor in preferred.factors)
    flat = (preferred.size,)
    sizes = tuple(factor.size for factor in memory)
    whole = Rearrangement(flat, sizes, order, flat).simplified()
    return preferred.size * whole.cost(LAYER_PRICES)
