"""Lowering of LSTMs, which neither ncnn nor TNN has with a batch: one step after the other.

    i, f, o, g = W x[t] + U h + b
    c = sigmoid(f) c + sigmoid(i) tanh(g)
    h = sigmoid(o) tanh(c)

W x is one linear layer for all steps. PyTorch stores the gates as i, f, g, o; here the three that
share a sigmoid are neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..table import Call, Operand, lowers
from ..view import View
from .elementwise import activate, binary
from .linear import linear
from .moving import concat, narrow, reshape

__all__: list[str] = []

aten = torch.ops.aten

State: TypeAlias = "tuple[Operand, Operand]"


@lowers(aten.lstm.input)
def _lstm(call: Call) -> tuple[View, View, View]:
    """(output, h, c); the sequence is axis 1 of (B, T, I), or axis 0 without ``batch_first``."""
    builder, x = call.builder, call.x
    params = call.get("params")
    if not all(isinstance(item, np.ndarray) for item in params):
        raise call.refuse("its weights are computed from the image")
    if call.get("train") and call.get("dropout"):
        raise call.refuse("it is in training mode", "Call model.eval().")
    each = 4 if call.get("has_biases") else 2
    ways = 2 if call.get("bidirectional") else 1
    depth = call.get("num_layers")
    if len(params) != each * ways * depth or len(x.shape) != 3:
        raise call.refuse("it has projections, or takes one sequence without a batch")
    if not call.get("batch_first"):
        x = x.permute([1, 0, 2])
    hidden, cells = call.get("hx")
    last: list[tuple[View, View]] = []
    for layer in range(depth):
        outputs = []
        for way in range(ways):
            place = layer * ways + way
            state = (_item(builder, hidden, place), _item(builder, cells, place))
            weights = params[place * each : (place + 1) * each]
            output, final = _one_way(builder, x, weights, state, backwards=way == 1)
            outputs.append(output)
            last.append(final)
        size = sum(output.shape[2] for output in outputs)
        x = outputs[0] if ways == 1 else concat(builder, outputs, 2, (*x.shape[:2], size))
    shapes = call.shapes
    stacked = []
    for which in (0, 1):
        states = [reshape(builder, state[which], (1, *shapes[1][1:])) for state in last]
        stacked.append(concat(builder, states, 0, shapes[1]))
    if not call.get("batch_first"):
        x = x.permute([1, 0, 2])
    return x, stacked[0], stacked[1]


def _item(builder: Builder, states: Operand, place: int) -> Operand:
    """Initial state number ``place`` of (D, B, H), as (B, H)."""
    if isinstance(states, np.ndarray):
        state: np.ndarray = states[place]
        return state
    return reshape(builder, narrow(builder, states, 0, place, 1), states.shape[1:])


def _one_way(
    builder: Builder, x: View, weights: Sequence[np.ndarray], state: State, *, backwards: bool
) -> tuple[View, tuple[View, View]]:
    """All steps of one direction: (B, T, H), and the last h and c."""
    batch, steps, _ = x.shape
    size = weights[1].shape[1]
    order = np.concatenate([np.arange(0, 2 * size), np.arange(3 * size, 4 * size)])
    order = np.concatenate([order, np.arange(2 * size, 3 * size)])
    bias = weights[2].astype(np.float64) + weights[3] if len(weights) == 4 else None
    driven = linear(builder, x, 2, weights[0][order], None if bias is None else bias[order])
    recurrent = weights[1][order]
    h, c = state
    found: list[View] = []
    for step in range(steps - 1, -1, -1) if backwards else range(steps):
        gates = reshape(builder, narrow(builder, driven, 1, step, 1), (batch, 4 * size))
        if isinstance(h, np.ndarray):
            fixed = h.astype(np.float64) @ recurrent.T
            gates = binary(builder, "add", gates, fixed, gates.shape)
        else:
            fed_back = linear(builder, h, 1, recurrent, None)
            gates = binary(builder, "add", gates, fed_back, gates.shape)
        h, c = _step(builder, gates, c, (batch, size))
        found.append(h)
    rows = [reshape(builder, item, (batch, 1, size)) for item in found]
    output = concat(builder, rows[::-1] if backwards else rows, 1, (batch, steps, size))
    assert isinstance(h, View)
    assert isinstance(c, View)
    return output, (h, c)


def _step(builder: Builder, gates: View, c: Operand, shape: ir.Shape) -> tuple[View, View]:
    """New h and c from the sums of all gates (B, 4 H) and the old c."""
    size = shape[1]
    opened = activate(builder, narrow(builder, gates, 1, 0, 3 * size), ir.Nonlinearity("sigmoid"))
    taken, kept, shown = (narrow(builder, opened, 1, i * size, size) for i in range(3))
    new = activate(builder, narrow(builder, gates, 1, 3 * size, size), ir.Nonlinearity("tanh"))
    added = binary(builder, "mul", taken, new, shape)
    if isinstance(c, np.ndarray) and not c.any():
        c = added
    else:
        c = binary(builder, "add", binary(builder, "mul", kept, c, shape), added, shape)
    bounded = activate(builder, c, ir.Nonlinearity("tanh"))
    return binary(builder, "mul", shown, bounded, shape), c
