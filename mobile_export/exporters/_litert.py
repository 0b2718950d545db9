"""What litert-torch 0.10 refuses, written in other operations first.

Transposed convolution with padding and a stride ("failed to legalize mhlo.convolution"): padding
crops the result, so it becomes the same without padding, cropped. (What it gets wrong is a pass:
`passes.index_nearest`.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

__all__ = ["avoid_gaps"]

_ATEN = torch.ops.aten


def avoid_gaps(module: torch.nn.Module) -> GraphModule:
    """Rewrite the graph of a program's module, in place, and return it."""
    assert isinstance(module, GraphModule)
    for node in list(module.graph.nodes):
        if node.target is _ATEN.conv_transpose2d.input:
            _crop_instead_of_padding(module, node)
    module.recompile()
    return module


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _replace(module: GraphModule, node: Node, result: Node) -> None:
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _crop_instead_of_padding(module: GraphModule, node: Node) -> None:
    """conv_transpose2d(padding=p, output_padding <= p) -> the same without, rows p to p + H."""
    given: list[Any] = [*node.args]
    given += [None, [1, 1], [0, 0], [0, 0], 1, [1, 1]][len(given) - 2 :]
    x, weight, bias, stride, padding, extra, groups, dilation = given
    pads, extras = _pair(padding), _pair(extra)
    if pads == (0, 0) or any(e > p for e, p in zip(extras, pads, strict=True)):
        return
    with module.graph.inserting_before(node):
        result = module.graph.call_function(
            _ATEN.conv_transpose2d.input,
            (x, weight, bias, stride, [0, 0], [0, 0], groups, dilation),
        )
        for axis, pad in zip((2, 3), pads, strict=True):
            end = pad + _shape(node)[axis]
            result = module.graph.call_function(_ATEN.slice.Tensor, (result, axis, pad, end))
    _replace(module, node, result)


def _pair(value: Any) -> tuple[int, int]:
    """(rows, columns) of a list of one or two numbers."""
    first, *rest = value if isinstance(value, list | tuple) else (value,)
    return first, rest[0] if rest else first
