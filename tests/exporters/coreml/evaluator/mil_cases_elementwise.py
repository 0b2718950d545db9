"""Cases for elementwise ops, activations and reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mil_build import Case

__all__ = ["CASES"]

_rng = np.random.default_rng(0)


def _real(*shape: int, low: float = -3.0, high: float = 3.0) -> np.ndarray:
    return _rng.uniform(low, high, shape).astype(np.float32)


def _f32(values: Any) -> np.ndarray:
    return np.array(values, np.float32)


def _i32(values: Any) -> np.ndarray:
    return np.array(values, np.int32)


X = _real(2, 3, 4)
UNIT = _real(2, 3, 4, low=-0.99, high=0.99)
POSITIVE = _real(2, 3, 4, low=0.05, high=4.0)
HALVES = _f32([-2.5, -1.5, -0.5, 0.0, 0.5, 1.5, 2.5, 7.49])
INTS = _i32([[-7, -1, 0], [1, 2, 9]])

_UNARY = [
    *(
        Case(name, {"x": X})
        for name in ("abs", "ceil", "cos", "cosh", "erf", "exp", "floor", "sin")
    ),
    *(Case(name, {"x": X}) for name in ("sinh", "square", "tan", "tanh", "exp2")),
    *(Case(name, {"x": UNIT}) for name in ("acos", "asin", "atan", "atanh")),
    Case("sqrt", {"x": POSITIVE}),
    Case("sign", {"x": _f32([-2.0, 0.0, 5.0])}),
    Case("abs", {"x": INTS}, note="int"),
    Case("square", {"x": INTS}, note="int"),
    Case("sign", {"x": INTS}, note="int"),
    Case("round", {"x": HALVES}, expect=[-2.0, -2.0, 0.0, 0.0, 0.0, 2.0, 2.0, 7.0]),
    Case("logical_not", {"x": np.array([True, False])}, expect=[0, 1]),
    Case("inverse", {"x": _f32([0.0, 1.0, -4.0])}, expect=[1e4, 1 / 1.0001, -1 / 3.9999]),
    Case("inverse", {"x": POSITIVE}, {"epsilon": np.float32(0.5)}, note="epsilon"),
    Case("log", {"x": POSITIVE}, expect=torch.log),
    Case(
        "log", {"x": _f32([0.0, 1.0])}, {"epsilon": np.float32(1.0)}, [0.0, math.log(2)], note="eps"
    ),
    Case("rsqrt", {"x": _f32([0.0, 4.0, 0.25])}, expect=[1e6, 0.5, 2.0]),
    Case("rsqrt", {"x": _f32([3.0])}, {"epsilon": np.float32(1.0)}, [0.5], note="epsilon"),
    Case("clip", {"x": X}, {"alpha": np.float32(-1.0), "beta": np.float32(0.5)}),
    Case("threshold", {"x": X}, {"alpha": np.float32(0.25)}),
    Case("threshold", {"x": INTS}, {"alpha": np.int32(1)}, [[1, 1, 1], [1, 2, 9]], note="int"),
]

_CASTS = [
    Case("cast", {"x": _f32([-1.9, -0.2, 0.0, 1.9])}, {"dtype": "int32"}, [-1, 0, 0, 1]),
    Case(
        "cast", {"x": INTS}, {"dtype": "fp32"}, [[-7.0, -1.0, 0.0], [1.0, 2.0, 9.0]], note="float"
    ),
    Case("cast", {"x": _f32([-0.5, 0.0, 2.0])}, {"dtype": "bool"}, [1, 0, 1], note="bool"),
    Case("cast", {"x": np.array([True, False])}, {"dtype": "fp32"}, [1.0, 0.0], note="from bool"),
    Case(
        "cast", {"x": _f32([1.0009765, 70000.0])}, {"dtype": "fp16"}, [1.0009766, np.inf], "iOS16"
    ),
    Case("cast", {"x": _i32([-1, 127, 200])}, {"dtype": "int8"}, [-1, 127, -56], "iOS17", "int8"),
    Case("cast", {"x": _i32([0, 255, 257])}, {"dtype": "uint8"}, [0, 255, 1], "iOS17", "uint8"),
    Case("cast", {"x": _f32([3.7, 40000.0])}, {"dtype": "uint16"}, [3, 40000], "iOS17", "uint16"),
    Case("cast", {"x": _i32([-5, 30000])}, {"dtype": "int16"}, [-5, 30000], "iOS17", "int16"),
    Case(
        "select",
        {"cond": np.array([True, False, True]), "a": _f32([1, 2, 3]), "b": _f32([4, 5, 6])},
        expect=[1.0, 5.0, 3.0],
    ),
]

Y = _real(1, 3, 1, low=0.5, high=3.0)
A, B = _i32([[-7, 7, 8], [5, -5, 9]]), _i32([[2, 2, -3], [5, 3, -3]])
LOGIC = {"x": np.array([True, True, False, False]), "y": np.array([True, False, True, False])}

_BINARY = [
    *(Case(n, {"x": X, "y": Y}) for n in ("add", "sub", "mul", "real_div", "maximum", "minimum")),
    *(Case(n, {"x": X, "y": Y}) for n in ("floor_div", "mod")),
    *(Case(n, {"x": A, "y": B}, note="int") for n in ("add", "floor_div", "mod", "mul", "maximum")),
    Case("floor_div", {"x": A, "y": B}, expect=[[-4, 3, -3], [1, -2, -3]], note="by hand"),
    Case("mod", {"x": A, "y": B}, expect=[[1, 1, -1], [0, 1, 0]], note="by hand"),
    Case("pow", {"x": POSITIVE, "y": Y}),
    *(
        Case(name, {"x": _i32([1, 2, 3]), "y": _i32([2, 2, 2])}, expect=expected)
        for name, expected in (
            ("equal", [0, 1, 0]),
            ("not_equal", [1, 0, 1]),
            ("greater", [0, 0, 1]),
            ("greater_equal", [0, 1, 1]),
            ("less", [1, 0, 0]),
            ("less_equal", [1, 1, 0]),
        )
    ),
    Case("logical_and", LOGIC, expect=[1, 0, 0, 0]),
    Case("logical_or", LOGIC, expect=[1, 1, 1, 0]),
    Case("logical_xor", LOGIC, expect=[0, 1, 1, 0]),
]

IMAGE = _real(2, 3, 4, 5)
ALPHA, BETA = _f32([0.1, 0.5, 2.0]), _f32([1.0, 0.5, 3.0])
TWO = {"alpha": np.float32(0.3), "beta": np.float32(1.2)}

_ACTIVATIONS = [
    *(Case(name, {"x": X}) for name in ("relu", "sigmoid", "softplus", "softsign")),
    Case("relu6", {"x": X * 4}),
    *(Case(n, {"x": X}, TWO) for n in ("clamped_relu", "linear_activation", "scaled_tanh")),
    Case("sigmoid_hard", {"x": X}, {"alpha": np.float32(0.2), "beta": np.float32(0.5)}),
    Case("silu", {"x": X}, expect=lambda x: x * torch.sigmoid(x)),
    Case("elu", {"x": X}, {"alpha": np.float32(0.7)}),
    Case("leaky_relu", {"x": X}, {"alpha": np.float32(0.1)}),
    Case(
        "thresholded_relu",
        {"x": _f32([-1, 0.5, 0.6, 2])},
        {"alpha": np.float32(0.6)},
        [0, 0, 0.6, 2],
    ),
    Case("gelu", {"x": X}, {"mode": "EXACT"}, note="exact"),
    Case("gelu", {"x": X}, {"mode": "TANH_APPROXIMATION"}, note="tanh"),
    Case("gelu", {"x": X}, {"mode": "SIGMOID_APPROXIMATION"}, note="sigmoid"),
    Case("gelu", {"x": X}, expect=F.gelu, note="default"),
    Case("prelu", {"x": IMAGE}, {"alpha": ALPHA}),
    Case("softplus_parametric", {"x": IMAGE}, {"alpha": ALPHA, "beta": BETA}),
    Case("softmax", {"x": X}, {"axis": 1}),
    Case("softmax", {"x": X}, expect=lambda x: torch.softmax(x, 2), note="default"),
]

_AXES = [
    Case(name, {"x": POSITIVE}, {"axes": [0, -1], "keep_dims": keep}, note="keep" if keep else "")
    for keep in (False, True)
    for name in (
        "reduce_l1_norm",
        "reduce_l2_norm",
        "reduce_log_sum",
        "reduce_log_sum_exp",
        "reduce_max",
        "reduce_mean",
        "reduce_min",
        "reduce_prod",
        "reduce_sum",
        "reduce_sum_square",
    )
]
_REDUCTIONS = [
    *_AXES,
    Case("reduce_sum", {"x": X}, expect=torch.sum, note="all axes"),
    Case("reduce_max", {"x": X}, expect=torch.amax, note="all axes"),
    Case("reduce_l2_norm", {"x": _f32([3.0, 4.0])}, {"axes": [0]}, 5.0, note="by hand"),
    Case("reduce_sum", {"x": INTS}, {"axes": [1]}, [-8, 12], note="int"),
    Case("reduce_argmax", {"x": _f32([[1, 5, 5], [9, 2, 9]])}, {"axis": 1}, [1, 0]),
    Case("reduce_argmin", {"x": _f32([[1, 5, 1], [9, 2, 2]])}, {"axis": 1}, [0, 1]),
    Case("reduce_argmax", {"x": X}, {"axis": -2, "keep_dims": True}, note="keep"),
    Case(
        "reduce_argmax",
        {"x": X},
        {"axis": 0, "output_dtype": "uint16"},
        lambda x: torch.argmax(x, 0),
        "iOS17",
    ),
]

CASES: list[Case] = [*_UNARY, *_CASTS, *_BINARY, *_ACTIVATIONS, *_REDUCTIONS]
