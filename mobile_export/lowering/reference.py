"""What every layer means: a float64 interpreter of layer graphs.

It separates a wrong lowering (this interpreter differs from the model) from a wrong writer (the
file differs from this interpreter). It is written for clarity, one function per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import UnsupportedOpError
from . import ir

if TYPE_CHECKING:
    import numpy as np
    import torch

    Rule = Callable[[Any, "torch.Tensor"], "torch.Tensor"]

__all__ = ["apply_nonlinearity", "run_graph", "run_values"]

_RULES: dict[type[ir.Layer], Callable[..., Any]] = {}


def run_graph(graph: ir.LayerGraph, *inputs: np.ndarray) -> tuple[np.ndarray, ...]:
    """The outputs of ``graph`` in float64, in the shapes of the program's outputs.

    Args:
        inputs: one per input, with the shape (C, H, W) or (1, C, H, W).
    """
    values = run_values(graph, *inputs)
    outputs = [values[value.name] for value in graph.outputs]
    shapes = graph.output_shapes or tuple(value.shape for value in graph.outputs)
    return tuple(array.reshape(shape) for array, shape in zip(outputs, shapes, strict=True))


def run_values(graph: ir.LayerGraph, *inputs: np.ndarray) -> Mapping[str, np.ndarray]:
    """Every value of ``graph`` by name, in float64.

    Raises:
        UnsupportedOpError: a layer does not give the shape that its output has, or has no rule.
    """
    import numpy as np
    import torch

    values: dict[str, torch.Tensor] = {
        value.name: _tensor(np.reshape(array, value.shape))
        for value, array in zip(graph.inputs, inputs, strict=True)
    }
    with torch.no_grad():
        for layer in graph.layers:
            result = run_layer(layer, *[values[value.name] for value in layer.inputs])
            if tuple(result.shape) != layer.output.shape:
                raise UnsupportedOpError(
                    f"{layer.kind} {layer.name!r} gives {tuple(result.shape)}, "
                    f"but is declared {layer.output.shape}."
                )
            values[layer.name] = result
    return {name: value.numpy() for name, value in values.items()}


def run_layer(layer: ir.Layer, *inputs: torch.Tensor) -> torch.Tensor:
    """The output of one layer for float64 inputs."""
    rule = _RULES.get(type(layer))
    if rule is None:
        raise UnsupportedOpError(f"The layer {layer.kind} has no reference.")
    steps: ir.IntegerSteps | None = getattr(layer, "steps", None)
    if steps is not None:
        inputs = (_multiples(inputs[0], steps.source, steps.limits), *inputs[1:])
    result: torch.Tensor = rule(layer, *inputs)
    function = getattr(layer, "activation", None)
    if function is not None:
        result = apply_nonlinearity(function, result)
    if steps is not None and steps.result is not None:
        result = _multiples(result, steps.result, steps.limits)
    return result


def _rule(kind: type[ir.Layer]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def register(rule: Callable[..., Any]) -> Callable[..., Any]:
        _RULES[kind] = rule
        return rule

    return register


def _tensor(array: np.ndarray) -> torch.Tensor:
    import torch

    return torch.from_numpy(array).double()


def _weight(array: np.ndarray | None) -> torch.Tensor | None:
    return None if array is None else _tensor(array)


def _multiples(x: torch.Tensor, step: float, limits: tuple[int, int]) -> torch.Tensor:
    """``x`` rounded to multiples of a step, from the first of them to the last."""
    import torch

    return torch.round(x / step).clamp(*limits) * step


def _along_first(vector: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return vector.reshape(-1, *[1] * (like.ndim - 1))


@_rule(ir.Constant)
def _constant(layer: ir.Constant) -> torch.Tensor:
    return _tensor(layer.value)


# Elementwise --------------------------------------------------------------------------------------


def apply_nonlinearity(function: ir.Nonlinearity, x: torch.Tensor) -> torch.Tensor:
    """``function`` of every element of ``x``."""
    import torch
    from torch.nn import functional as F

    a, b = function.alpha, function.beta
    rules: dict[ir.NonlinearityName, Callable[[], torch.Tensor]] = {
        "relu": x.relu,
        "clip": lambda: x.clamp(a, b),
        "leaky_relu": lambda: torch.where(x > 0, x, a * x),
        "elu": lambda: torch.where(x > 0, x, a * torch.expm1(x)),
        "selu": lambda: b * torch.where(x > 0, x, a * torch.expm1(x)),
        "celu": lambda: torch.where(x > 0, x, a * torch.expm1(x / a)),
        "sigmoid": x.sigmoid,
        "tanh": x.tanh,
        "silu": lambda: x * x.sigmoid(),
        "gelu": lambda: F.gelu(x),
        "gelu_tanh": lambda: F.gelu(x, approximate="tanh"),
        "hard_sigmoid": lambda: (a * x + b).clamp(0, 1),
        "hard_swish": lambda: x * (a * x + b).clamp(0, 1),
        "softplus": lambda: torch.logaddexp(x, torch.zeros_like(x)),
        "mish": lambda: x * torch.logaddexp(x, torch.zeros_like(x)).tanh(),
    }
    return rules[function.name]()


@_rule(ir.Activation)
def _activation(layer: ir.Activation, x: torch.Tensor) -> torch.Tensor:
    return apply_nonlinearity(layer.function, x)


@_rule(ir.Round)
def _round(layer: ir.Round, x: torch.Tensor) -> torch.Tensor:
    return _multiples(x, layer.step, layer.limits)


@_rule(ir.PReLU)
def _prelu(layer: ir.PReLU, x: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.where(x > 0, x, x * _along_first(_tensor(layer.slope), x))


@_rule(ir.Unary)
def _unary(layer: ir.Unary, x: torch.Tensor) -> torch.Tensor:
    import torch

    result: torch.Tensor = (x > 0).double() if layer.op == "step" else getattr(torch, layer.op)(x)
    return result


@_rule(ir.Binary)
def _binary(layer: ir.Binary, a: torch.Tensor, b: torch.Tensor | None = None) -> torch.Tensor:
    import torch

    if b is None:
        assert layer.scalar is not None
        b = torch.tensor(layer.scalar, dtype=torch.float64)
    elif a.ndim != b.ndim or layer.op.startswith("r"):
        raise UnsupportedOpError(f"{layer.name!r}: operands {a.shape} and {b.shape} of {layer.op}.")
    op = layer.op
    if op in ("rsub", "rdiv", "rpow"):
        op, a, b = op[1:], b, a  # type: ignore[assignment]
    names = {"max": "maximum", "min": "minimum"}
    result: torch.Tensor = getattr(torch, names.get(op, op))(a, b)
    return result


@_rule(ir.Scale)
def _scale(layer: ir.Scale, x: torch.Tensor) -> torch.Tensor:
    result = x * _along_first(_tensor(layer.scale), x)
    bias = _weight(layer.bias)
    return result if bias is None else result + _along_first(bias, x)


# Linear maps --------------------------------------------------------------------------------------


def _padded(x: torch.Tensor, padding: ir.Pairs, value: float = 0.0) -> torch.Tensor:
    """``x`` with the last ``len(padding)`` axes padded by pairs (before, after)."""
    from torch.nn import functional as F

    return F.pad(x, [side for pair in reversed(padding) for side in pair], value=value)


@_rule(ir.Convolution)
def _convolution(layer: ir.Convolution, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    call = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(layer.kernel)]
    x = _padded(x, layer.padding)[None]
    weight, bias = _tensor(layer.weight), _weight(layer.bias)
    result: torch.Tensor = call(
        x, weight, bias, layer.stride, 0, layer.dilation, layer.groups
    ).squeeze(0)
    return result


@_rule(ir.ConvTranspose)
def _conv_transpose(layer: ir.ConvTranspose, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    rank = len(layer.kernel)
    call = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[rank]
    full: torch.Tensor = call(
        x[None],
        _tensor(layer.weight),
        None,
        layer.stride,
        groups=layer.groups,
        dilation=layer.dilation,
    ).squeeze(0)
    full = _padded(full, tuple((0, extra) for extra in layer.output_padding))
    for axis, (before, after) in enumerate(layer.padding, start=1):
        full = full.narrow(axis, before, full.shape[axis] - before - after)
    bias = _weight(layer.bias)
    return full if bias is None else full + _along_first(bias, full)


@_rule(ir.Linear)
def _linear(layer: ir.Linear, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    if x.ndim > 2:
        raise UnsupportedOpError(f"Linear {layer.name!r} takes rank 1 or 2, got {x.shape}.")
    return F.linear(x, _tensor(layer.weight), _weight(layer.bias))


@_rule(ir.MatMul)
def _matmul(layer: ir.MatMul, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    if a.ndim not in (2, 3) or a.shape[:-2] != b.shape[:-2]:
        raise UnsupportedOpError(f"MatMul {layer.name!r}: operands {a.shape} and {b.shape}.")
    return a @ (b.mT if layer.transpose_b else b)


# Normalisation and statistics ---------------------------------------------------------------------


@_rule(ir.Softmax)
def _softmax(layer: ir.Softmax, x: torch.Tensor) -> torch.Tensor:
    return x.softmax(layer.axis)


@_rule(ir.LayerNorm)
def _layer_norm(layer: ir.LayerNorm, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    weight, bias = _weight(layer.weight), _weight(layer.bias)
    return F.layer_norm(x, x.shape[-1:], weight, bias, layer.eps)


@_rule(ir.GroupNorm)
def _group_norm(layer: ir.GroupNorm, x: torch.Tensor) -> torch.Tensor:
    grouped = x.reshape(layer.groups, -1)
    variance, mean = grouped.var(1, correction=0, keepdim=True), grouped.mean(1, keepdim=True)
    result = ((grouped - mean) / (variance + layer.eps).sqrt()).reshape(x.shape)
    weight, bias = _weight(layer.weight), _weight(layer.bias)
    if weight is not None and bias is not None:
        result = result * _along_first(weight, x) + _along_first(bias, x)
    return result


@_rule(ir.Reduce)
def _reduce(layer: ir.Reduce, x: torch.Tensor) -> torch.Tensor:

    axes, keep = list(layer.axes), layer.keepdims
    if layer.op == "prod":
        result = x
        for axis in sorted(axes, reverse=True):
            result = result.prod(axis, keepdim=keep)
    else:
        rules: dict[ir.ReduceOp, Callable[[], torch.Tensor]] = {
            "sum": lambda: x.sum(axes, keepdim=keep),
            "mean": lambda: x.mean(axes, keepdim=keep),
            "max": lambda: x.amax(axes, keepdim=keep),
            "min": lambda: x.amin(axes, keepdim=keep),
            "sum_square": lambda: x.square().sum(axes, keepdim=keep),
            "l1": lambda: x.abs().sum(axes, keepdim=keep),
            "l2": lambda: x.square().sum(axes, keepdim=keep).sqrt(),
        }
        result = rules[layer.op]()
    return result.reshape(1) if result.ndim == 0 else result


@_rule(ir.ArgMax)
def _argmax(layer: ir.ArgMax, x: torch.Tensor) -> torch.Tensor:
    result = x.argmax(layer.axis, keepdim=layer.keepdims).double()
    return result.reshape(1) if result.ndim == 0 else result


@_rule(ir.Pool)
def _pool(layer: ir.Pool, x: torch.Tensor) -> torch.Tensor:
    import math

    padded = _padded(x, layer.padding, -math.inf if layer.mode == "max" else 0.0)
    if layer.mode == "max":
        return _windows(layer, padded).amax(-1)
    total = _windows(layer, padded).sum(-1)
    if layer.count_padding:
        return total / math.prod(layer.kernel)
    inside = _padded(x.new_ones(x.shape), layer.padding)
    return total / _windows(layer, inside).sum(-1)


def _windows(layer: ir.Pool, x: torch.Tensor) -> torch.Tensor:
    """(C, *spatial) to (C, *windows, elements of one window)."""
    for axis, (size, step) in enumerate(zip(layer.kernel, layer.stride, strict=True), start=1):
        x = x.unfold(axis, size, step)
    return x.flatten(-len(layer.kernel))


@_rule(ir.Interp)
def _interp(layer: ir.Interp, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    size = layer.output.shape[1:]
    corners = None if layer.mode == "nearest" else layer.align_corners
    result: torch.Tensor = F.interpolate(x[None], size, mode=layer.mode, align_corners=corners)
    return result.squeeze(0)


# Movement -----------------------------------------------------------------------------------------


@_rule(ir.Reshape)
def _reshape(layer: ir.Reshape, x: torch.Tensor) -> torch.Tensor:
    return x.reshape(layer.output.shape)


@_rule(ir.Permute)
def _permute(layer: ir.Permute, x: torch.Tensor) -> torch.Tensor:
    return x.permute(layer.order)


@_rule(ir.Concat)
def _concat(layer: ir.Concat, *parts: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.cat(parts, layer.axis)


@_rule(ir.Slice)
def _slice(layer: ir.Slice, x: torch.Tensor) -> torch.Tensor:
    index = [slice(None)] * x.ndim
    index[layer.axis] = slice(layer.start, layer.stop, layer.step)
    return x[tuple(index)]


@_rule(ir.Pad)
def _pad(layer: ir.Pad, x: torch.Tensor) -> torch.Tensor:
    import numpy as np
    import torch

    if layer.mode == "constant":
        return _padded(x, layer.padding, layer.value)
    mode: Any = {"reflect": "reflect", "replicate": "edge"}[layer.mode]
    return torch.from_numpy(np.pad(x.numpy(), layer.padding, mode=mode))


@_rule(ir.Tile)
def _tile(layer: ir.Tile, x: torch.Tensor) -> torch.Tensor:
    return x.repeat(layer.repeats)


@_rule(ir.Unfold)
def _unfold(layer: ir.Unfold, x: torch.Tensor) -> torch.Tensor:
    import numpy as np
    import torch

    padded = _padded(x, layer.padding)
    taps = []
    for offsets in np.ndindex(*layer.kernel):
        part = padded
        for axis, offset in enumerate(offsets):
            start, step = offset * layer.dilation[axis], layer.stride[axis]
            stop = start + (layer.output.shape[1 + axis] - 1) * step + 1
            index = [slice(None)] * x.ndim
            index[1 + axis] = slice(start, stop, step)
            part = part[tuple(index)]
        taps.append(part)
    return torch.stack(taps, 1).flatten(0, 1)


@_rule(ir.PixelShuffle)
def _pixel_shuffle(layer: ir.PixelShuffle, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    return F.pixel_shuffle(x[None], layer.factor).squeeze(0)


@_rule(ir.PixelUnshuffle)
def _pixel_unshuffle(layer: ir.PixelUnshuffle, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional as F

    return F.pixel_unshuffle(x[None], layer.factor).squeeze(0)
