"""Layers of integers, by the rules of TNN's reference device (``utils/naive_compute.cc``).

Sums are int32, which here are whole numbers of float64; they are brought to the scale of the result
in float32, and rounded to the nearest integer, halves away from zero, from -128 to 127
(``float2int8``).
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..proto import FormatError
from ..table import Params, Tensor, Weights, layer
from .conv import Conv, sums

__all__ = ["dequantized", "quantized"]

_NO_ACTIVATION, _RELU, _RELU6 = 0, 1, 2
_LEAST = torch.finfo(torch.float32).tiny


def quantized(x: Tensor, scale: Tensor) -> Tensor:
    """Floats as integers of a blob (``NaiveQuantBias``); all are 0 where a scale is."""
    along = _along(scale, x)
    return torch.where(along == 0, torch.zeros((), dtype=torch.int8), _nearest(x / along))


def dequantized(x: Tensor, scale: Tensor) -> Tensor:
    """What the integers of a blob stand for, float32 (``NaiveDequantBias``)."""
    return _along(scale, x) * x.float()


def _nearest(x: Tensor) -> Tensor:
    """``float2int8``."""
    half = torch.where(x >= 0, 0.5, -0.5).float()
    return (x + half).clamp(-128, 127).trunc().to(torch.int8)


def _along(scale: Tensor, x: Tensor) -> Tensor:
    """One scale, or one for each channel."""
    if scale.numel() == 1:
        return scale.reshape(())
    if x.ndim < 2 or scale.numel() != x.shape[1]:
        raise FormatError(f"{scale.numel()} scales of a blob {tuple(x.shape)}")
    return scale.reshape(1, -1, *[1] * (x.ndim - 2))


def _scaled(sums_: Tensor, weights: Weights, scale: Tensor) -> Tensor:
    """Sums in integers of the result, not rounded (``CpuConvLayerAcc::Init``)."""
    ratio = torch.where(scale >= _LEAST, weights["scale"] / scale, torch.zeros(()))
    return sums_.float() * _along(ratio, sums_)


@layer("QuantizedConvolution")
def convolution(x: Tensor, *, params: Params, weights: Weights, scale: Tensor) -> Tensor:
    """``NaiveConvBias``, without the addition that TNN merges into it (``QuantizedAdd``)."""
    conv = Conv.read(params)
    exact = {name: each.double() for name, each in weights.items()}
    result = _scaled(sums(conv, x.double(), exact), weights, scale)
    if conv.activation == _NO_ACTIVATION:
        return _nearest(result)
    if conv.activation == _RELU:
        return _nearest(result.clamp(min=0))
    if conv.activation == _RELU6:
        most = _nearest(6 / scale)
        return torch.minimum(_nearest(result), _along(most, result)).clamp(min=0)
    raise FormatError(f"a convolution of integers has the activation {conv.activation}")


@layer("QuantizedInnerProduct")
def inner_product(x: Tensor, *, params: Params, weights: Weights, scale: Tensor) -> Tensor:
    """``NaiveFCBias``."""
    outputs, has_bias, _, axis = params.integers(4)
    if axis != 1:
        raise FormatError(f"InnerProduct along axis {axis} is not covered; TNN's kernels know 1")
    weight = weights["weight"].reshape(outputs, -1).double()
    bias = weights["bias"].flatten().double() if has_bias else None
    return _nearest(_scaled(F.linear(x.flatten(1).double(), weight, bias), weights, scale))


@layer("QuantizedReLU")
def relu(x: Tensor) -> Tensor:
    """``CpuReluLayerAcc::Forward``: the result has the scale of the input, or is wrong."""
    return x.clamp(min=0)
