"""Normalisation."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ..table import Params, Tensor, Weights, layer

__all__: list[str] = []


def _per_channel(array: Tensor, x: Tensor) -> Tensor:
    return array.reshape(1, -1, *(1,) * (x.ndim - 2))


@layer("BatchNormCxx", "Scale")
def batch_norm(x: Tensor, *, weights: Weights) -> Tensor:
    """x scale[c] + bias[c], with the statistics folded in; one scale may serve all channels."""
    result = x * _per_channel(weights["scale"], x)
    bias = weights.get("bias")
    return result if bias is None or not bias.numel() else result + _per_channel(bias, x)


@layer("InstBatchNormCxx")
def instance_norm(x: Tensor, *, params: Params, weights: Weights) -> Tensor:
    params.integer(0)
    bias = weights["bias"] if weights["bias"].numel() else None
    return F.instance_norm(x, weight=weights["scale"], bias=bias, eps=params.number(1e-5))


@layer("GroupNorm")
def group_norm(x: Tensor, scale: Tensor, bias: Tensor, *, params: Params) -> Tensor:
    groups, eps = params.integer(0), params.number(1e-5)
    return F.group_norm(x, groups, scale.flatten(), bias.flatten(), eps)


@layer("LayerNorm")
def layer_norm(x: Tensor, scale: Tensor, bias: Tensor, *, params: Params) -> Tensor:
    """Over as many of the last axes as ``scale`` has."""
    params.integer(0)
    return F.layer_norm(x, scale.shape, scale, bias, params.number(1e-5))


@layer("Normalize")
def normalize(x: Tensor, *, params: Params) -> Tensor:
    """x over its p-norm along the channels; of infinity the largest element, not of its modulus."""
    params.integer(0)
    eps, _, _, p = params.number(1e-12), params.integer(1), params.integer(1), params.integer(2)
    if p == 1:
        return x / x.abs().sum(1, keepdim=True)
    if p == 2:
        return x / x.square().sum(1, keepdim=True).sqrt().clamp_min(eps)
    extreme = x.amax(1, keepdim=True) if p > 0 else x.amin(1, keepdim=True)
    return torch.div(x, extreme)
