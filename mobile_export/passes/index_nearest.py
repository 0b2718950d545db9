"""Nearest-neighbour resizing as two selections of stored rows and columns.

    y[.., i, j] = x[.., rows[i], columns[j]]

PyTorch takes row floor(i · in / out). litert-torch 0.10 writes TFLite's half-pixel resizing, which
is the same only when the size grows by a whole factor (3 -> 7 picks other rows, and the converter
says nothing); coremltools 9.0 stores the factor (out + 1e-4) / in, and what Core ML picks by it is
not settled (docs/coreml-evaluator.md). Only formats that ask for it in their row get this pass;
what repeats every pixel equally often is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import source_of

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["index_nearest"]

aten = torch.ops.aten


def index_nearest(program: Program) -> PassResult:
    """No nearest-neighbour resizing by a broken factor is left."""
    graph = GraphEditor(program)
    for node in graph.find(aten.upsample_nearest2d.vec, aten.upsample_nearest2d.default):
        before, after = shape_of(source_of(node))[2:], shape_of(node)[2:]
        new = source_of(node)
        for axis, (old, size) in enumerate(zip(before, after, strict=True), start=2):
            picked = _picked(node, axis)
            if not _repeats(picked, old, size):
                indices = graph.add_constant(picked, f"{node.name}.index")
                new = graph.call(aten.index_select.default, new, axis, indices, like=node)
        if new is not source_of(node):
            rest = [max(a, b) for a, b in zip(shape_of(new)[2:], after, strict=True)]
            if tuple(rest) != shape_of(new)[2:]:
                new = graph.call(aten.upsample_nearest2d.vec, new, rest, None, like=node)
            graph.replace(node, new, "rows and columns selected by stored numbers")
    return graph.result()


def _repeats(picked: torch.Tensor, old: int, size: int) -> bool:
    """Whether every position is taken equally often, in order."""
    return size % old == 0 and torch.equal(picked, torch.arange(size) * old // size)


def _picked(node: Node, axis: int) -> torch.Tensor:
    """Which row or column each one of the result is: the op itself, on their numbers."""
    shape = (1, 1, *shape_of(source_of(node))[2:])
    line = [1] * 4
    line[axis] = -1
    numbers = torch.arange(shape[axis], dtype=torch.float64).reshape(line).expand(shape)
    result: torch.Tensor = node.target(numbers, *node.args[1:], **node.kwargs)  # type: ignore[operator]
    return result.select(5 - axis, 0).flatten().to(torch.int64)
