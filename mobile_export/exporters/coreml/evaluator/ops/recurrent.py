"""MIL op reference: recurrent. x is [steps, batch, features]; gates in the reference's order."""

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
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2.0 / 3.0 * x),
}


def _ordered(x: Tensor, direction: str) -> Tensor:
    if direction not in ("forward", "reverse"):
        raise ValueError(f"direction {direction!r} is neither forward nor reverse")
    return x.flip(0) if direction == "reverse" else x


def _collected(states: list[Tensor], direction: str, output_sequence: bool) -> Tensor:
    """All states in the order of the input, or the last one only."""
    return _ordered(torch.stack(states), direction) if output_sequence else states[-1].unsqueeze(0)


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
    return _collected(states, direction, output_sequence), h


@op("gru")
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
    return _collected(states, direction, output_sequence), h


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
    if peephole is not None or peephole_back is not None:
        raise ValueError("peephole connections are not covered")
    functions = (
        _ACTIVATIONS[recurrent_activation],
        _ACTIVATIONS[cell_activation],
        _ACTIVATIONS[activation],
    )

    def run(
        way: str, h: Tensor, c: Tensor, w_ih: Tensor, w_hh: Tensor, b: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        outer, cell, inner = functions
        states = []
        for step in _ordered(x, way):
            total = step @ w_ih.T + h @ w_hh.T
            i, f, o, z = (total if b is None else total + b).chunk(4, -1)
            candidate = cell(z)
            if clip is not None:
                candidate = candidate.clamp(-clip, clip)
            c = outer(f) * c + outer(i) * candidate
            h = outer(o) * inner(c)
            states.append(h)
        return _collected(states, way, output_sequence), h, c

    if direction != "bidirectional":
        return run(direction, initial_h, initial_c, weight_ih, weight_hh, bias)
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
    (h, h_back), (c, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    forth = run("forward", h, c, weight_ih, weight_hh, bias)
    back = run("reverse", h_back, c_back, weight_ih_back, weight_hh_back, bias_back)
    joined = [torch.cat(pair, -1) for pair in zip(forth, back, strict=True)]
    return joined[0], joined[1], joined[2]
