"""Linear maps along one axis, and lowerings of convolutions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...graph.ops import CONVS, TRANSPOSED, as_list
from .. import ir
from ..builder import Builder
from ..lookahead import moved_later, preferred_layout
from ..operands import Group
from ..table import Call, lowers
from ..view import Factor, View, common_factors
from .batched import convolve_batch
from .moving import reshape

__all__ = ["linear"]

aten = torch.ops.aten


def linear(
    builder: Builder,
    view: View,
    axis: int,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    as_image: bool = False,
    preferred: View | None = None,
) -> View:
    """``weight`` (O, I) applied along ``axis``; the order of the other axes is free.

    With the axis last it is a linear layer of rows, with the axis first a 1x1 convolution. What
    moves fewer elements is taken, before it and, where the result has a ``preferred`` order, after
    it; in a tie the convolution if ``as_image``.
    """
    view, rest, last = _cheapest_linear(builder, view, axis, as_image, preferred)
    mine = view.of_axes([axis])
    size = weight.shape[0]
    shape = (*view.shape[:axis], size, *view.shape[axis + 1 :])
    grown = [Factor(axis, 0, size)] if size != 1 else []
    if last:
        value = builder.put(view, [rest, mine] if rest else [mine])
        result = builder.add(
            ir.Linear, [value], (*value.shape[:-1], size), weight=weight, bias=bias
        )
        return View.of_factors(result, shape, [*rest, *grown]).joined()
    value = _as_image(builder, view, mine, rest)
    result = _convolve(
        builder, value, (size, *value.shape[1:]), weight[:, :, None, None], bias, rank=2
    )
    return View.of_factors(result, shape, [*grown, *rest]).joined()


def _cheapest_linear(
    builder: Builder, view: View, axis: int, as_image: bool, preferred: View | None
) -> tuple[View, Group, bool]:
    """How to apply a linear map along ``axis`` with least movement.

    Returns:
        The view, cut into the factors of ``preferred``, too; the order of the factors of the other
        axes; whether ``axis`` is last or first.
    """
    options: list[tuple[View, Group, View | None]] = [(view, view.without([axis]), None)]
    if preferred is not None:
        cut = common_factors([view, preferred], but=[axis])
        if cut is not None:
            options = [(cut[0], part.without([axis]), cut[1]) for part in cut]
    best, least = (view, view.without([axis]), True), math.inf
    for fine, rest, later in options:
        mine = fine.of_axes([axis])
        grown = () if later is None else later.of_axes([axis])
        for last in (not as_image, as_image):
            cost = builder.cost(fine, [*rest, *mine] if last else [*mine, *rest])
            cost += moved_later([*rest, *grown] if last else [*grown, *rest], later)
            if cost < least:
                best, least = (fine, rest, last or not rest), cost
    return best


def _as_image(builder: Builder, view: View, mine: Group, rest: Group) -> ir.Value:
    """As (C, H, W): as it lies where that is an image already, else with a height of 1."""
    for variant in (view, *builder.variants(view)):
        dims = variant.groups()
        if variant.factors == (*mine, *rest) and dims and len(dims) == 3 and dims[0] == mine:
            return variant.value
    return builder.put(
        view, [mine, *([factor] for factor in rest)] if len(rest) == 2 else [mine, (), rest]
    )


def _convolve(
    builder: Builder,
    value: ir.Value,
    shape: Sequence[int],
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    rank: int,
    groups: int = 1,
) -> ir.Value:
    """A plain convolution: stride 1, no padding."""
    one = (1,) * rank
    return builder.add(
        ir.Convolution,
        [value],
        shape,
        weight=weight,
        bias=bias,
        stride=one,
        padding=((0, 0),) * rank,
        dilation=one,
        groups=groups,
    )


# Convolution --------------------------------------------------------------------------------------


@lowers(*CONVS)
def _convolution(call: Call) -> View:
    """A batch is folded into the groups, or stacked along the height (`_batched`)."""
    rank = CONVS[call.target]
    x, builder = call.x, call.builder
    if len(x.shape) == rank + 1:  # without a batch axis
        x = reshape(builder, x, (1, *x.shape))
    why = "a convolution takes stored weights"
    weight, bias = call.array("weight", why), call.array("bias", why)
    assert weight is not None
    stride, padding, dilation = (
        tuple(as_list(call.get(name), rank)) for name in ("stride", "padding", "dilation")
    )
    groups = call.get("groups")
    plain = set(stride) == {1} and set(padding) == {0} and math.prod(weight.shape[2:]) == 1
    if plain and groups == 1:
        matrix = weight.reshape(weight.shape[:2])
        result = linear(
            builder, x, 1, matrix, bias, as_image=True, preferred=preferred_layout(call)
        )
        return reshape(builder, result, call.shape)
    attributes: dict[str, Any] = {
        "stride": stride,
        "padding": tuple((p, p) for p in padding),
        "dilation": dilation,
    }
    shape = (x.shape[0], *call.shape[-rank - 1 :])
    result = convolve_batch(builder, x, weight, bias, groups, attributes, shape)
    return reshape(builder, result, call.shape)


@lowers(*TRANSPOSED)
def _conv_transpose(call: Call) -> View:
    """A batch becomes more groups."""
    rank = TRANSPOSED[call.target]
    x, builder = call.x, call.builder
    why = "a convolution takes stored weights"
    weight, bias = call.array("weight", why), call.array("bias", why)
    assert weight is not None
    batch = x.shape[0]
    stride, padding, dilation, extra = (
        tuple(as_list(call.get(name), rank))
        for name in ("stride", "padding", "dilation", "output_padding")
    )
    value = builder.place(x, [0, 1], *[[2 + axis] for axis in range(rank)])
    result = builder.add(
        ir.ConvTranspose,
        [value],
        (batch * call.shape[1], *call.shape[2:]),
        weight=np.tile(weight, (batch, *[1] * (rank + 1))),
        bias=None if bias is None else np.tile(bias, batch),
        stride=stride,
        padding=tuple((p, p) for p in padding),
        output_padding=extra,
        dilation=dilation,
        groups=batch * call.get("groups"),
    )
    return View.of(result, call.shape)
