"""Arithmetic on integers of 8 and 16 bits, which converters and runtimes lack or compute otherwise.

onnxruntime has no bounds and no choice for 16 bits, LiteRT no bounds for either, Core ML's programs
make 32 bits of both and do not begin again where they end. So such a call computes in 32 bits, and
what leaves the range of its type is brought back: x - size · floor((x - low) / size).

Bits are arithmetic, too: bit k of x, negative or not, is floor(x / 2^k) - 2 floor(x / 2^(k + 1)).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.ops import operator_name, source_of
from ..system.torch_private import OpOverload
from .inline import inline

__all__ = [
    "bitwise_and",
    "bitwise_not",
    "bitwise_or",
    "bitwise_xor",
    "computes_narrow",
    "shifted_left",
    "shifted_right",
    "widen",
]

aten = torch.ops.aten

_RANGES = {torch.uint8: (0, 256), torch.int8: (-128, 256), torch.int16: (-32768, 65536)}
"""The least number, and how many there are."""

_KEPT = "clamp clamp_min clamp_max maximum minimum where masked_fill relu sign sgn"
_STAYS = frozenset(_KEPT.split())
"""Pointwise operators whose results lie between their operands: they do not leave the range."""

_CASTS = ("to", "_to_copy", "type_as")
_IN_RANGE = "in_range"
"""The key of ``meta`` of a cast whose operand has numbers of its type only."""


def _kind(node: Node) -> torch.dtype | None:
    return getattr(node.meta.get("val"), "dtype", None)


def _is_cast(node: Node) -> bool:
    return isinstance(node.target, OpOverload) and operator_name(node.target) in _CASTS


def computes_narrow(node: Node) -> bool:
    """Whether a call computes with integers of 8 or 16 bits, or makes them of other numbers.

    That such integers, a stored table perhaps, become other numbers is no computation.
    """
    if not isinstance(node.target, OpOverload) or node.target.namespace != "aten":
        return False
    if node.target is aten._assert_tensor_metadata.default:
        return False
    if _is_cast(node):
        return _kind(node) in _RANGES and _IN_RANGE not in node.meta
    operands = [_kind(each) for each in node.all_input_nodes]
    return _kind(node) in _RANGES or any(kind in _RANGES for kind in operands)


def _is_left(node: Node) -> bool:
    """Whether a call takes narrow integers for something else: a mask of bytes, or a plan's."""
    if node.op != "call_function" or not any(_kind(n) in _RANGES for n in node.all_input_nodes):
        return False
    if not isinstance(node.target, OpOverload):
        return True
    bytes_as_masks = operator_name(node.target) in ("index", "index_put", "_unsafe_index")
    return node.target.namespace != "aten" or bytes_as_masks


def widen(graph: GraphEditor) -> None:
    """Every call on integers of 8 and 16 bits in 32 bits, brought back into its range.

    What a program takes and returns keeps its type.
    """
    calls = [node for node in graph.nodes if node.op == "call_function"]
    kinds = {node: _kind(node) for node in graph.nodes if _kind(node) in _RANGES}
    if not any(map(computes_narrow, calls)) or any(map(_is_left, calls)):
        return
    for node in calls:
        if _IN_RANGE in node.meta or (_is_cast(node) and node not in kinds):
            continue
        if node.target is aten._assert_tensor_metadata.default:
            graph.erase(node)
            continue
        for source in node.all_input_nodes:
            if _kind(source) in _RANGES:
                wide = graph.call(aten.to.dtype, source, torch.int32, like=node)
                node.replace_input_with(source, wide)
        if node not in kinds or not isinstance(node.target, OpOverload):
            graph.refresh(node)
            continue
        result = _in_32_bits(graph, node, kinds[node])
        for user in list(node.users):
            if user is not result:
                taken = _as_it_was(graph, result, node) if user.op == "output" else result
                user.replace_input_with(node, taken)
        graph.changed(node, "integers of 32 bits")


def _in_32_bits(graph: GraphEditor, node: Node, kind: Any) -> Node:
    """A call whose operands have 32 bits now."""
    low, size = _RANGES[kind]
    assert isinstance(node.target, OpOverload)
    name = operator_name(node.target)
    function = _BY_BITS.get(name.strip("_"))
    if _is_cast(node):
        result = graph.call(aten.to.dtype, source_of(node), torch.int32, like=node)
    elif function is not None and isinstance(node.args[1], Node):
        bits = size.bit_length() - 1
        result = inline(graph, node, lambda x, y: function(x, y, bits), *node.args)
    else:
        kwargs = {key: torch.int32 if key == "dtype" else each for key, each in node.kwargs.items()}
        result = graph.call(node.target, *node.args, like=node, kwargs=kwargs)
    pointwise = _is_cast(node) or torch.Tag.pointwise in node.target.tags
    if not pointwise or name in _STAYS or _kind(result) != torch.int32:
        return result
    back: Node = inline(graph, node, lambda x: _brought_back(x, low, size), result)
    return back


def _as_it_was(graph: GraphEditor, result: Node, node: Node) -> Node:
    """For who is given the result of ``node`` from outside."""
    narrow = graph.call(aten.to.dtype, result, _kind(node), like=node)
    narrow.meta[_IN_RANGE] = True
    return narrow


def _brought_back(x: Tensor, low: int, size: int) -> Tensor:
    return torch.remainder(x - low, size) + low if low else torch.remainder(x, size)


# Bits -------------------------------------------------------------------------------------------


def _is_truth(*values: Any) -> bool:
    return all(isinstance(v, bool) or getattr(v, "dtype", None) == torch.bool for v in values)


def _runs(number: int) -> Iterator[tuple[int, int]]:
    """The first bit and the number of bits of each run of ones in ``number`` (0 or more)."""
    place = 0
    while number >> place:
        count = 0
        while number >> (place + count) & 1:
            count += 1
        if count:
            yield place, count
        place += max(count, 1)


def _shared_with(x: Tensor, number: int) -> Tensor:
    """The bits that whole numbers share with a stored one."""
    if number < 0:
        return x - _shared_with(x, ~number)
    result = torch.zeros_like(x)
    for place, count in _runs(number):
        moved = torch.div(x, 2**place, rounding_mode="floor") if place else x
        result = result + torch.remainder(moved, 2**count) * 2**place
    return result


def _shared(x: Tensor, y: Tensor, bits: int) -> Tensor:
    """The bits that are 1 in both, of the last ``bits``; from 0 up."""
    result = torch.zeros_like(x)
    for place in range(bits):
        one, other = (_shared_with(each, 1 << place) for each in (x, y))
        result = result + torch.minimum(one, other)
    return result


def _shared_of(x: Tensor, y: Any, bits: int) -> Any:
    """The bits that both have, or NotImplemented: of two tensors only where ``bits`` are few."""
    if not isinstance(y, Tensor):
        return _shared_with(x, int(y))
    return _shared(x, y, bits) if bits else NotImplemented


# aten::bitwise_and.Tensor(Tensor self, Tensor other) -> Tensor
def bitwise_and(x: Tensor, y: Any, bits: int = 0) -> Any:
    """Of truth values, or of whole numbers with a stored one."""
    if _is_truth(x, y):
        return torch.logical_and(x, torch.as_tensor(y))
    return _shared_of(x, y, bits)


# aten::bitwise_or.Tensor(Tensor self, Tensor other) -> Tensor
def bitwise_or(x: Tensor, y: Any, bits: int = 0) -> Any:
    """x + (y - the bits that both have)."""
    if _is_truth(x, y):
        return torch.logical_or(x, torch.as_tensor(y))
    both = _shared_of(x, y, bits)
    return both if both is NotImplemented else x + (y - both)


# aten::bitwise_xor.Tensor(Tensor self, Tensor other) -> Tensor
def bitwise_xor(x: Tensor, y: Any, bits: int = 0) -> Any:
    """(x - the bits that both have) + (y - these)."""
    if _is_truth(x, y):
        return torch.logical_xor(x, torch.as_tensor(y))
    both = _shared_of(x, y, bits)
    return both if both is NotImplemented else (x - both) + (y - both)


_BY_BITS = {"bitwise_and": bitwise_and, "bitwise_or": bitwise_or, "bitwise_xor": bitwise_xor,
            "and": bitwise_and, "or": bitwise_or, "xor": bitwise_xor}  # fmt: skip


# aten::bitwise_not(Tensor self) -> Tensor
def bitwise_not(x: Tensor) -> Tensor:
    """The other truth value, or -1 - x."""
    return torch.logical_not(x) if _is_truth(x) else -1 - x


# aten::bitwise_right_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor
def shifted_right(x: Tensor, places: Any) -> Any:
    """Over a power of two, rounded down; by a stored number of bits."""
    if isinstance(places, Tensor) or x.is_floating_point():
        return NotImplemented
    return torch.div(x, 2**places, rounding_mode="floor")


# aten::bitwise_left_shift.Tensor_Scalar(Tensor self, Scalar other) -> Tensor
def shifted_left(x: Tensor, places: Any) -> Any:
    """Times a power of two; by a stored number of bits."""
    if isinstance(places, Tensor) or x.is_floating_point():
        return NotImplemented
    return x * 2**places
