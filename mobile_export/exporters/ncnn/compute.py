"""Rules for layers that compute: elementwise, linear maps, norms, statistics, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...lowering import ir
from ...lowering.rules.elementwise import LARGEST
from . import integers, tables
from .files import NcnnLayer, Param, Weight
from .rules import chain, layer_name, one_layer, reshape_to, rule, unsupported

__all__: list[str] = []


# Constants and elementwise -----------------------------------------------------------------------


@rule(ir.Constant)
def _constant(layer: ir.Constant) -> list[NcnnLayer]:
    _, params = reshape_to(layer.output.shape)
    return [one_layer(layer, "MemoryData", {**params, 21: 0}, (Weight(layer.value),))]


def _nonlinearity(function: ir.Nonlinearity) -> tuple[str, dict[int, Param]]:
    kind, names = tables.ACTIVATIONS[function.name]
    params: dict[int, Param] = {i: float(getattr(function, n)) for i, n in enumerate(names)}
    if function.name == "gelu_tanh":
        params = {0: 1}
    return kind, params


@rule(ir.Activation)
def _activation(layer: ir.Activation) -> list[NcnnLayer]:
    return [one_layer(layer, *_nonlinearity(layer.function))]


@rule(ir.PReLU)
def _prelu(layer: ir.PReLU) -> list[NcnnLayer]:
    return [one_layer(layer, "PReLU", {0: layer.slope.size}, (Weight(layer.slope, flagged=False),))]


@rule(ir.Unary)
def _unary(layer: ir.Unary) -> list[NcnnLayer]:
    if layer.op == "erf":
        return [one_layer(layer, "Erf")]
    if layer.op == "step":
        return [one_layer(layer, "Threshold", {0: 0.0})]
    if layer.op not in tables.UNARY_OPS:
        raise unsupported(layer, layer.op)
    return [one_layer(layer, "UnaryOp", {0: tables.UNARY_OPS[layer.op]})]


@rule(ir.Binary)
def _binary(layer: ir.Binary) -> list[NcnnLayer]:
    params: dict[int, Param] = {0: tables.BINARY_OPS[layer.op]}
    if layer.op == "sub" and layer.scalar == LARGEST:  # 1 / 0 and log(0) are NaN on x86
        raise unsupported(layer, "infinities, which its division and logarithm do not give")
    if layer.scalar is not None:
        params |= {1: 1, 2: float(layer.scalar)}
    return [one_layer(layer, "BinaryOp", params)]


@rule(ir.Scale)
def _scale(layer: ir.Scale) -> list[NcnnLayer]:
    weights = [Weight(layer.scale, flagged=False)]
    if layer.bias is not None:
        weights.append(Weight(layer.bias, flagged=False))
    params: dict[int, Param] = {0: layer.scale.size, 1: int(layer.bias is not None)}
    return [one_layer(layer, "Scale", params, tuple(weights))]


# Linear maps --------------------------------------------------------------------------------------


def _with_activation(layer: Any, made: NcnnLayer) -> list[NcnnLayer]:
    """``made`` with the activation of ``layer``, inside if ncnn can, else in a layer of its own."""
    function: ir.Nonlinearity | None = layer.activation
    if function is None:
        return [made]
    if function.name in tables.FUSED_ACTIVATIONS and made.type != "Gemm":
        code, names = tables.FUSED_ACTIVATIONS[function.name]
        made.params[9] = code
        if names:
            made.params[10] = tuple(float(getattr(function, name)) for name in names)
        return [made]
    kind, params = _nonlinearity(function)
    before = f"{layer.name}:linear"
    linear = NcnnLayer(made.type, made.name, made.inputs, (before,), made.params, made.weights)
    return [linear, NcnnLayer(kind, made.name, (before,), made.outputs, params)]


def _weights(weight: np.ndarray, bias: np.ndarray | None) -> tuple[Weight, ...]:
    """The usual pair: the weight behind a flag, the bias bare."""
    return (Weight(weight),) if bias is None else (Weight(weight), Weight(bias, flagged=False))


_SPATIAL_IDS = {
    "kernel": (1, 11, 21),
    "dilation": (2, 12, 22),
    "stride": (3, 13, 23),
    "before": (4, 14, 24),
    "after": (15, 16, 17),
}
"""Ids of a convolution's params along w, h and d."""


def _spatial(layer: ir.Convolution | ir.ConvTranspose) -> dict[int, Param]:
    values = {
        "kernel": layer.kernel,
        "dilation": layer.dilation,
        "stride": layer.stride,
        "before": tuple(before for before, _ in layer.padding),
        "after": tuple(after for _, after in layer.padding),
    }
    return {
        number: value
        for name, ids in _SPATIAL_IDS.items()
        for number, value in zip(ids, reversed(values[name]), strict=False)
    }


_RANK_SUFFIX = {1: "1D", 2: "", 3: "3D"}


@rule(ir.Convolution)
def _convolution(layer: ir.Convolution) -> list[NcnnLayer]:
    kind = ("Convolution" if layer.groups == 1 else "ConvolutionDepthWise") + _RANK_SUFFIX[
        len(layer.kernel)
    ]
    params = _spatial(layer) | {
        0: layer.weight.shape[0],
        5: int(layer.bias is not None),
        6: layer.weight.size,
    }
    if layer.groups > 1:
        params[7] = layer.groups
    if layer.steps is not None:
        term, weights = integers.of_layer(layer, layer.groups)
        return _with_activation(layer, one_layer(layer, kind, params | term, weights))
    return _with_activation(
        layer, one_layer(layer, kind, params, _weights(layer.weight, layer.bias))
    )


@rule(ir.ConvTranspose)
def _conv_transpose(layer: ir.ConvTranspose) -> list[NcnnLayer]:
    groups = layer.groups
    kind = "Deconvolution" if groups == 1 else "DeconvolutionDepthWise"
    inputs, outputs, *kernel = layer.weight.shape
    weight = layer.weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    params = _spatial(layer) | {
        0: outputs * groups,
        5: int(layer.bias is not None),
        6: layer.weight.size,
    }
    params |= dict(zip((18, 19, 20), reversed(layer.output_padding), strict=False))
    if groups > 1:
        params[7] = groups
    kind += _RANK_SUFFIX[len(layer.kernel)]
    return _with_activation(layer, one_layer(layer, kind, params, _weights(weight, layer.bias)))


@rule(ir.Linear)
def _linear(layer: ir.Linear) -> list[NcnnLayer]:
    outputs, inputs = layer.weight.shape
    params: dict[int, Param] = {0: outputs, 1: int(layer.bias is not None), 2: layer.weight.size}
    if layer.steps is not None:
        term, weights = integers.of_layer(layer)
        return _with_activation(layer, one_layer(layer, "InnerProduct", params | term, weights))
    if len(layer.input.shape) == 1:
        made = one_layer(layer, "InnerProduct", params, _weights(layer.weight, layer.bias))
        return _with_activation(layer, made)
    return _with_activation(layer, _gemm(layer, outputs, inputs))


def _gemm(layer: ir.Linear, outputs: int, inputs: int) -> NcnnLayer:
    """``x @ weight.T + bias`` for rows: B is constant and transposed, C a row or nothing."""
    params: dict[int, Param] = {
        3: 1,  # transB
        5: 1,  # constantB
        6: 1,  # constantC
        8: outputs,
        9: inputs,
        10: -1 if layer.bias is None else 4,
    }
    weights = [Weight(layer.weight)]
    if layer.bias is not None:
        weights.append(Weight(layer.bias, half=False))
    return one_layer(layer, "Gemm", params, tuple(weights))


@rule(ir.MatMul)
def _matmul(layer: ir.MatMul) -> list[NcnnLayer]:
    return [one_layer(layer, "MatMul", {0: int(layer.transpose_b)})]


# Normalisation and statistics ---------------------------------------------------------------------


@rule(ir.Softmax)
def _softmax(layer: ir.Softmax) -> list[NcnnLayer]:
    return [one_layer(layer, "Softmax", {0: layer.axis, 1: 1})]


def _affine(weight: np.ndarray | None, bias: np.ndarray | None) -> tuple[Weight, ...]:
    if weight is None or bias is None:
        return ()
    return Weight(weight, flagged=False), Weight(bias, flagged=False)


@rule(ir.LayerNorm)
def _layer_norm(layer: ir.LayerNorm) -> list[NcnnLayer]:
    weights = _affine(layer.weight, layer.bias)
    params: dict[int, Param] = {
        0: layer.input.shape[-1],
        1: float(layer.eps),
        2: int(bool(weights)),
    }
    return [one_layer(layer, "LayerNorm", params, weights)]


@rule(ir.GroupNorm)
def _group_norm(layer: ir.GroupNorm) -> list[NcnnLayer]:
    weights = _affine(layer.weight, layer.bias)
    params: dict[int, Param] = {
        0: layer.groups,
        1: layer.input.shape[0],
        2: float(layer.eps),
        3: int(bool(weights)),
    }
    return [one_layer(layer, "GroupNorm", params, weights)]


@rule(ir.Reduce)
def _reduce(layer: ir.Reduce) -> list[NcnnLayer]:
    params: dict[int, Param] = {
        0: tables.REDUCE_OPS[layer.op],
        1: 0,  # not over everything
        3: tuple(layer.axes),
        4: int(layer.keepdims),
        5: 1,  # axes are counted without a batch
    }
    if len(layer.input.shape) == 3 and layer.axes == (1, 2) and layer.op in ("mean", "max"):
        pooling: dict[int, Param] = {0: int(layer.op == "mean"), 4: 1}
        if not layer.keepdims:
            return [one_layer(layer, "Pooling", pooling)]
        return chain(layer, ("Pooling", pooling), reshape_to(layer.output.shape))
    return [one_layer(layer, "Reduction", params)]


@rule(ir.ArgMax)
def _argmax(layer: ir.ArgMax) -> list[NcnnLayer]:
    """ncnn's ArgMax is over the whole blob. Along one axis of size n: the largest m of
    (n - i) * [x_i >= max x], which belongs to the first such i, and then n - m."""
    axis, size, name = layer.axis, layer.input.shape[layer.axis], layer.name
    shape = tuple(size if i == axis else 1 for i in range(len(layer.input.shape)))
    countdown = np.arange(size, 0, -1, dtype=np.float32).reshape(shape)
    reduce_max: dict[int, Param] = {0: tables.REDUCE_OPS["max"], 1: 0, 3: (axis,), 5: 1}
    source, label = layer.input.name, layer_name(layer.output)

    def step(kind: str, inputs: str, output: str, params: dict[int, Param]) -> NcnnLayer:
        return NcnnLayer(kind, label, tuple(inputs.split()), (output,), params)

    _, extent = reshape_to(shape)
    return [
        step("Reduction", source, f"{name}:max", {**reduce_max, 4: 1}),
        step("BinaryOp", f"{source} {name}:max", f"{name}:below", {0: tables.BINARY_OPS["sub"]}),
        step("Threshold", f"{name}:below", f"{name}:best", {0: -_SMALLEST}),
        NcnnLayer(
            "MemoryData",
            label,
            (),
            (f"{name}:countdown",),
            {**extent, 21: 0},
            (Weight(countdown, half=False),),
        ),
        step(
            "BinaryOp",
            f"{name}:best {name}:countdown",
            f"{name}:counted",
            {0: tables.BINARY_OPS["mul"]},
        ),
        step(
            "Reduction", f"{name}:counted", f"{name}:left", {**reduce_max, 4: int(layer.keepdims)}
        ),
        step(
            "BinaryOp", f"{name}:left", name, {0: tables.BINARY_OPS["rsub"], 1: 1, 2: float(size)}
        ),
    ]


_SMALLEST = float(np.finfo(np.float32).tiny)


@rule(ir.Pool)
def _pool(layer: ir.Pool) -> list[NcnnLayer]:
    kind = {1: "Pooling1D", 2: "Pooling"}[len(layer.kernel)]
    params: dict[int, Param] = {
        0: int(layer.mode == "avg"),
        5: 1,  # nothing is padded but what is said here
        6: int(layer.count_padding),
    }
    ids = ((1, 11), (2, 12), (3, 13), (14, 15))
    before, after = zip(*layer.padding, strict=True)
    for (along_w, along_h), values in zip(
        ids, (layer.kernel, layer.stride, before, after), strict=True
    ):
        params |= dict(zip((along_w, along_h), reversed(values), strict=False))
    return [one_layer(layer, kind, params)]


@rule(ir.Interp)
def _interp(layer: ir.Interp) -> list[NcnnLayer]:
    height, width = layer.output.shape[-2:]
    params: dict[int, Param] = {
        0: tables.INTERP_MODES[layer.mode],
        3: height,
        4: width,
        6: int(layer.align_corners),
    }
    return [one_layer(layer, "Interp", params)]
