"""What litert-torch 0.10 gets wrong or refuses, written in other operations first.

- Nearest upsampling to no multiple of the size: PyTorch takes source pixel ⌊i · in / out⌋;
  litert-torch writes a RESIZE_NEAREST_NEIGHBOR of half-pixel centres, ⌊(i + ½) · in / out⌋, which
  is another pixel unless out / in is whole. Here it becomes a choice of rows and columns.
- Transposed convolution with padding and a stride ("failed to legalize mhlo.convolution"): padding
  crops the result, so it becomes the same without padding, cropped.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import GraphModule, Node

__all__ = ["avoid_gaps"]

_ATEN = torch.ops.aten


def avoid_gaps(module: torch.nn.Module) -> GraphModule:
    """Rewrite the graph of a program's module, in place, and return it."""
    assert isinstance(module, GraphModule)
    for node in list(module.graph.nodes):
        if node.target in (_ATEN.upsample_nearest2d.vec, _ATEN.upsample_nearest2d.default):
            _choose_pixels(module, node)
        elif node.target is _ATEN.conv_transpose2d.input:
            _crop_instead_of_padding(module, node)
    module.recompile()
    return module


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _replace(module: GraphModule, node: Node, result: Node) -> None:
    node.replace_all_uses_with(result)
    module.graph.erase_node(node)


def _choose_pixels(module: GraphModule, node: Node) -> None:
    """Nearest upsampling by no whole number -> index_select of rows, then of columns."""
    result: Any = node.args[0]
    extents = list(zip(_shape(result), _shape(node), strict=True))
    if all(after % before == 0 for before, after in extents):
        return
    for axis in (2, 3):
        before, after = extents[axis]
        pixels = torch.arange(before, dtype=torch.float64)[None, None]
        name = f"{node.name}_pixels_{axis}"
        module.register_buffer(name, F.interpolate(pixels, size=after)[0, 0].to(torch.int64))
        with module.graph.inserting_before(node):
            index = module.graph.get_attr(name)
            result = module.graph.call_function(_ATEN.index_select.default, (result, axis, index))
    _replace(module, node, result)


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
