"""Roundings of a program with a plan in it that change nothing, so that an operator stands free.

Each is left out for a reason that holds for every number: what is computed is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ..system.torch_private import quantization_operators
from .ops import CONVS, argument
from .quantized import is_quantization

if TYPE_CHECKING:
    from torch.fx import Node

    from .editor import GraphEditor

__all__ = ["CLAMPS", "Pads", "free_clamps", "free_pads", "grid_of", "limits_of"]

aten: Any = torch.ops.aten

Pads = tuple[tuple[int, int], ...]
"""(before, after) of each spatial axis, in the order of the axes."""

CLAMPS = (
    aten.relu.default,
    aten.hardtanh.default,
    aten.relu6.default,
    aten.clamp.default,
    aten.clamp_min.default,
    aten.clamp_max.default,
)


def grid_of(node: Any) -> tuple[Any, ...] | None:
    """Scale, zero point, least and largest integer and type of a quantise or dequantise with one
    stored scale; None of anything else."""
    operators = quantization_operators()
    known = (operators.quantize_per_tensor.default, operators.dequantize_per_tensor.default)
    return tuple(node.args[1:6]) if getattr(node, "target", None) in known else None


def _rounded(graph: GraphEditor, node: Node) -> Node | None:
    """The dequantise behind ``node``, when it is only read by a quantise, and that by it."""
    rounding = graph.only_user(node)
    if rounding is None or not is_quantization(rounding) or grid_of(rounding) is None:
        return None
    real = graph.only_user(rounding)
    same = real is not None and grid_of(real) == grid_of(rounding)
    return real if same and rounding.args[0] is node else None


def free_pads(graph: GraphEditor, takes: Callable[[Node, Pads], bool]) -> None:
    """Leave out the rounding between zeros around a tensor and the convolution that reads them.

    A tensor of integers has the float zero exactly, as its zero point; with more zeros around it
    all elements are still on its grid, and rounding them again changes none.

    Args:
        takes: whether the operator of a format does the padding itself, of a convolution and the
            zeros before it.
    """
    for pad in graph.find(aten.pad.default, aten.constant_pad_nd.default):
        source: Any = pad.args[0]
        pads = _zeros(pad)
        real = _rounded(graph, pad)
        if pads is None or real is None or grid_of(source) != grid_of(real):
            continue
        conv = graph.only_user(real)
        first = conv is not None and conv.target in CONVS and argument(conv, "input") is real
        if conv is not None and first and takes(conv, pads):
            graph.replace(real, pad, "zeros are on the grid of what they stand around")


def _zeros(pad: Node) -> Pads | None:
    """How many zeros a pad puts around spatial axes; None where it does something else."""
    value: Any = pad.meta["val"]
    amounts: Any = argument(pad, "pad")
    pairs = tuple(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
    rank = value.ndim - 2
    constant = pad.target is not aten.pad.default or argument(pad, "mode") == "constant"
    if not constant or argument(pad, "value") not in (None, 0) or len(pairs) > rank:
        return None
    whole = all(isinstance(each, int) and each >= 0 for pair in pairs for each in pair)
    return ((0, 0),) * (rank - len(pairs)) + pairs if whole else None


def free_clamps(graph: GraphEditor) -> None:
    """Leave out a clamp whose limits the integers behind it have anyway.

    q(clamp(x, a, b)) = clamp(q(x), q(a), q(b)), since rounding keeps the order; where q(a) is the
    least integer and q(b) the largest, the clamp to the integers is all.
    """
    for clamp in graph.find(*CLAMPS):
        rounding = graph.only_user(clamp)
        grid = grid_of(rounding) if rounding is not None else None
        if grid is None or not _is_limited(clamp, grid):
            continue
        graph.replace(clamp, clamp.args[0], "integers have its limits")  # type: ignore[arg-type]


def _is_limited(clamp: Node, grid: tuple[Any, ...]) -> bool:
    scale, zero, least, largest, _ = grid
    low, high = limits_of(clamp)
    below = low is None or _steps(low, scale, zero) <= least
    above = high is None or _steps(high, scale, zero) >= largest
    return below and above


def _steps(value: float, scale: float, zero: int) -> int:
    """The integer that a number is rounded to, before it is clamped; ties to even."""
    return round(value / scale) + zero


def limits_of(clamp: Node) -> tuple[float | None, float | None]:
    """The least and the largest value of one of `CLAMPS`; None where it has none."""
    if clamp.target is aten.relu.default:
        return 0.0, None
    if clamp.target is aten.relu6.default:
        return 0.0, 6.0
    names = ("min_val", "max_val") if clamp.target is aten.hardtanh.default else ("min", "max")
    schema = clamp.target._schema  # type: ignore[union-attr]
    known = {each.name for each in schema.arguments}
    low, high = (argument(clamp, name) if name in known else None for name in names)
    return low, high
