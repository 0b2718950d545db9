"""Lowerings of operators that take, put, add up or weight elements by stored numbers.

With everything else stored, such a call is an affine function of the tensors that depend on the
image: y = A x + b. A and b are found by executing the call itself in float64: on zeros, which gives
b, and on numbered elements, which says where each element of y comes from. Where that does not
explain another run on random numbers, elements are added up or weighted, and A is found column by
column. A is written as a mask, as a gather, or as a product with a stored matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...graph.float64 import Float64Mode
from ..table import Call, lowers
from ..view import View
from .elementwise import LARGEST, binary
from .gathering import gather
from .linear import linear
from .moving import concat, narrow, reshape
from .warping import warped

__all__ = ["affine"]

aten = torch.ops.aten

_LARGEST = 1 << 22
"""Elements of a stored matrix."""
_COLUMNS = 4096
"""Elements of the image's tensors whose columns are found one by one."""


@lowers(
    aten._embedding_bag_forward_only.default,
    aten._trilinear.default,
    aten.as_strided.default,
    aten.diagonal.default,
    aten.diagonal_scatter.default,
    aten.index_add.default,
    aten.index_copy.default,
    aten.index_fill.int_Scalar,
    aten.index_fill.int_Tensor,
    aten.index_put.default,
    aten.masked_scatter.default,
    aten.max_unpool2d.default,
    aten.max_unpool3d.default,
    aten.put.default,
    aten.scatter_add.default,
    aten.take.default,
    aten.tril.default,
    aten.triu.default,
)
def _affine(call: Call) -> View | tuple[View, ...]:
    result = affine(call)
    return (result,) if isinstance(call.node.meta["val"], list | tuple) else result


@dataclass(frozen=True)
class _Function:
    """A call as a function of a flat array: all elements of ``nodes``, one after the other."""

    nodes: tuple[Any, ...]
    sizes: tuple[int, ...]
    run: Callable[[np.ndarray], np.ndarray]

    @property
    def size(self) -> int:
        return sum(self.sizes)


def affine(call: Call) -> View:
    """The first result of ``call``.

    Raises:
        LoweringError: the call is no affine function, or its matrix is too large.
    """
    function = _function(call)
    base = function.run(np.zeros(function.size))
    random = np.random.default_rng(0).standard_normal(function.size)
    wanted = function.run(random)
    source = np.rint(function.run(np.arange(1.0, function.size + 1)) - base).astype(np.int64) - 1
    moved = np.all((source >= -1) & (source < function.size))
    if moved and np.allclose(np.append(random, 0.0)[source], wanted - base, rtol=0, atol=1e-12):
        parts = _moved_parts(call, function, source)
    else:
        parts = _weighted_parts(call, function, base, random, wanted)
    total: View | None = None
    for part in parts:
        total = part if total is None else binary(call.builder, "add", total, part, call.shape)
    if total is None:
        return call.view(base.reshape(call.shape))
    if base.any():
        total = binary(call.builder, "add", total, base.reshape(call.shape), call.shape)
    return total


def _function(call: Call) -> _Function:
    nodes = tuple(node for node in call.node.all_input_nodes if isinstance(call.known[node], View))
    if any(not node.meta["val"].is_floating_point() for node in nodes):
        raise call.refuse(
            "an index or a mask is computed from the image",
            "Store it, or write the choice as a product with (torch.arange(n) == index).",
        )
    shapes = [call.known[node].shape for node in nodes]
    sizes = tuple(math.prod(shape) for shape in shapes)

    def run(flat: np.ndarray) -> np.ndarray:
        pieces = np.split(flat, np.cumsum(sizes)[:-1])
        given = {n: p.reshape(s) for n, p, s in zip(nodes, pieces, shapes, strict=True)}

        def tensor(node: Any) -> Any:
            value = given.get(node, call.known[node])
            held = torch.from_numpy(np.ascontiguousarray(value).reshape(value.shape))
            return held.double() if held.is_floating_point() else held

        args, kwargs = torch.fx.node.map_arg((call.node.args, call.node.kwargs), tensor)
        with torch.no_grad(), Float64Mode():  # type: ignore[no-untyped-call]
            result = call.target(*args, **kwargs)
        first = result[0] if isinstance(result, list | tuple) else result
        return np.asarray(first.numpy(), dtype=np.float64).reshape(-1)

    return _Function(nodes, sizes, run)


# Elements that are moved --------------------------------------------------------------------------


def _moved_parts(call: Call, function: _Function, source: np.ndarray) -> list[View]:
    """What of the result comes from each tensor, and 0 elsewhere."""
    parts = []
    start = 0
    for node, size in zip(function.nodes, function.sizes, strict=True):
        mine = np.where((source >= start) & (source < start + size), source - start, -1)
        start += size
        if (mine >= 0).any():
            parts.append(_moved(call, call.known[node], mine))
    return parts


def _moved(call: Call, x: View, source: np.ndarray) -> View:
    """Element ``source[i]`` of ``x`` at i, and 0 where that is -1."""
    held = source >= 0
    if source.size == x.size and np.all((source == np.arange(x.size)) | ~held):
        same = reshape(call.builder, x, call.shape)
        if held.all():
            return same
        mask = held.astype(np.float64).reshape(call.shape)
        return binary(call.builder, "mul", same, mask, call.shape)
    before, after = _common_axes(x.shape, call.shape, source)
    lead, tail = math.prod(x.shape[:before]), math.prod(x.shape[len(x.shape) - after :])
    middle = x.size // (lead * tail)
    flat = reshape(call.builder, x, (lead, middle, tail))
    index = source.reshape(lead, -1, tail)[0, :, 0]
    index = np.where(index >= 0, index // tail, -1)
    if (index >= 0).all():
        taken = gather(call.builder, flat, 1, index.tolist())
    else:
        _bound(call, index.size * middle)
        choice = np.zeros((index.size, middle))
        choice[np.flatnonzero(index >= 0), index[index >= 0]] = 1.0
        taken = linear(call.builder, flat, 1, choice, None)
    return reshape(call.builder, taken, call.shape)


def _common_axes(
    before: Sequence[int], after: Sequence[int], source: np.ndarray
) -> tuple[int, int]:
    """How many leading and how many trailing axes the call leaves alone."""
    lead = 0
    limit = min(len(before), len(after))
    while lead < limit and _is_alone(before, after, source, lead + 1, 0):
        lead += 1
    tail = 0
    while lead + tail < limit and _is_alone(before, after, source, lead, tail + 1):
        tail += 1
    return lead, tail


def _is_alone(
    before: Sequence[int], after: Sequence[int], source: np.ndarray, lead: int, tail: int
) -> bool:
    behind = len(before) - tail, len(after) - tail
    if before[:lead] != after[:lead] or before[behind[0] :] != after[behind[1] :]:
        return False
    first, last = math.prod(after[:lead]), math.prod(after[behind[1] :])
    apart = source.reshape(first, -1, last)
    middle = apart[:1, :, :1]
    rows = math.prod(before) // first
    moved = middle + np.arange(first)[:, None, None] * rows + np.arange(last)
    return bool(np.all(apart == np.where(middle >= 0, moved, -1)))


# Elements that are weighted -----------------------------------------------------------------------


def _weighted_parts(
    call: Call, function: _Function, base: np.ndarray, random: np.ndarray, wanted: np.ndarray
) -> list[View]:
    if function.size > _COLUMNS:
        raise call.refuse(f"it weights {function.size} elements; {_COLUMNS} can be")
    _bound(call, function.size * base.size)
    matrix = np.stack([function.run(unit) - base for unit in np.eye(function.size)], axis=1)
    if not np.allclose(matrix @ random, wanted - base, rtol=0, atol=1e-9):
        raise call.refuse("it is no sum of weighted elements")
    parts = []
    start = 0
    for node, size in zip(function.nodes, function.sizes, strict=True):
        mine = matrix[:, start : start + size]
        start += size
        x: View = call.known[node]
        if mine.shape[0] == size and np.array_equal(mine, np.diag(np.diag(mine))):
            same = reshape(call.builder, x, call.shape)
            weights = np.diag(mine).reshape(call.shape)
            parts.append(
                same if (weights == 1).all() else binary(
                    call.builder, "mul", same, weights, call.shape
                )
            )  # fmt: skip
        elif mine.any():
            flat = reshape(call.builder, x, (1, size))
            result = linear(call.builder, flat, 1, mine, None)
            parts.append(reshape(call.builder, result, call.shape))
    return parts


def _bound(call: Call, size: int) -> None:
    if size > _LARGEST:
        raise call.refuse(
            f"its stored matrix would have {size} elements; {_LARGEST} can be",
            "Take fewer elements at a time.",
        )


# Elements that meet in one place ------------------------------------------------------------------


@lowers(aten.scatter_reduce.two, aten.index_reduce.default)
def _reduced(call: Call) -> View:
    """Sums and means are affine; of products and extremes, one source for each place at a time."""
    kind = call.get("reduce")
    if kind in ("sum", "mean"):
        return affine(call)
    names = ("self", "src" if "src" in call.names else "source")
    target, source = (call.view(call.get(name)) for name in names)
    meeting = _meeting(call, source.shape)
    builder, shape = call.builder, call.shape
    op: Any = {"prod": "mul", "amax": "max", "amin": "min"}[kind]
    nothing = {"prod": 1.0, "amax": -LARGEST, "amin": LARGEST}[kind]
    result = target
    if not call.get("include_self"):
        hit = np.array([bool(found) for found in meeting]).reshape(shape)
        result = binary(builder, "mul", target, (~hit).astype(np.float64), shape)
        result = binary(builder, "add", result, np.where(hit, nothing, 0.0), shape)
    for turn in range(max(map(len, meeting))):
        index = np.array([found[turn] if turn < len(found) else -1 for found in meeting])
        held = index >= 0
        _bound(call, index.size * source.size)
        choice = np.zeros((index.size, source.size))
        choice[np.flatnonzero(held), index[held]] = 1.0
        flat = reshape(builder, source, (1, source.size))
        placed = linear(builder, flat, 1, choice, np.where(held, 0.0, nothing))
        result = binary(builder, op, result, reshape(builder, placed, shape), shape)
    return result


def _meeting(call: Call, shape: Sequence[int]) -> list[list[int]]:
    """For each element of the result, which elements of the source go there."""
    index = call.array("index", "places have to be stored")
    assert index is not None
    places = torch.arange(math.prod(call.shape)).reshape(call.shape)
    axis = call.get("dim")
    held = torch.from_numpy(index)
    if "src" in call.names:
        sources = torch.arange(math.prod(shape)).reshape(tuple(shape))
        sources = sources[tuple(slice(size) for size in index.shape)]
        taken = _gathered_places(places, axis, held)
    else:
        taken = places.index_select(axis, held) if places.ndim else places
        sources = torch.arange(math.prod(shape)).reshape(tuple(shape))
    meeting: list[list[int]] = [[] for _ in range(places.numel())]
    for place, source in zip(taken.reshape(-1).tolist(), sources.reshape(-1).tolist(), strict=True):
        meeting[place].append(source)
    return meeting


def _gathered_places(places: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Where ``scatter`` puts each element: ``places`` at ``index`` along ``axis``."""
    if not index.ndim:
        return places
    cut = [slice(None) if i == axis % index.ndim else slice(n) for i, n in enumerate(index.shape)]
    return places[tuple(cut)].gather(axis, index)


# Sampling at stored places ------------------------------------------------------------------------


@lowers(aten.grid_sampler.default, aten.grid_sampler_2d.default, aten.grid_sampler_3d.default)
def _grid_sampler(call: Call) -> View:
    """Every image of the batch times a stored matrix of (places, pixels)."""
    grid = call.get("grid")
    if isinstance(grid, View):
        return warped(call)
    x, builder = call.x, call.builder
    batch, channels, *sizes = x.shape
    pixels = math.prod(sizes)
    places = math.prod(call.shape[2:])
    _bound(call, pixels * places)
    units = torch.eye(pixels, dtype=torch.float64).reshape(1, pixels, *sizes)
    modes = [call.get(name) for name in call.names[2:]]
    flat = reshape(builder, x, (batch, channels, pixels))
    parts = []
    for image in range(batch):
        where = torch.from_numpy(grid[image : image + 1]).double()
        matrix = call.target(units, where, *modes).reshape(pixels, places).T.numpy()
        one = narrow(builder, flat, 0, image, 1)
        parts.append(linear(builder, one, 2, np.ascontiguousarray(matrix), None))
    whole = parts[0] if batch == 1 else concat(builder, parts, 0, (batch, channels, places))
    return reshape(builder, whole, call.shape)
