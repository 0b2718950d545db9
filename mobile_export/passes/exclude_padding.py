"""Average pools with other padding in one axis than in another, without counting the padding.

From opset 19 on onnxruntime 1.22 to 1.24 takes the padding of one axis for that of another when it
counts (`exporters.runtime_faults`, average_pool_pads); where it does not count they are right. So

    avg(count_include_pad=True)  is  avg(count_include_pad=False) · real / counted,

``real`` elements of a window lying in the input and ``counted`` in the padded input: stored
numbers, one for each window. Padding in front of the pool would not do: onnxruntime makes it the
pool's own again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.average_pools import AVERAGE_POOLS, PoolAxis, pool_axes
from ..graph.editor import GraphEditor, shape_of
from ..graph.ops import argument, source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["exclude_padding"]

aten = torch.ops.aten


def exclude_padding(program: Program) -> PassResult:
    """No average pool counts padding that differs between its axes."""
    graph = GraphEditor(program)
    for node in graph.find(*AVERAGE_POOLS):
        axes = pool_axes(node)
        rank = len(axes)
        if rank > 1 and argument(node, "divisor_override") is not None:
            continue
        if len({axis.padding for axis in axes}) == 1 or not argument(node, "count_include_pad"):
            continue
        kernel, stride = [axis.kernel for axis in axes], [axis.stride for axis in axes]
        padding, ceil = [axis.padding for axis in axes], bool(argument(node, "ceil_mode"))
        call = (node.target, source_of(node), kernel, stride, padding, ceil, False)
        pool = graph.call(*call, like=node)
        shares = graph.add_constant(_shares(node, axes), f"{node.name}.shares")
        new = graph.call(aten.mul.Tensor, pool, shares, like=node)
        graph.replace(node, new, "padding excluded, and multiplied by each window's share of it")
    return graph.result()


def _shares(node: Node, axes: Sequence[PoolAxis]) -> torch.Tensor:
    """Of each window, the share of what it counts that lies in the input."""
    shares = torch.ones((1,) * (len(shape_of(node)) - len(axes)), dtype=torch.float64)
    for axis in axes:
        line = torch.tensor([1.0], dtype=torch.float64)
        if axis.padding:
            pairs = zip(axis.real(), axis.inside(), strict=True)
            line = torch.tensor([real / inside for real, inside in pairs], dtype=torch.float64)
        shares = shares[..., None] * line
    return shares
