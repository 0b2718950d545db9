"""MIL op reference: recurrent. x is [steps, batch, features]; gates in the reference's order.

What the reference leaves open is as coremltools' own tests of these operations have it
(``mil/ops/tests/iOS14/test_recurrent.py``): the sequence of ``direction="reverse"`` is in the order
of the steps taken, the last element of x first, while each half of a bidirectional one is in the
order of x; ``clip`` bounds the cell state; peepholes look at the cell before (i, f) and after (o)
the step; ``scaled_tanh`` has the scales 1.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..table import Tensor, op

__all__: list[str] = []

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: x,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0.0, 1.0),
    "scaled_tanh": torch.tanh,
}


def _ordered(x: Tensor, direction: str) -> Tensor:
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction {direction!r} is neither forward nor reverse")
    return x.flip(0) if direction == "reverse" else x


def _collected(states: list[Tensor], output_sequence: bool) -> Tensor:
    """All states in the order of the steps taken, or the last one only."""
    return torch.stack(states) if output_sequence else states[-1].unsqueeze(0)


@op("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h = activation(W_ih x + W_hh h + b)."""
    h, states = initial_h, []
    for step in _ordered(x, direction):
        total = step @ weight_ih.T + h @ weight_hh.T
        h = _ACTIVATIONS[activation](total if bias is None else total + bias)
        states.append(h)
    return _collected(states, output_sequence), h


def _reset_is_open(weight_hh: Tensor, reset_after: bool = False, **_: object) -> str | None:
    """Why the reset gate's place is not settled: with one hidden unit it makes no difference."""
    if reset_after or weight_hh.shape[1] == 1:
        return None
    return (
        "the reset gate multiplies the state before W_ho, as in coremltools' tests; in the MIL "
        "reference's formula it multiplies the product"
    )


@op("gru", unsettled=_reset_is_open)
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates r, o, z: h = (1 - z) o + z h, o = activation(W_io x + W_ho (r h) + b_o).

    ``reset_after`` (iOS 18) applies r to W_ho h + b_o; ``input_bias`` is then the bias of W_i x.
    """
    outer, inner = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    hidden = weight_hh.shape[1]
    zero = x.new_zeros(3 * hidden)
    hidden_bias = zero if bias is None else bias
    extra = zero if input_bias is None else input_bias
    b_r, b_o, b_z = torch.split(hidden_bias, hidden)
    w_r, w_o, w_z = torch.split(weight_hh, hidden)
    h, states = initial_h, []
    for step in _ordered(x, direction):
        i_r, i_o, i_z = torch.split(step @ weight_ih.T + extra, hidden, -1)
        r = outer(i_r + h @ w_r.T + b_r)
        z = outer(i_z + h @ w_z.T + b_z)
        new = r * (h @ w_o.T + b_o) if reset_after else (r * h) @ w_o.T + b_o
        h = (1 - z) * inner(i_o + new) + z * h
        states.append(h)
    return _collected(states, output_sequence), h


@op("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates i, f, o, z: c = f c + i z, h = o activation(c). Two directions lie side by side."""
    functions = (
        _ACTIVATIONS[recurrent_activation],
        _ACTIVATIONS[cell_activation],
        _ACTIVATIONS[activation],
    )

    def run(way: str, h: Tensor, c: Tensor, *weights: Tensor | None) -> tuple[Tensor, ...]:
        states = []
        for step in _ordered(x, way):
            h, c = _lstm_step(step, h, c, weights, functions, clip)
            states.append(h)
        return _collected(states, output_sequence), h, c

    if direction != "bidirectional":
        sequence, h, c = run(direction, initial_h, initial_c, weight_ih, weight_hh, bias, peephole)
        return sequence, h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
    (h, h_back), (c, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    forth = run("forward", h, c, weight_ih, weight_hh, bias, peephole)
    behind, *last = run(
        "reverse", h_back, c_back, weight_ih_back, weight_hh_back, bias_back, peephole_back
    )
    back = (behind.flip(0), *last)  # one state alone stays as it is
    joined = [torch.cat(pair, -1) for pair in zip(forth, back, strict=True)]
    return joined[0], joined[1], joined[2]


def _lstm_step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor | None, ...],
    functions: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
) -> tuple[Tensor, Tensor]:
    """The next (h, c). ``weights``: W_ih, W_hh, bias, peephole."""
    w_ih, w_hh, bias, peephole = weights
    assert w_ih is not None
    assert w_hh is not None
    outer, cell, inner = functions
    total = x @ w_ih.T + h @ w_hh.T
    i, f, o, z = (total if bias is None else total + bias).chunk(4, -1)
    p_i, p_f, p_o = peephole.chunk(3, -1) if peephole is not None else (c.new_zeros(()),) * 3
    c = outer(f + p_f * c) * c + outer(i + p_i * c) * cell(z)
    if clip is not None:
        c = c.clamp(-clip, clip)
    return outer(o + p_o * c) * inner(c), c
