"""Convolutions and linear layers with constant weights, read from a graph and written to it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Node

from .editor import GraphEditor, shape_of
from .ops import CONVS, FOLDABLE, TRANSPOSED, argument, as_list, source_of

aten: Any = torch.ops.aten

__all__ = ["WeightedLayer", "call_layer", "layer_of", "regrouped"]


@dataclass(frozen=True)
class WeightedLayer:
    """A convolution, transposed convolution (``rank`` spatial axes) or linear layer (``rank`` 0).

    ``weight`` and ``bias`` are float64; ``weight`` has the layout of the op. ``axis`` is the one of
    the output that holds the channels, counted from the front for convolutions, -1 for linear.
    """

    node: Node
    source: Node
    weight: torch.Tensor
    bias: torch.Tensor | None
    rank: int
    transposed: bool = False
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    @property
    def axis(self) -> int:
        return 1 if self.rank else -1

    @property
    def channels(self) -> int:
        """Number of output channels."""
        shape = self.weight.shape
        return int(shape[1] * self.groups if self.transposed else shape[0])

    @property
    def is_pointwise(self) -> bool:
        """Whether it maps the channels of every pixel, and nothing else."""
        still = not any(self.padding) and set(self.stride) <= {1}
        return not self.transposed and still and math.prod(self.weight.shape[2:]) == 1


def layer_of(graph: GraphEditor, node: Any) -> WeightedLayer | str | None:
    """``node`` as a layer; why its weights cannot be changed; None when it is no layer."""
    if not isinstance(node, Node) or node.op != "call_function":
        return None
    target: Any = node.target
    rank = CONVS.get(target, TRANSPOSED.get(target))
    if rank is None and target is not aten.linear.default:
        return None
    weight_node, bias_node = argument(node, "weight"), argument(node, "bias")
    stored = graph.constant(weight_node)
    if stored is None:
        return "its weight is computed from the input"
    if bias_node is not None and not graph.is_constant(bias_node):
        return "its bias is computed from the input"
    if stored.dtype not in FOLDABLE:
        return f"its weight is {stored.dtype}, and only float32 can be combined without loss"
    if stored.is_quantized or stored.layout is not torch.strided:
        return f"its weight is stored as {stored.layout}"
    weight, bias = stored.double(), graph.exact(bias_node)
    if not torch.isfinite(weight).all():
        return "its weight holds NaN or infinity"
    if rank is not None and len(shape_of(source_of(node))) != rank + 2:
        return "its input has no batch axis"
    if rank is None:
        return WeightedLayer(node, source_of(node), weight, bias, 0)
    return WeightedLayer(
        node,
        source_of(node),
        weight,
        bias,
        rank,
        transposed=target in TRANSPOSED,
        stride=tuple(as_list(argument(node, "stride"), rank)),
        padding=tuple(as_list(argument(node, "padding"), rank)),
        dilation=tuple(as_list(argument(node, "dilation"), rank)),
        groups=argument(node, "groups"),
    )


def regrouped(weight: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """The weight of a convolution of ``old`` groups as one of ``new``, a divisor of them.

    (out, in / old, *kernel) -> (out, in / new, *kernel): blocks on the diagonal, zeros elsewhere.
    """
    if old == new or weight.ndim < 3:
        return weight
    out, per, *kernel = weight.shape
    blocks, rows = old // new, out // old
    grouped = weight.reshape(new, blocks, rows, per, *kernel)
    wide = weight.new_zeros(new, blocks, rows, blocks, per, *kernel)
    for block in range(blocks):
        wide[:, block, :, block] = grouped[:, block]
    return wide.reshape(out, blocks * per, *kernel)


def call_layer(
    graph: GraphEditor, layer: WeightedLayer, weight: torch.Tensor, bias: torch.Tensor | None
) -> None:
    """Give the node of ``layer`` other weights of the same shapes, in place in the graph."""
    node = layer.node
    args, kwargs = list(node.args), dict(node.kwargs)
    old_weight, old_bias = argument(node, "weight"), argument(node, "bias")
    name = f"{node.name}"
    new_weight = graph.derived(old_weight, weight, f"{name}.weight")
    new_bias = None
    if bias is not None:
        beside = graph.name_of(old_weight)
        fallback = f"{beside.removesuffix('.weight')}.bias" if beside else f"{name}.bias"
        new_bias = graph.derived(old_bias, bias, fallback)
    values = (new_weight, new_bias)
    for position, (key, value) in enumerate(zip(("weight", "bias"), values, strict=True), start=1):
        if key in kwargs:
            kwargs[key] = value
        elif position < len(args):
            args[position] = value
        else:
            args.append(value)
    node.args, node.kwargs = tuple(args), kwargs
