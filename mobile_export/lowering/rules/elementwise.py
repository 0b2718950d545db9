"""Lowerings of functions of every element, and of arithmetic with broadcasting."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import torch

from .. import ir
from ..builder import Builder
from ..operands import broadcast
from ..table import Call, Operand, lowers
from ..view import View

__all__ = ["LARGEST", "activate", "binary", "unary"]

aten = torch.ops.aten

LARGEST = float(np.finfo(np.float32).max)
"""The largest float32."""

_UNARY: dict[Any, ir.UnaryOp] = {
    aten.abs.default: "abs",
    aten.neg.default: "neg",
    aten.exp.default: "exp",
    aten.log.default: "log",
    aten.log10.default: "log10",
    aten.sqrt.default: "sqrt",
    aten.rsqrt.default: "rsqrt",
    aten.square.default: "square",
    aten.reciprocal.default: "reciprocal",
    aten.sin.default: "sin",
    aten.cos.default: "cos",
    aten.tan.default: "tan",
    aten.asin.default: "asin",
    aten.acos.default: "acos",
    aten.atan.default: "atan",
    aten.floor.default: "floor",
    aten.ceil.default: "ceil",
    aten.round.default: "round",
    aten.trunc.default: "trunc",
    aten.sign.default: "sign",
    aten.erf.default: "erf",
}

_PLAIN: dict[Any, ir.NonlinearityName] = {
    aten.relu.default: "relu",
    aten.sigmoid.default: "sigmoid",
    aten.tanh.default: "tanh",
    aten.silu.default: "silu",
    aten.mish.default: "mish",
}

_BINARY: dict[Any, ir.BinaryOp] = {
    aten.add.Tensor: "add",
    aten.add.Scalar: "add",
    aten.sub.Tensor: "sub",
    aten.sub.Scalar: "sub",
    aten.rsub.Scalar: "rsub",
    aten.mul.Tensor: "mul",
    aten.mul.Scalar: "mul",
    aten.div.Tensor: "div",
    aten.div.Scalar: "div",
    aten.maximum.default: "max",
    aten.minimum.default: "min",
    aten.max.other: "max",
    aten.min.other: "min",
    aten.pow.Tensor_Scalar: "pow",
    aten.pow.Tensor_Tensor: "pow",
    aten.pow.Scalar: "pow",
}

_REVERSED: dict[ir.BinaryOp, ir.BinaryOp] = {"sub": "rsub", "div": "rdiv", "pow": "rpow"}
_SELU = (1.6732632423543772, 1.0507009873554805)  # alpha and scale, Klambauer et al. 2017


def unary(builder: Builder, op: ir.UnaryOp, view: View) -> View:
    """``op`` of every element."""
    value = builder.add(ir.Unary, [view.value], view.value.shape, op=op)
    return view.on(value)


def activate(builder: Builder, view: View, function: ir.Nonlinearity) -> View:
    """``function`` of every element."""
    value = builder.add(ir.Activation, [view.value], view.value.shape, function=function)
    return view.on(value)


def scalar_of(operand: Any) -> float | None:
    """The number that ``operand`` is, or None."""
    if isinstance(operand, int | float):
        return float(operand)
    if isinstance(operand, np.ndarray) and operand.size == 1:
        return float(operand.reshape(()))
    return None


def binary(
    builder: Builder, op: ir.BinaryOp, a: Operand | float, b: Operand | float, shape: ir.Shape
) -> View:
    """``a op b``; at least one of them is a view."""
    for view, other, name in ((a, b, op), (b, a, _REVERSED.get(op, op))):
        number = scalar_of(other)
        if number is not None and isinstance(view, View):
            return _with_scalar(builder, name, view, number, shape)
    assert not isinstance(a, int | float)
    assert not isinstance(b, int | float)

    def write(parts: list[ir.Value | np.ndarray], sizes: list[int]) -> ir.Value:
        first, second = parts
        if op == "mul":
            value, array = (second, first) if isinstance(first, np.ndarray) else (first, second)
            if isinstance(value, ir.Value) and isinstance(array, np.ndarray):
                scaled = _per_channel(builder, value, array, sizes)
                if scaled is not None:
                    return scaled
        inputs = [p if isinstance(p, ir.Value) else builder.constant(p) for p in parts]
        return builder.add(ir.Binary, inputs, sizes, op=op)

    return broadcast(builder, [a, b], shape, write)


def _with_scalar(
    builder: Builder, op: ir.BinaryOp, view: View, number: float, shape: ir.Shape
) -> View:
    value = view.value
    result: ir.Value | None = None
    if op == "div" and abs(math.frexp(number)[0]) == 0.5:
        # A power of two: the product is exact, and ncnn's quotients on AVX2 are not (-3 / 2 rounds
        # to -1 behind one).
        op, number = "mul", 1.0 / number
    neutral = {"add": 0.0, "sub": 0.0, "mul": 1.0, "div": 1.0, "pow": 1.0}
    if neutral.get(op) == number:
        result = value
    elif op == "pow" and number in (2.0, 0.5, -0.5, -1.0):
        names: dict[float, ir.UnaryOp] = {
            2.0: "square",
            0.5: "sqrt",
            -0.5: "rsqrt",
            -1.0: "reciprocal",
        }
        result = builder.add(ir.Unary, [value], value.shape, op=names[number])
    elif op == "pow" and number in (3.0, 4.0):
        result = _small_power(builder, value, number)
    elif op == "pow" and number > 0 and not number.is_integer():
        result = _root(builder, value, number)
    else:
        result = builder.add(ir.Binary, [value], value.shape, op=op, scalar=number)
    reshaped = view.on(result).reshape(shape)
    assert reshaped is not None  # only unit axes are new
    return reshaped


def _small_power(builder: Builder, value: ir.Value, number: float) -> ir.Value:
    """x³ or x⁴ as products: ncnn's powers are exponentials of logarithms, of 0 and below 2.4e38."""
    square = builder.add(ir.Unary, [value], value.shape, op="square")
    if number == 4.0:
        return builder.add(ir.Unary, [square], value.shape, op="square")
    return builder.add(ir.Binary, [square, value], value.shape, op="mul")


def _root(builder: Builder, value: ir.Value, number: float) -> ir.Value:
    """x^p for a fraction p above 0 and x not below: of 0 the power of 1, times 0."""
    shape = value.shape
    above = builder.add(ir.Unary, [value], shape, op="step")
    zeros = builder.add(ir.Binary, [above], shape, op="rsub", scalar=1.0)
    defined = builder.add(ir.Binary, [value, zeros], shape, op="add")
    power = builder.add(ir.Binary, [defined], shape, op="pow", scalar=number)
    return builder.add(ir.Binary, [power, above], shape, op="mul")


def _per_channel(
    builder: Builder, value: ir.Value, array: np.ndarray, sizes: list[int]
) -> ir.Value | None:
    """One factor per index of axis 0, as `ir.Scale`."""
    if list(value.shape) != sizes or array.size != sizes[0] or array.shape[0] != sizes[0]:
        return None
    return builder.add(ir.Scale, [value], sizes, scale=array.reshape(-1))


# ATen ---------------------------------------------------------------------------------------------


@lowers(*_UNARY)
def _unary(call: Call) -> View:
    return unary(call.builder, _UNARY[call.target], call.x)


@lowers(*_PLAIN)
def _plain(call: Call) -> View:
    return activate(call.builder, call.x, ir.Nonlinearity(_PLAIN[call.target]))


@lowers(*_BINARY)
def _binary(call: Call) -> View:
    names = call.names
    a, b = call.get(names[0]), call.get(names[1])
    alpha = call.get("alpha") if "alpha" in names else 1
    if alpha != 1:
        b = b * alpha if not isinstance(b, View) else binary(call.builder, "mul", b, alpha, b.shape)
    op = _BINARY[call.target]
    if op == "rsub":
        op, a, b = "sub", b, a
    return binary(call.builder, op, a, b, call.shape)


@lowers(aten.div.Tensor_mode, aten.div.Scalar_mode, aten.floor_divide.default)
def _rounded_division(call: Call) -> View:
    quotient = binary(call.builder, "div", call.first(), call.get("other"), call.shape)
    floor = call.target is aten.floor_divide.default
    mode: Literal["floor", "trunc"] | None = "floor" if floor else call.get("rounding_mode")
    return quotient if mode is None else unary(call.builder, mode, quotient)


@lowers(aten.addcmul.default, aten.addcdiv.default)
def _fused_product(call: Call) -> View:
    op: ir.BinaryOp = "mul" if call.target is aten.addcmul.default else "div"
    first, second = call.get("tensor1"), call.get("tensor2")
    shape = tuple(np.broadcast_shapes(first.shape, second.shape))
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        product: Any = first * second if op == "mul" else first / second
    else:
        product = binary(call.builder, op, first, second, shape)
    if call.get("value") != 1:
        product = binary(call.builder, "mul", product, call.get("value"), shape)
    return binary(call.builder, "add", call.first(), product, call.shape)


@lowers(aten.lerp.Tensor, aten.lerp.Scalar)
def _lerp(call: Call) -> View:
    start, end, weight = call.first(), call.get("end"), call.get("weight")
    shape = call.shape
    step = binary(call.builder, "sub", end, start, shape)
    return binary(
        call.builder, "add", start, binary(call.builder, "mul", step, weight, shape), shape
    )


@lowers(aten.gelu.default)
def _gelu(call: Call) -> View:
    name: ir.NonlinearityName = "gelu_tanh" if call.get("approximate") == "tanh" else "gelu"
    return activate(call.builder, call.x, ir.Nonlinearity(name))


@lowers(aten.relu6.default)
def _relu6(call: Call) -> View:
    return activate(call.builder, call.x, ir.Nonlinearity("clip", 0.0, 6.0))


@lowers(aten.hardtanh.default)
def _hardtanh(call: Call) -> View:
    return _clip(call, call.get("min_val"), call.get("max_val"))


@lowers(aten.clamp.default, aten.clamp.Tensor)
def _clamp(call: Call) -> View:
    return _clip(call, call.get("min"), call.get("max"))


@lowers(aten.clamp_min.default, aten.clamp_min.Tensor)
def _clamp_min(call: Call) -> View:
    return _clip(call, call.get("min"), None)


@lowers(aten.clamp_max.default, aten.clamp_max.Tensor)
def _clamp_max(call: Call) -> View:
    return _clip(call, None, call.get("max"))


def _clip(call: Call, low: Any, high: Any) -> View:
    bounds = [scalar_of(bound) for bound in (low, high)]
    x = call.x
    if bounds == [0.0, None] and high is None:
        return activate(call.builder, x, ir.Nonlinearity("relu"))
    if bounds[0] is not None and bounds[1] is not None:
        if bounds[0] > bounds[1]:
            raise call.refuse(f"its lower bound {bounds[0]} is above its upper bound {bounds[1]}")
        return activate(call.builder, x, ir.Nonlinearity("clip", bounds[0], bounds[1]))
    for op, bound in (("max", low), ("min", high)):
        if bound is not None:
            x = binary(call.builder, op, x, bound, call.shape)  # type: ignore[arg-type]
    return x


@lowers(aten.hardsigmoid.default, aten.hardswish.default)
def _hard(call: Call) -> View:
    sigmoid = call.target is aten.hardsigmoid.default
    name: ir.NonlinearityName = "hard_sigmoid" if sigmoid else "hard_swish"
    return activate(call.builder, call.x, ir.Nonlinearity(name, 1 / 6, 0.5))


@lowers(aten.leaky_relu.default)
def _leaky_relu(call: Call) -> View:
    slope = float(call.get("negative_slope"))
    return activate(call.builder, call.x, ir.Nonlinearity("leaky_relu", slope))


@lowers(aten.elu.default)
def _elu(call: Call) -> View:
    if call.get("scale") != 1 or call.get("input_scale") != 1:
        raise call.refuse("it has a scale")
    return activate(call.builder, call.x, ir.Nonlinearity("elu", float(call.get("alpha"))))


@lowers(aten.celu.default)
def _celu(call: Call) -> View:
    return activate(call.builder, call.x, ir.Nonlinearity("celu", float(call.get("alpha"))))


@lowers(aten.selu.default)
def _selu(call: Call) -> View:
    return activate(call.builder, call.x, ir.Nonlinearity("selu", *_SELU))


@lowers(aten.log_sigmoid.default)
def _log_sigmoid(call: Call) -> View:
    turned = unary(call.builder, "neg", call.x)
    return unary(call.builder, "neg", activate(call.builder, turned, ir.Nonlinearity("softplus")))


@lowers(aten.expm1.default)
def _expm1(call: Call) -> View:
    return binary(call.builder, "sub", unary(call.builder, "exp", call.x), 1.0, call.shape)


@lowers(aten.log1p.default)
def _log1p(call: Call) -> View:
    return unary(call.builder, "log", binary(call.builder, "add", call.x, 1.0, call.shape))


@lowers(aten.log2.default)
def _log2(call: Call) -> View:
    natural = unary(call.builder, "log", call.x)
    return binary(call.builder, "div", natural, math.log(2.0), call.shape)


@lowers(aten.prelu.default)
def _prelu(call: Call) -> View:
    """max(x, 0) + slope min(x, 0); as one layer where the channels come first."""
    slope = call.array("weight", "PReLU takes stored slopes")
    x, builder = call.x, call.builder
    assert slope is not None
    if slope.size == 1:
        function = ir.Nonlinearity("leaky_relu", float(slope.reshape(())))
        return activate(builder, x, function)
    dims = x.groups()
    if dims is not None and dims[0] == x.of_axes([1]) and len(dims[0]) == 1:
        value = builder.add(ir.PReLU, [x.value], x.value.shape, slope=slope)
        return x.on(value)
    sizes = [1, -1, *[1] * (len(x.shape) - 2)]
    negative = binary(builder, "min", x, 0.0, x.shape)
    negative = binary(builder, "mul", negative, slope.reshape(sizes), x.shape)
    positive = activate(builder, x, ir.Nonlinearity("relu"))
    return binary(builder, "add", positive, negative, x.shape)


@lowers(aten.glu.default)
def _glu(call: Call) -> View:
    from .moving import narrow

    axis = call.get("dim") % len(call.x.shape)
    half = call.x.shape[axis] // 2
    value, gate = (narrow(call.builder, call.x, axis, start, half) for start in (0, half))
    gate = activate(call.builder, gate, ir.Nonlinearity("sigmoid"))
    return binary(call.builder, "mul", value, gate, call.shape)
