"""Recurrent layers, unrolled: plain PyTorch of the operators' own schemas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["lstm"]


def lstm(
    x: Tensor, hx: Sequence[Tensor], params: Sequence[Tensor], has_biases: bool, num_layers: int,
    dropout: float, train: bool, bidirectional: bool, batch_first: bool,
) -> Any:  # fmt: skip
    """(output, h, c) of an LSTM, one step after the other, with projections or without.

    Hochreiter and Schmidhuber 1997; gates in the order of torch.nn.LSTM: input, forget, cell,
    output. x is (T, B, I), or (B, T, I) with ``batch_first``.
    """
    if train and dropout:
        return NotImplemented
    ways = 2 if bidirectional else 1
    each = len(params) // (num_layers * ways)
    sequence = x.transpose(0, 1) if batch_first else x
    hidden, cells = [], []
    for layer in range(num_layers):
        outputs = []
        for way in range(ways):
            place = layer * ways + way
            weights = params[place * each : (place + 1) * each]
            state = (hx[0].select(0, place), hx[1].select(0, place))
            output, h, c = _one_way(sequence, state, weights, has_biases, backwards=way == 1)
            outputs.append(output)
            hidden.append(h)
            cells.append(c)
        sequence = outputs[0] if ways == 1 else torch.cat(outputs, -1)
    result = sequence.transpose(0, 1) if batch_first else sequence
    return result, torch.stack(hidden), torch.stack(cells)


def _one_way(
    x: Tensor, state: tuple[Tensor, Tensor], weights: Sequence[Tensor], has_biases: bool, *,
    backwards: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """All steps of one direction: (T, B, H), and the last h and c."""
    h, c = state
    biases = weights[2:4] if has_biases else (None, None)
    projection = weights[-1] if len(weights) == (5 if has_biases else 3) else None
    driven = F.linear(x, weights[0], biases[0])
    steps = range(x.shape[0])
    found = []
    for step in reversed(steps) if backwards else steps:
        gates = driven.select(0, step) + F.linear(h, weights[1], biases[1])
        taken, kept, new, shown = torch.split(gates, c.shape[-1], -1)
        c = torch.sigmoid(kept) * c + torch.sigmoid(taken) * torch.tanh(new)
        h = torch.sigmoid(shown) * torch.tanh(c)
        if projection is not None:
            h = F.linear(h, projection)
        found.append(h)
    return torch.stack(found[::-1] if backwards else found), h, c
