"""Looking ahead: the memory order in which the users of a tensor want it.

A linear layer and a matrix product may write their result in more than one order. Which one is best
depends on what comes next: a convolution wants channels first, a layer norm wants them last. The
wish is read off the ATen graph, through movement and elementwise calls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch
from torch.fx import Node

from ..graph.movement import Movement, refine, split
from ..graph.ops import CONVS, TRANSPOSED, argument
from . import ir
from .builder import price
from .table import Call
from .view import Atom, View

__all__ = ["moved_later", "wish_of"]

aten = torch.ops.aten

_PASSED = ("relu", "gelu", "silu", "hardswish", "sigmoid", "tanh", "hardtanh", "relu6", "dropout")
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


def wish_of(call: Call) -> View | None:
    """The order that the first user with a wish has, as a view of an imagined value."""
    shape = call.shape
    imagined = View.of(ir.Value("imagined", (math.prod(shape),)), shape)
    found = _ahead(call.node, imagined, call.live, _FAR)
    if found is None:
        return None
    view, wanted = found
    movement = view.movement(wanted, (math.prod(shape),))
    fine = refine(movement.atoms, shape)
    if fine is None:
        return None
    runs = split(movement.atoms, fine)
    owner = {piece: axis for axis, run in enumerate(split(shape, fine)) for piece in run}
    pieces = [piece for turn in movement.order for piece in runs[turn]]
    atoms = [Atom(owner[piece], piece, fine[piece]) for piece in pieces]
    return View.moved(imagined.value, shape, atoms)


def _ahead(
    node: Node, view: View, live: AbstractSet[Node], far: int
) -> tuple[View, tuple[Atom, ...]] | None:
    """``view`` where somebody has a wish, and the order of its atoms that is wished."""
    for user in node.users if far else ():
        if user not in live or user.args[0] is not node:
            continue
        wanted = _wanted_by(user, view)
        if wanted is not None:
            return view, wanted
        onward = _through(user, view)
        found = None if onward is None else _ahead(user, onward, live, far - 1)
        if found is not None:
            return found
    return None


def _wanted_by(user: Node, view: View) -> tuple[Atom, ...] | None:
    if user.target in _IMAGES:
        kernel = user.args[1].meta["val"].shape[2:] if user.target in CONVS else (0,)  # type: ignore[union-attr]
        if math.prod(kernel) != 1:
            return view.of_axes(range(len(view.shape)))
    if user.target is aten.layer_norm.default:
        count = len(argument(user, "normalized_shape"))
        last = range(len(view.shape) - count, len(view.shape))
        return (*view.without(last), *view.of_axes(last))
    return None


def _through(user: Node, view: View) -> View | None:
    """``view`` after a call that does not care about the order.

    After a cut, a pad or a roll its atoms still are those of the tensor before, which have the same
    order; but they cannot be reshaped.
    """
    if user.target is aten.reshape.default:
        whole = math.prod(atom.size for atom in view.atoms) == view.size
        return view.reshape(user.meta["val"].shape) if whole else None
    if user.target in (aten.slice.Tensor, aten.pad.default, aten.roll.default):
        return View(view.value, tuple(user.meta["val"].shape), view.atoms)
    if user.target is aten.permute.default:
        return view.permute(argument(user, "dims"))
    result = user.meta.get("val")
    same = isinstance(result, torch.Tensor) and tuple(result.shape) == view.shape
    name = str(user.target).split(".")[1] if "aten" in str(user.target) else ""
    return view if same and name in (*_PASSED, "add", "mul", "sub", "div") else None


def moved_later(memory: Sequence[Atom], wish: View | None) -> float:
    """Elements moved to bring a result in the order ``memory`` to that of ``wish``, which has the
    same atoms."""
    if wish is None:
        return 0.0
    order = tuple(list(memory).index(atom) for atom in wish.atoms)
    flat = (wish.size,)
    sizes = tuple(atom.size for atom in memory)
    return wish.size * price(Movement(flat, sizes, order, flat).simplified())
