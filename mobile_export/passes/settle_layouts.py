"""A copy in front of each reshape that reads, through movements, what attention computed.

PyTorch does not promise how the result of attention lies in memory, and its kernels differ.
torch.onnx (2.14) traces a program twice. In the first trace attention's result has its heads next
to each other, so a reshape behind a permute needs no copy and is written as a ``view``; in the
second it has not, and the view fails: "Cannot view a tensor with shape … and strides …". A copy
with strides of its own makes both traces agree. onnxsim removes it from the file.

Only formats that name it in their row get this pass. It runs last: to the others a copy is nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.fx import Node

from ..graph.editor import GraphEditor
from ..graph.ops import is_call
from ..system.torch_private import OpOverload

if TYPE_CHECKING:
    from ..graph.changes import PassResult
    from ..graph.program import Program

__all__ = ["settle_layouts"]

aten = torch.ops.aten
_ATTENTION = aten.scaled_dot_product_attention.default
_VIEWS = (
    aten.reshape.default,
    aten.permute.default,
    aten.expand.default,
    aten.slice.Tensor,
    aten.select.int,
)


def settle_layouts(program: Program) -> PassResult:
    """No reshape depends on how attention's result lies in memory."""
    graph = GraphEditor(program)
    unsettled: set[Node] = set()
    for node in graph.nodes:
        if not _depends_on_layout(node, unsettled):
            continue
        if is_call(node, aten.reshape.default):
            _read_a_copy(graph, node)
        else:
            unsettled.add(node)
    return graph.result()


def _depends_on_layout(node: Node, unsettled: set[Node]) -> bool:
    """Whether PyTorch may give the strides of ``node`` in several ways."""
    if is_call(node, _ATTENTION):
        return True
    if is_call(node, aten.clone.default) and "memory_format" in node.kwargs:
        return False
    if node.op != "call_function" or unsettled.isdisjoint(node.all_input_nodes):
        return False
    target = node.target
    pointwise = isinstance(target, OpOverload) and torch.Tag.pointwise in target.tags
    return pointwise or is_call(node, *_VIEWS)


def _read_a_copy(graph: GraphEditor, node: Node) -> None:
    source = node.args[0]
    assert isinstance(source, Node)
    layout = {"memory_format": torch.contiguous_format}
    copy = graph.call(aten.clone.default, source, like=node, kwargs=layout)
    node.replace_input_with(source, copy)
    graph.changed(node, "reads a copy, whose strides are known")
