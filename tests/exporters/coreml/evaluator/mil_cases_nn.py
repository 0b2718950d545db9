"""Cases for convolutions, products, norms, pooling, attention and recurrent ops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mil_build import Case

__all__ = ["CASES"]

_rng = np.random.default_rng(1)


def _real(*shape: int) -> np.ndarray:
    return _rng.standard_normal(shape).astype(np.float32)


def _t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


IMAGE = _real(1, 4, 8, 7)
WEIGHT, GROUPED, BIAS = _real(6, 4, 3, 3), _real(6, 2, 3, 2), _real(6)
LINE, LINE_WEIGHT = _real(2, 3, 9), _real(5, 3, 4)
CUBE, CUBE_WEIGHT = _real(1, 2, 5, 4, 6), _real(3, 2, 2, 3, 2)


def _conv(note: str, constants: dict[str, Any], expect: Any, target: str = "iOS15") -> Case:
    return Case(
        "conv", {"x": IMAGE}, {"weight": WEIGHT, **constants}, expect, target, note, 1e-4, 1e-5
    )


_CONV = [
    _conv("default", {}, lambda x: F.conv2d(x, _t(WEIGHT))),
    _conv("bias", {"bias": BIAS, "pad_type": "valid"}, lambda x: F.conv2d(x, _t(WEIGHT), _t(BIAS))),
    _conv(
        "custom",
        {"pad_type": "custom", "pad": [1, 0, 2, 3], "strides": [2, 1], "dilations": [1, 2]},
        lambda x: F.conv2d(F.pad(x, (2, 3, 1, 0)), _t(WEIGHT), stride=(2, 1), dilation=(1, 2)),
    ),
    _conv(
        "symmetric",
        {"pad_type": "custom", "pad": [1, 1, 2, 2]},
        lambda x: F.conv2d(x, _t(WEIGHT), padding=(1, 2)),
    ),
    # 8 rows by stride 3 give 3: 3 * 3 - 8 + 3 - 3 = 1 row of padding; 7 columns by 2 give 4: 2.
    _conv(
        "same",
        {"pad_type": "same", "strides": [3, 2]},
        lambda x: F.conv2d(F.pad(x, (1, 1, 0, 1)), _t(WEIGHT), stride=(3, 2)),
    ),
    _conv(
        "same_lower",
        {"pad_type": "same_lower", "strides": [3, 2]},
        lambda x: F.conv2d(F.pad(x, (1, 1, 1, 0)), _t(WEIGHT), stride=(3, 2)),
        "iOS16",
    ),
    Case(
        "conv",
        {"x": IMAGE},
        {"weight": GROUPED, "groups": 2},
        lambda x: F.conv2d(x, _t(GROUPED), groups=2),
        note="groups",
        rtol=1e-4,
    ),
    Case(
        "conv",
        {"x": LINE},
        {"weight": LINE_WEIGHT, "pad_type": "same"},
        lambda x: F.conv1d(F.pad(x, (1, 2)), _t(LINE_WEIGHT)),
        note="1d",
        atol=1e-5,
    ),
    Case(
        "conv",
        {"x": CUBE},
        {"weight": CUBE_WEIGHT, "strides": [1, 1, 2]},
        lambda x: F.conv3d(x, _t(CUBE_WEIGHT), stride=(1, 1, 2)),
        note="3d",
        atol=1e-5,
    ),
    Case(
        "conv",
        {"x": IMAGE, "weight": WEIGHT},
        {},
        F.conv2d,
        note="dynamic weight",
        atol=1e-5,
    ),
]

UP_WEIGHT, UP_BIAS = _real(4, 3, 3, 4), _real(6)


def _up(note: str, constants: dict[str, Any], expect: Any) -> Case:
    constants = {"weight": UP_WEIGHT, **constants}
    return Case("conv_transpose", {"x": IMAGE}, constants, expect, note=note, rtol=1e-4, atol=1e-5)


def _full(x: torch.Tensor, stride: tuple[int, int]) -> torch.Tensor:
    return F.conv_transpose2d(x, _t(UP_WEIGHT), stride=stride)


_CONV_TRANSPOSE = [
    _up("valid", {"strides": [2, 3]}, lambda x: _full(x, (2, 3))),
    _up(
        "custom",
        {"strides": [2, 2], "pad_type": "custom", "pad": [1, 0, 2, 1]},
        lambda x: _full(x, (2, 2))[:, :, 1:, 2:-1],
    ),
    _up(
        "torch padding",
        {
            "strides": [2, 2],
            "pad_type": "custom",
            "pad": [1, 1, 1, 1],
            "groups": 2,
            "bias": UP_BIAS,
        },
        lambda x: F.conv_transpose2d(
            x, _t(UP_WEIGHT), _t(UP_BIAS), stride=2, padding=1, output_padding=0, groups=2
        ),
    ),
    # Full length 2 * 7 + 3 = 17 and 2 * 6 + 4 = 16; "same" gives 16 and 14.
    _up(
        "same", {"strides": [2, 2], "pad_type": "same"}, lambda x: _full(x, (2, 2))[:, :, :16, 1:15]
    ),
    _up(
        "output_shape",
        {
            "strides": [2, 2],
            "pad_type": "custom",
            "pad": [1, 1, 1, 1],
            "output_shape": [1, 3, 16, 15],
            "bias": UP_BIAS[:3],
        },
        lambda x: F.conv_transpose2d(
            x, _t(UP_WEIGHT), _t(UP_BIAS[:3]), stride=2, padding=1, output_padding=1
        ),
    ),
    # One row and column behind the full 17 and 16: nothing but the bias arrives there.
    _up(
        "output_shape, longer",
        {
            "strides": [2, 2],
            "pad_type": "custom",
            "output_shape": [1, 3, 18, 17],
            "bias": UP_BIAS[:3],
        },
        lambda x: F.conv_transpose2d(
            x, _t(UP_WEIGHT), _t(UP_BIAS[:3]), stride=2, padding=0, output_padding=1
        ),
    ),
    Case(
        "conv_transpose",
        {"x": LINE},
        {"weight": LINE_WEIGHT[:3], "strides": [2], "dilations": [2]},
        lambda x: F.conv_transpose1d(x, _t(LINE_WEIGHT[:3]), stride=2, dilation=2),
        note="1d",
        atol=1e-5,
    ),
]

MATRIX, BATCH = _real(5, 6), _real(2, 3, 4, 6)
_PRODUCTS = [
    Case("linear", {"x": _real(2, 3, 6)}, {"weight": MATRIX, "bias": _real(5)}, note="bias"),
    Case("linear", {"x": _real(6)}, {"weight": MATRIX}, lambda x: x @ _t(MATRIX).T, atol=1e-5),
    Case("matmul", {"x": BATCH, "y": _real(3, 6, 2)}, atol=1e-5),
    Case("matmul", {"x": BATCH, "y": _real(5, 6)}, {"transpose_y": True}, note="y", atol=1e-5),
    Case("matmul", {"x": BATCH, "y": _real(4, 2)}, {"transpose_x": True}, note="x", atol=1e-5),
    Case("matmul", {"x": _real(6), "y": _real(6, 3)}, note="vector", atol=1e-5),
    Case(
        "einsum",
        {"values": [_real(2, 3, 4, 5), _real(2, 5, 4, 6)]},
        {"equation": "nchw,nwhu->nchu"},
    ),
    Case(
        "einsum",
        {"values": [_real(3, 4, 5), _real(5, 1, 6)]},
        {"equation": "chw,whr->chr"},
        note="broadcast",
    ),
]

C4, VARIANCE = _real(4), np.abs(_real(4)) + 0.1
_NORMS = [
    Case(
        "batch_norm",
        {"x": IMAGE},
        {"mean": C4, "variance": VARIANCE, "gamma": C4 + 1, "beta": C4 * 2},
        lambda x: F.batch_norm(x, _t(C4), _t(VARIANCE), _t(C4 + 1), _t(C4 * 2), eps=1e-5),
        atol=1e-5,
    ),
    Case(
        "batch_norm",
        {"x": IMAGE},
        {"mean": C4, "variance": VARIANCE, "epsilon": np.float32(0.5)},
        lambda x: (x - _t(C4).view(1, 4, 1, 1)) / torch.sqrt(_t(VARIANCE) + 0.5).view(1, 4, 1, 1),
        note="no affine",
        atol=1e-5,
    ),
    Case(
        "instance_norm",
        {"x": IMAGE},
        {"gamma": C4 + 1, "beta": C4},
        lambda x: F.instance_norm(x, weight=_t(C4 + 1), bias=_t(C4)),
        atol=1e-5,
    ),
    Case("instance_norm", {"x": LINE}, {}, F.instance_norm, note="1d", atol=1e-5),
    Case(
        "layer_norm",
        {"x": IMAGE},
        {"axes": [-2, -1], "gamma": _real(8, 7), "beta": _real(8, 7), "epsilon": np.float32(0.1)},
        atol=1e-5,
    ),
    Case(
        "layer_norm",
        {"x": IMAGE},
        {"axes": [1], "gamma": C4, "beta": C4},
        note="channels",
        atol=1e-5,
    ),
    Case("layer_norm", {"x": IMAGE}, {"axes": [1, 3]}, note="split axes", atol=1e-5),
    Case(
        "layer_norm",
        {"x": IMAGE},
        {"axes": [0, 1, 2, 3]},
        lambda x: F.layer_norm(x, x.shape),
        note="all axes",
        atol=1e-5,
    ),
    Case("l2_norm", {"x": IMAGE}),
    Case("l2_norm", {"x": _real(2, 2, 3, 4, 5)}, {"epsilon": np.float32(0.5)}, note="rank 5"),
    Case(
        "local_response_norm",
        {"x": IMAGE},
        {"size": 3, "alpha": np.float32(0.3), "beta": np.float32(0.6), "k": np.float32(1.5)},
        lambda x: F.local_response_norm(x, 3, 0.3, 0.6, 1.5),
    ),
    Case(
        "local_response_norm",
        {"x": IMAGE},
        {"size": 5},
        lambda x: F.local_response_norm(x, 5),
        note="default",
    ),
]

K32 = {"kernel_sizes": [3, 2], "strides": [2, 2]}
CEIL = {"kernel_sizes": [3, 3], "strides": [2, 2], "pad": [1, 1, 1, 1], "ceil_mode": True}
SQUARES = np.array([[[[1, 2], [3, 4]]]], np.float32)
_POOLS = [
    Case(
        "max_pool", {"x": IMAGE}, {**K32, "pad_type": "valid"}, lambda x: F.max_pool2d(x, (3, 2), 2)
    ),
    Case(
        "max_pool",
        {"x": -np.abs(IMAGE)},
        {**K32, "pad_type": "custom", "pad": [2, 0, 0, 1]},
        lambda x: F.max_pool2d(F.pad(x, (0, 1, 2, 0), value=-math.inf), (3, 2), 2),
        note="custom",
    ),
    Case(
        "max_pool",
        {"x": IMAGE},
        {**CEIL, "pad_type": "custom"},
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        note="ceil",
    ),
    # ceil((5 + 2 - 2) / 3) + 1 = 3 windows, the last of which would start behind the input.
    Case(
        "max_pool",
        {"x": LINE[..., :5].copy()},
        {
            "kernel_sizes": [2],
            "strides": [3],
            "pad_type": "custom",
            "pad": [1, 1],
            "ceil_mode": True,
        },
        lambda x: F.max_pool1d(x, 2, 3, 1, ceil_mode=True),
        note="ceil, dropped",
    ),
    Case(
        "max_pool",
        {"x": LINE},
        {"kernel_sizes": [4], "pad_type": "same"},
        lambda x: F.max_pool1d(F.pad(x, (1, 2), value=-math.inf), 4, 1),
        note="1d same",
    ),
    Case(
        "max_pool",
        {"x": CUBE},
        {"kernel_sizes": [2, 2, 2], "pad_type": "valid"},
        lambda x: F.max_pool3d(x, 2, 1),
        note="3d",
    ),
    Case(
        "avg_pool", {"x": IMAGE}, {**K32, "pad_type": "valid"}, lambda x: F.avg_pool2d(x, (3, 2), 2)
    ),
    Case(
        "avg_pool",
        {"x": IMAGE},
        {"kernel_sizes": [3, 3], "pad_type": "custom", "pad": [1, 1, 1, 1]},
        lambda x: F.avg_pool2d(x, 3, 1, 1),
        note="counts padding",
    ),
    Case(
        "avg_pool",
        {"x": IMAGE},
        {
            "kernel_sizes": [3, 3],
            "pad_type": "custom",
            "pad": [1, 1, 1, 1],
            "exclude_padding_from_average": True,
        },
        lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False),
        note="excludes padding",
    ),
    Case(
        "avg_pool",
        {"x": IMAGE},
        {**CEIL, "pad_type": "custom"},
        lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 2)), 3, 2),  # one row past the padding
        note="ceil",
    ),
    Case(
        "avg_pool",
        {"x": np.arange(49, dtype=np.float32).reshape(1, 1, 7, 7)},
        {"kernel_sizes": [2, 2], "strides": [3, 3], "pad_type": "valid", "ceil_mode": True},
        # What Core ML returned on a Mac: coremltools pull request 2844.
        [[[[4.0, 7.0, 4.75], [25.0, 28.0, 15.25], [21.25, 22.75, 12.0]]]],
        note="ceil divides by the whole kernel",
    ),
    Case(
        "avg_pool",
        {"x": IMAGE},
        {**CEIL, "pad_type": "custom", "exclude_padding_from_average": True},
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        note="ceil excludes",
    ),
    # By hand, "same" with a 2x2 window and stride 1 pads one column right and one row below.
    Case(
        "avg_pool",
        {"x": SQUARES},
        {"kernel_sizes": [2, 2], "pad_type": "same"},
        [[[[2.5, 1.5], [1.75, 1.0]]]],
        note="same",
    ),
    Case(
        "avg_pool",
        {"x": SQUARES},
        {"kernel_sizes": [2, 2], "pad_type": "same", "exclude_padding_from_average": True},
        [[[[2.5, 3.0], [3.5, 4.0]]]],
        note="same excludes",
    ),
    Case(
        "avg_pool",
        {"x": SQUARES},
        {"kernel_sizes": [2, 2], "pad_type": "same_lower"},
        [[[[0.25, 0.75], [1.0, 2.5]]]],
        "iOS16",
        "same_lower",
    ),
    Case(
        "l2_pool",
        {"x": SQUARES},
        {"kernel_sizes": [1, 2], "pad_type": "valid"},
        [[[[math.sqrt(5)], [5.0]]]],
    ),
]

QUERY, KEY, MEMORY = _real(1, 2, 5, 8), _real(1, 2, 7, 8), _real(1, 2, 7, 3)
MASK = np.arange(35).reshape(1, 1, 5, 7) % 3 != 0
_ATTENTION = [
    Case(
        "scaled_dot_product_attention",
        {"query": QUERY, "key": KEY, "value": MEMORY},
        expect=lambda query, key, value: F.scaled_dot_product_attention(query, key, value),
        target="iOS18",
        atol=1e-5,
    ),
    Case(
        "scaled_dot_product_attention",
        {"query": QUERY, "key": KEY, "value": MEMORY, "attn_mask": MASK},
        expect=lambda query, key, value, attn_mask: F.scaled_dot_product_attention(
            query, key, value, attn_mask
        ),
        target="iOS18",
        note="bool mask",
        atol=1e-5,
    ),
    Case(
        "scaled_dot_product_attention",
        {"query": QUERY, "key": KEY, "value": MEMORY, "attn_mask": _real(1, 1, 5, 7)},
        target="iOS18",
        note="float mask",
        atol=1e-5,
    ),
]

STEPS, H0, C0 = _real(5, 2, 3), _real(2, 4), _real(2, 4)
W_IH, W_HH, GATES = _real(16, 3), _real(16, 4), _real(16)


def _torch_lstm(x: torch.Tensor, reverse: bool = False) -> tuple[torch.Tensor, ...]:
    """torch's LSTM, whose gates are in the order i, f, z, o where MIL's are i, f, o, z."""
    module = torch.nn.LSTM(3, 4)
    order = [0, 1, 3, 2]
    for name, array in (("weight_ih_l0", W_IH), ("weight_hh_l0", W_HH), ("bias_ih_l0", GATES)):
        getattr(module, name).data = torch.cat([_t(array).chunk(4)[i] for i in order])
    torch.nn.init.zeros_(module.bias_hh_l0)
    y, (h, c) = module(x.flip(0) if reverse else x, (_t(H0)[None], _t(C0)[None]))
    return (y.flip(0) if reverse else y).detach(), h[0].detach(), c[0].detach()


def _bidirectional(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    pairs = zip(_torch_lstm(x), _torch_lstm(x, reverse=True), strict=True)
    return tuple(torch.cat(pair, -1) for pair in pairs)


def _torch_rnn(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    module = torch.nn.RNN(3, 4)
    for name, array in (("weight_ih_l0", W_IH), ("weight_hh_l0", W_HH), ("bias_ih_l0", GATES)):
        getattr(module, name).data = _t(array[:4].copy())
    torch.nn.init.zeros_(module.bias_hh_l0)
    y, h = module(x, _t(H0)[None])
    return y.detach(), h[0].detach()


def _torch_gru(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """torch's GRU: gates r, z, o where MIL's are r, o, z; the reset after the product."""
    module = torch.nn.GRU(3, 4)
    arrays = {
        "weight_ih_l0": W_IH,
        "weight_hh_l0": W_HH,
        "bias_hh_l0": GATES,
        "bias_ih_l0": GATES / 3,
    }
    for name, array in arrays.items():
        parts = _t(array[:12].copy()).chunk(3)
        getattr(module, name).data = torch.cat([parts[0], parts[2], parts[1]])
    y, h = module(x, _t(H0)[None])
    return y.detach(), h[0].detach()


def _gru_by_formula(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The equations of torch's GRU with the reset gate moved before the product."""
    (w_r, w_o, w_z), (u_r, u_o, u_z) = _t(W_IH[:12]).chunk(3), _t(W_HH[:12]).chunk(3)
    b_r, b_o, b_z = _t(GATES[:12]).chunk(3)
    h, ys = _t(H0), []
    for step in x:
        r = torch.sigmoid(step @ w_r.T + h @ u_r.T + b_r)
        z = torch.sigmoid(step @ w_z.T + h @ u_z.T + b_z)
        h = (1 - z) * torch.tanh(step @ w_o.T + (r * h) @ u_o.T + b_o) + z * h
        ys.append(h)
    return torch.stack(ys), h


LSTM = {"weight_ih": W_IH, "weight_hh": W_HH, "bias": GATES, "output_sequence": True}
STATE = {"initial_h": H0, "initial_c": C0}
_RECURRENT = [
    Case("lstm", {"x": STEPS}, {**STATE, **LSTM}, _torch_lstm, atol=1e-5),
    Case(
        "lstm",
        {"x": STEPS},
        {**STATE, **LSTM, "direction": "reverse"},
        lambda x: _torch_lstm(x.flip(0)),  # in the order of the steps, as coremltools tests it
        note="reverse",
        atol=1e-5,
    ),
    Case(
        "lstm",
        {"x": STEPS},
        {
            **LSTM,
            "initial_h": np.concatenate([H0, H0], 1),
            "initial_c": np.concatenate([C0, C0], 1),
            "weight_ih_back": W_IH,
            "weight_hh_back": W_HH,
            "bias_back": GATES,
            "direction": "bidirectional",
        },
        _bidirectional,
        note="bidirectional",
        atol=1e-5,
    ),
    Case(
        "rnn",
        {"x": STEPS},
        {
            "initial_h": H0,
            "weight_ih": W_IH[:4],
            "weight_hh": W_HH[:4],
            "bias": GATES[:4],
            "output_sequence": True,
        },
        _torch_rnn,
        atol=1e-5,
    ),
    Case(
        "gru",
        {"x": STEPS},
        {
            "initial_h": H0,
            "weight_ih": W_IH[:12],
            "weight_hh": W_HH[:12],
            "bias": GATES[:12],
            "output_sequence": True,
        },
        _gru_by_formula,
        atol=1e-5,
    ),
    Case(
        "gru",
        {"x": STEPS},
        {
            "initial_h": H0,
            "weight_ih": W_IH[:12],
            "weight_hh": W_HH[:12],
            "bias": GATES[:12],
            "input_bias": GATES[:12] / 3,
            "reset_after": True,
            "output_sequence": True,
        },
        _torch_gru,
        "iOS18",
        "reset_after",
        atol=1e-5,
    ),
]

CASES: list[Case] = [
    *_CONV,
    *_CONV_TRANSPOSE,
    *_PRODUCTS,
    *_NORMS,
    *_POOLS,
    *_ATTENTION,
    *_RECURRENT,
]
