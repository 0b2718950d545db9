"""Rules of layers that work on every element by itself."""

from __future__ import annotations

import math

import numpy as np

from ...lowering import ir
from .emit import Blob, Emitter, dims_of, refuse, rule
from .files import Weight

__all__: list[str] = []

_BINARY = {
    "add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Maximum", "min": "Minimum",
    "rsub": "Sub", "rdiv": "Div",
}  # fmt: skip
_UNARY = {
    "abs": "Abs", "neg": "Neg", "exp": "Exp", "log": "Log", "sqrt": "Sqrt", "rsqrt": "Rsqrt",
    "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "tan": "Tan", "atan": "Atan",
    "asin": "Asin", "acos": "Acos",
    "floor": "Floor", "ceil": "Ceil", "sign": "Sign", "erf": "Erf",
}  # fmt: skip
_PLAIN = {
    "relu": "ReLU", "sigmoid": "Sigmoid", "tanh": "Tanh", "gelu": "GELU",
    "softplus": "Softplus", "silu": "Swish",
}  # fmt: skip
_ALPHA_BETA = {"hard_sigmoid": "HardSigmoid", "hard_swish": "HardSwish", "selu": "Selu"}
_FLOAT_MAX = float(np.finfo(np.float32).max)


def unary(out: Emitter, type_: str, x: Blob, *params: float) -> Blob:
    """One layer that maps every element of ``x``."""
    return out.emit(type_, [x], x.dims, *params)


def with_number(out: Emitter, type_: str, x: Blob, number: float, *, left: bool = False) -> Blob:
    """``x op number``, or ``number op x`` with ``left``."""
    weight = Weight(np.array([number]))
    return out.emit(type_, [x], x.dims, 0 if left else 1, fields=(weight,))


def pair(out: Emitter, type_: str, a: Blob, b: Blob) -> Blob:
    """``a op b`` of two blobs of one rank, whose dimensions are equal or 1."""
    dims = [max(sizes) for sizes in zip(a.dims, b.dims, strict=True)]
    return out.emit(type_, [a, b], dims, -1)


def activate(out: Emitter, function: ir.Nonlinearity | None, x: Blob) -> Blob:
    """``function`` of every element of ``x``."""
    if function is None:
        return x
    name, alpha, beta = function.name, function.alpha, function.beta
    if name in _PLAIN:
        return unary(out, _PLAIN[name], x)
    if name in _ALPHA_BETA:
        return unary(out, _ALPHA_BETA[name], x, alpha, beta)
    if name == "clip":
        if (alpha, beta) == (0.0, 6.0):
            return unary(out, "ReLU6", x)
        return unary(out, "Clip", x, max(alpha, -_FLOAT_MAX), min(beta, _FLOAT_MAX))
    if name == "leaky_relu":
        return _prelu_layer(out, x, np.array([alpha]), shared=True)
    if name == "elu":
        return unary(out, "Elu", x, alpha)
    if name == "celu":
        scaled = unary(out, "Elu", with_number(out, "Mul", x, 1 / alpha), 1.0)
        return with_number(out, "Mul", scaled, alpha)
    if name == "mish":
        return pair(out, "Mul", x, unary(out, "Tanh", unary(out, "Softplus", x)))
    return _gelu_tanh(out, x)


def _gelu_tanh(out: Emitter, x: Blob) -> Blob:
    """x (1 + tanh u) / 2 = x sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3)."""
    slope = 2 * math.sqrt(2 / math.pi)
    inner = with_number(out, "Mul", pair(out, "Mul", x, x), slope * 0.044715)
    gate = pair(out, "Mul", with_number(out, "Add", inner, slope), x)
    return pair(out, "Mul", x, unary(out, "Sigmoid", gate))


@rule(ir.Activation)
def _activation(layer: ir.Activation, out: Emitter) -> Blob:
    return activate(out, layer.function, out.input(layer))


def _prelu_layer(out: Emitter, x: Blob, slope: np.ndarray, *, shared: bool) -> Blob:
    fields = (out.next_name(), Weight(slope))
    return out.emit("PReLU", [x], x.dims, int(shared), 1, fields=fields)


@rule(ir.PReLU)
def _prelu(layer: ir.PReLU, out: Emitter) -> Blob:
    return _prelu_layer(
        out, as_image(out, out.input(layer), layer.input), layer.slope, shared=False
    )


def as_image(out: Emitter, x: Blob, value: ir.Value) -> Blob:
    """``x`` as (1, C, H, W), with axis 0 of the value as its channels."""
    channels, *rest = value.shape
    plane = rest if len(rest) == 2 else [math.prod(rest), 1]
    return out.reshape(x, (1, channels, *plane))


@rule(ir.Scale)
def _scale(layer: ir.Scale, out: Emitter) -> Blob:
    x = as_image(out, out.input(layer), layer.input)
    bias = np.zeros_like(layer.scale) if layer.bias is None else layer.bias
    return out.emit("BatchNormCxx", [x], x.dims, fields=(Weight(layer.scale), Weight(bias)))


@rule(ir.Unary)
def _unary(layer: ir.Unary, out: Emitter) -> Blob:
    x = out.input(layer)
    if layer.op == "square":
        return pair(out, "Mul", x, x)
    if layer.op == "log10":
        return with_number(out, "Mul", unary(out, "Log", x), 1 / math.log(10))
    if layer.op == "trunc":
        whole = unary(out, "Floor", unary(out, "Abs", x))
        return pair(out, "Mul", whole, unary(out, "Sign", x))
    if layer.op == "step":
        return unary(out, "ReLU", unary(out, "Sign", x))
    if layer.op == "round":
        return _round(out, x)
    if layer.op not in _UNARY:
        refuse(layer, f"it has no {layer.op}", "Compute it outside of the model.")
    return unary(out, _UNARY[layer.op], x)


def _round(out: Emitter, x: Blob) -> Blob:
    """To the nearest integer, from a half to the even one; all differences are exact.

    floor(x) + [d > 1/2] + [d = 1/2] [floor(x) is odd], with d = x - floor(x).
    """
    down = unary(out, "Floor", x)
    sign = unary(out, "Sign", with_number(out, "Sub", pair(out, "Sub", x, down), 0.5))
    more = unary(out, "ReLU", sign)
    tie = with_number(out, "Sub", unary(out, "Abs", sign), 1.0, left=True)
    half = unary(out, "Floor", with_number(out, "Mul", down, 0.5))
    odd = pair(out, "Sub", down, with_number(out, "Mul", half, 2.0))
    return pair(out, "Add", down, pair(out, "Add", more, pair(out, "Mul", tie, odd)))


@rule(ir.Binary)
def _binary(layer: ir.Binary, out: Emitter) -> Blob:
    if layer.scalar is not None:
        return _scalar(layer, out, layer.scalar)
    if layer.op == "pow":
        a, b = (out.blob(value) for value in layer.inputs)
        return unary(out, "Exp", pair(out, "Mul", unary(out, "Log", a), b))
    if layer.op not in _BINARY:
        refuse(layer, f"it has no {layer.op} of two tensors", "Write it as exp(b * log(a)).")
    type_ = _BINARY[layer.op]
    constants = [value in out.constant_values for value in layer.inputs]
    if not any(constants) or all(constants):
        a, b = out.inputs(layer)
        return pair(out, type_, a, b)
    index = constants.index(True)
    value = layer.inputs[index]
    x = out.blob(layer.inputs[1 - index])
    weight = Weight(out.constant_values[value], dims_of(value.shape))
    return out.emit(type_, [x], dims_of(layer.output.shape), index, fields=(weight,))


def _scalar(layer: ir.Binary, out: Emitter, number: float) -> Blob:
    x = out.input(layer)
    if layer.op == "pow":
        return _power(out, x, number)
    if layer.op == "rpow":
        if number <= 0:
            refuse(layer, f"it has no powers of {number}", "Compute it outside of the model.")
        return unary(out, "Exp", with_number(out, "Mul", x, math.log(number)))
    return with_number(out, _BINARY[layer.op], x, number, left=layer.op.startswith("r"))


def _power(out: Emitter, x: Blob, exponent: float) -> Blob:
    """``x ** exponent``; TNN's vectorised Power takes logarithms, so small integers do without."""
    if exponent == 0.5:
        return unary(out, "Sqrt", x)
    if exponent == -0.5:
        return unary(out, "Rsqrt", x)
    if exponent in (2.0, 3.0, 4.0):
        square = pair(out, "Mul", x, x)
        return {
            2.0: lambda: square,
            3.0: lambda: pair(out, "Mul", square, x),
            4.0: lambda: pair(out, "Mul", square, square),
        }[exponent]()
    if exponent == -1.0:
        return unary(out, "Reciprocal", x)
    return unary(out, "Power", x, exponent, 1.0, 0.0)
