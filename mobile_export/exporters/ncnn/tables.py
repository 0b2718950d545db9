"""Numbers of ncnn's enumerations, by the names that the layer graph uses.

Each table is an enum of ncnn's source: ``binaryop.h``, ``unaryop.h``, ``reduction.h``,
``fused_activation.h`` and the comments of ``permute.cpp``.
"""

from __future__ import annotations

from ...lowering import ir

__all__ = [
    "ACTIVATIONS",
    "BINARY_OPS",
    "FUSED_ACTIVATIONS",
    "INTERP_MODES",
    "PAD_MODES",
    "REDUCE_OPS",
    "UNARY_OPS",
    "order_type",
]

BINARY_OPS: dict[ir.BinaryOp, int] = {
    "add": 0, "sub": 1, "mul": 2, "div": 3, "max": 4, "min": 5, "pow": 6,
    "rsub": 7, "rdiv": 8, "rpow": 9,
}  # fmt: skip

UNARY_OPS: dict[ir.UnaryOp, int] = {
    "abs": 0, "neg": 1, "floor": 2, "ceil": 3, "square": 4, "sqrt": 5, "rsqrt": 6, "exp": 7,
    "log": 8, "sin": 9, "cos": 10, "tan": 11, "asin": 12, "acos": 13, "atan": 14,
    "reciprocal": 15, "log10": 17, "round": 18, "trunc": 19, "sign": 20,
}  # fmt: skip
"""``erf`` is a layer of its own."""

REDUCE_OPS: dict[ir.ReduceOp, int] = {
    "sum": 0, "sum_square": 2, "mean": 3, "max": 4, "min": 5, "prod": 6, "l1": 7, "l2": 8,
}  # fmt: skip

INTERP_MODES = {"nearest": 1, "bilinear": 2, "bicubic": 3}
PAD_MODES = {"constant": 0, "replicate": 1, "reflect": 2}

ACTIVATIONS: dict[ir.NonlinearityName, tuple[str, tuple[str, ...]]] = {
    "relu": ("ReLU", ()),
    "clip": ("Clip", ("alpha", "beta")),
    "leaky_relu": ("ReLU", ("alpha",)),
    "elu": ("ELU", ("alpha",)),
    "selu": ("SELU", ("alpha", "beta")),
    "celu": ("CELU", ("alpha",)),
    "sigmoid": ("Sigmoid", ()),
    "tanh": ("TanH", ()),
    "silu": ("Swish", ()),
    "gelu": ("GELU", ()),
    "gelu_tanh": ("GELU", ()),
    "hard_sigmoid": ("HardSigmoid", ("alpha", "beta")),
    "hard_swish": ("HardSwish", ("alpha", "beta")),
    "softplus": ("Softplus", ()),
    "mish": ("Mish", ()),
}
"""Layer type, and which of the function's numbers are its params 0 and 1."""

FUSED_ACTIVATIONS: dict[ir.NonlinearityName, tuple[int, tuple[str, ...]]] = {
    "relu": (1, ()),
    "leaky_relu": (2, ("alpha",)),
    "clip": (3, ("alpha", "beta")),
    "sigmoid": (4, ()),
    "mish": (5, ()),
    "hard_swish": (6, ("alpha", "beta")),
}
"""``activation_type`` and ``activation_params`` of convolutions and inner products."""

_AXES = {2: "hw", 3: "chw", 4: "cdhw"}
_ORDERS = {
    2: ("wh", "hw"),
    3: ("whc", "hwc", "wch", "cwh", "hcw", "chw"),
    4: (
        "whdc", "hwdc", "wdhc", "dwhc", "hdwc", "dhwc", "whcd", "hwcd", "wchd", "cwhd", "hcwd",
        "chwd", "wdch", "dwch", "wcdh", "cwdh", "dcwh", "cdwh", "hdcw", "dhcw", "hcdw", "chdw",
        "dchw", "cdhw",
    ),
}  # fmt: skip
"""Per rank, the axes of the output from the innermost, in the order of ``order_type``."""


def order_type(order: tuple[int, ...]) -> int:
    """ncnn's number of a permutation: axis i of the output is axis ``order[i]`` of the input."""
    names = _AXES[len(order)]
    return _ORDERS[len(order)].index("".join(names[axis] for axis in reversed(order)))
