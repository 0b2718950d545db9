"""Every lowering against float64 eager PyTorch: one row per form of an op."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export.lowering import ir
from mobile_export.lowering.lower import lower
from mobile_export.lowering.reference import run_graph
from tests.lowering.core_set import CORE
from tests.lowering.graphs import Calls, check, prepared

IMAGE = (1, 6, 8, 10)
TOKENS = (1, 12, 8)
SEED = torch.Generator().manual_seed(7)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=SEED)


def windows(x: torch.Tensor, size: int) -> torch.Tensor:
    """(1, C, H, W) to (windows, C, size, size)."""
    _, c, h, w = x.shape
    x = x.reshape(1, c, h // size, size, w // size, size).permute(0, 2, 4, 1, 3, 5)
    return x.reshape(-1, c, size, size)


def heads(x: torch.Tensor, qkv: nn.Module, count: int) -> tuple[torch.Tensor, ...]:
    """(B, N, C) to q, k, v of (B, count, N, C / count)."""
    b, n, c = x.shape
    return qkv(x).reshape(b, n, 3, count, c // count).permute(2, 0, 3, 1, 4).unbind(0)


def attend(x: torch.Tensor, qkv: nn.Module, count: int = 2, **given: Any) -> torch.Tensor:
    result = F.scaled_dot_product_attention(*heads(x, qkv, count), **given)
    return result.transpose(1, 2).reshape(x.shape)


def halo(x: torch.Tensor, query: nn.Module, both: nn.Module) -> torch.Tensor:
    """Each block of 4x4 pixels attends to itself and one pixel around it (arXiv 2103.12731)."""
    _, c, height, width = x.shape
    q = query(x).reshape(2, c // 2, height // 4, 4, width // 4, 4).permute(0, 1, 3, 5, 2, 4)
    q = q.reshape(2, c // 2, 16, -1).transpose(1, 3)
    padded = F.pad(both(x), (1, 1, 1, 1)).unfold(2, 6, 4).unfold(3, 6, 4)
    kv = padded.reshape(2, c, -1, 36).permute(0, 2, 3, 1)
    k, v = kv.split([c // 2, c // 2], dim=-1)
    result = (q @ k.transpose(-1, -2)).softmax(-1) @ v
    result = result.transpose(1, 3).reshape(-1, 4, 4, height // 4, width // 4)
    return result.permute(0, 3, 1, 4, 2).reshape(1, c, height, width)


def cross_covariance(x: torch.Tensor, qkv: nn.Module) -> torch.Tensor:
    q, k, v = (t.transpose(-2, -1) for t in heads(x, qkv, 2))
    scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
    return (scores.softmax(-1) @ v).permute(0, 3, 1, 2).reshape(x.shape)


def write_row(x: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, :, 1] = 0.5
    return y


def tokens_as_image(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """An image whose channels a linear layer made, so that they lie last."""
    return layer(x.flatten(2).transpose(1, 2)).transpose(1, 2).reshape(1, -1, *x.shape[2:])


PADDED: dict[str, Any] = {
    "image": lambda x, f, c, **given: F.pad(x, (1, 2, 2, 0), **given),
    "columns": lambda x, f, c, **given: F.pad(x.flatten(1, 2), (1, 2), **given),
    "channels last": lambda x, f, c, **given: F.pad(tokens_as_image(x, f), (1, 2, 2, 0), **given),
    "convolved": lambda x, f, c, **given: c(F.pad(tokens_as_image(x, f), (1, 2, 2, 0), **given)),
    "windows": lambda x, f, c, **given: F.pad(windows(x, 2), (1, 1, 0, 1), **given),
    "volume": lambda x, f, c, **given: F.pad(
        x.reshape(1, 2, 3, 8, 10), (1, 0, 2, 2, 1, 1), **given
    ),
    "transposed": lambda x, f, c, **given: F.pad(x.transpose(1, 3), (1, 2, 2, 0), **given),
}

PADDED_PARTS = (nn.Linear(6, 5), nn.Conv2d(5, 4, 3))

ELEMENTWISE: dict[str, Any] = {
    "abs": torch.abs,
    "neg": torch.neg,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log": lambda x: torch.log(x.abs() + 1),
    "log1p": lambda x: torch.log1p(x.abs()),
    "log2": lambda x: torch.log2(x.abs() + 1),
    "log10": lambda x: torch.log10(x.abs() + 1),
    "sqrt": lambda x: torch.sqrt(x.abs()),
    "rsqrt": lambda x: torch.rsqrt(x.abs() + 1),
    "square": torch.square,
    "reciprocal": lambda x: torch.reciprocal(x.abs() + 1),
    "trigonometry": lambda x: torch.sin(x) + torch.cos(x) * torch.atan(x) + torch.tan(x * 0.1),
    "rounding": lambda x: torch.floor(x) + torch.ceil(x) * x.trunc() + torch.round(x),
    "sign": lambda x: torch.sign(x) + torch.erf(x),
    "relu": torch.relu,
    "relu6": lambda x: F.relu6(x * 5),
    "hardtanh": F.hardtanh,
    "clamp": lambda x: x.clamp(-0.5, 0.7) + x.clamp(min=0.1) + x.clamp(max=0.2) + x.clamp_min(0),
    "silu": F.silu,
    "mish": F.mish,
    "gelu": F.gelu,
    "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
    "sigmoid tanh": lambda x: torch.sigmoid(x) * torch.tanh(x),
    "hardswish": lambda x: F.hardswish(x * 3) + F.hardsigmoid(x * 3),
    "leaky relu": lambda x: F.leaky_relu(x, 0.2),
    "elu": lambda x: F.elu(x, 0.7) + F.celu(x, 0.6) + F.selu(x),
    "softplus": lambda x: F.softplus(x, beta=2.0),
    "logsigmoid": F.logsigmoid,
    "scalars": lambda x: (2 - x * 3) / 4 + 1 / (x.abs() + 1) + x**2 + (x.abs() + 1) ** -0.5,
    "powers of zero": lambda x: x.relu() ** 1.7 + x.relu() ** (1 / 3) + x**3 - 0.1 * x**4,
    "powers": lambda x: (x.abs() + 1) ** 1.7 + 2**x + (x.abs() + 1) ** x.tanh(),
    "alpha": lambda x: torch.add(x, x.relu(), alpha=2) - torch.sub(x.sigmoid(), x, alpha=0.5),
    "maximum": lambda x: torch.maximum(x, -x) * torch.minimum(x, x * 2),
    "rounded division": lambda x: torch.div(x, 0.3, rounding_mode="floor"),
    "lerp": lambda x: torch.lerp(x, x.relu(), 0.3),
    "glu": lambda x: F.glu(x, 1),
    "addcmul": lambda x: torch.addcmul(x, x, x.relu(), value=0.5),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise(name: str) -> None:
    check(Calls(ELEMENTWISE[name]), IMAGE)


# function, input shape, submodules and buffers
CASES: dict[str, tuple[Any, tuple[int, ...], tuple[Any, ...]]] = {
    **CORE,
    # broadcasting
    "channel gate": (lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(), IMAGE, ()),
    "row and column gate": (
        lambda x: x * x.mean(2, keepdim=True) + x.mean(3, keepdim=True),
        IMAGE,
        (),
    ),
    "stored per channel": (lambda x, a: x * a + a, IMAGE, (noise(6, 1, 1),)),
    "stored per column": (lambda x, a: a - x / a, IMAGE, (noise(10).abs() + 1,)),
    "stored map": (lambda x, a: a * x, IMAGE, (noise(1, 1, 8, 10),)),
    "outer sum": (lambda x: x.mean(1, keepdim=True)[:, :, :, None] + x[:, :, None], TOKENS, ()),
    "alternating axes": (
        lambda x, a: x.reshape(1, 2, 2, 3, 2, 4, 1) * a,
        (1, 12, 8),
        (noise(2, 1, 3, 1, 4, 1),),
    ),
    "alternating views": (
        lambda x: x.reshape(2, 2, 3, 2, 4) * x.reshape(2, 2, 3, 2, 4).mean((1, 3), keepdim=True),
        (1, 12, 8),
        (),
    ),
    "tokens plus image": (
        lambda x: x.flatten(2).transpose(1, 2).relu() + x.sigmoid().flatten(2).transpose(1, 2),
        IMAGE,
        (),
    ),
    "prelu": (lambda x, f: f(x), IMAGE, (nn.PReLU(6),)),
    "prelu tokens": (lambda x, f: f(x.transpose(1, 2)).transpose(1, 2), TOKENS, (nn.PReLU(8),)),
    # convolution
    "conv": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 5, 3, 2, 1),)),
    "conv grouped": (
        lambda x, f: f(x),
        IMAGE,
        (nn.Conv2d(6, 4, (3, 5), 1, (1, 2), groups=2, bias=False),),
    ),
    "conv dilated": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 6, 3, 1, 2, 2, 6),)),
    "conv same": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 4, 3, padding="same"),)),
    "conv 1x1": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 9, 1),)),
    "conv 1x1 strided": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 9, 1, 2),)),
    "conv 1x1 grouped": (lambda x, f: f(x), IMAGE, (nn.Conv2d(6, 9, 1, groups=3),)),
    "conv1d": (lambda x, f: f(x), TOKENS, (nn.Conv1d(12, 4, 3, 1, 1),)),
    "conv1d of channels": (
        lambda x, f: x * f(x.mean((2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1).sigmoid(),
        IMAGE,
        (nn.Conv1d(1, 1, 3, padding=1),),
    ),
    "conv3d": (lambda x, f: f(x[:, None]), IMAGE, (nn.Conv3d(1, 2, 3, 1, 1),)),
    "conv1d 1x1 of tokens": (lambda x, f: f(x.transpose(1, 2)), TOKENS, (nn.Conv1d(8, 5, 1),)),
    "transposed conv": (lambda x, f: f(x), IMAGE, (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, 2),)),
    "transposed conv1d": (lambda x, f: f(x), TOKENS, (nn.ConvTranspose1d(12, 4, 3, 2, 1),)),
    # a batch that the model makes
    "windows conv": (lambda x, f: f(windows(x, 2)), (1, 6, 4, 6), (nn.Conv2d(6, 5, 3, 1, 1),)),
    "windows conv dense": (
        lambda x, f: f(windows(x, 8)),
        (1, 64, 16, 16),
        (nn.Conv2d(64, 64, 3, 2, 1),),
    ),
    "windows conv dense even": (
        lambda x, f: f(windows(x, 8)),
        (1, 64, 16, 16),
        (nn.Conv2d(64, 64, 2, 2),),
    ),
    "windows depthwise": (
        lambda x, f: f(windows(x, 4)),
        (1, 6, 8, 8),
        (nn.Conv2d(6, 6, 5, 1, 2, groups=6),),
    ),
    "windows 1x1": (lambda x, f: f(windows(x, 2)), IMAGE, (nn.Conv2d(6, 4, 1),)),
    "windows pool": (lambda x: F.max_pool2d(windows(x, 4), 3, 2, 1), (1, 6, 8, 8), ()),
    "windows transposed": (lambda x, f: f(windows(x, 2)), IMAGE, (nn.ConvTranspose2d(6, 3, 2, 2),)),
    "windows group norm": (lambda x, f: f(windows(x, 2)), IMAGE, (nn.GroupNorm(3, 6),)),
    "windows batch norm": (lambda x, f: f(windows(x, 2)), IMAGE, (nn.BatchNorm2d(6),)),
    "frames": (
        lambda x, f: (
            f(x.reshape(1, 2, 3, 8, 10).transpose(1, 2).flatten(0, 1))
            .reshape(1, 3, 4, 8, 10)
            .mean(1)
        ),
        IMAGE,
        (nn.Conv2d(2, 4, 3, 1, 1),),
    ),
    # linear and products
    "linear": (lambda x, f: f(x), TOKENS, (nn.Linear(8, 5),)),
    "linear of vector": (lambda x, f: f(x.mean(1)), TOKENS, (nn.Linear(8, 5),)),
    "linear of image": (lambda x, f: f(x.permute(0, 2, 3, 1)), IMAGE, (nn.Linear(6, 5),)),
    "linear of middle": (
        lambda x, f: f(x.transpose(1, 2)).transpose(1, 2),
        TOKENS,
        (nn.Linear(12, 5),),
    ),
    "linear to one": (lambda x, f: f(x) + x, TOKENS, (nn.Linear(8, 1),)),
    "matmul": (lambda x: x @ x.transpose(1, 2), TOKENS, ()),
    "matmul transposed": (lambda x: x.transpose(1, 2) @ x, TOKENS, ()),
    "matmul shared left": (lambda x: x.mean((0, 2)) @ x.transpose(2, 3), IMAGE, ()),
    "matmul shared right": (lambda x: x @ x.mean((0, 1)).transpose(0, 1), IMAGE, ()),
    "matmul broadcast": (lambda x: x[:, :, None] @ x[:, None].mT, (1, 3, 4, 5), ()),
    "matmul vector": (lambda x: x @ x.mean((0, 1)), TOKENS, ()),
    "matmul stored": (lambda x, a: x @ a, TOKENS, (noise(8, 3),)),
    "matmul stored left": (lambda x, a: a @ x, TOKENS, (noise(3, 12),)),
    "matmul stored batch": (lambda x, a: x @ a, IMAGE, (noise(6, 10, 3),)),
    "addmm": (lambda x, a: torch.addmm(x[0], a, x[0]), (1, 12, 12), (noise(12, 12),)),
    "einsum": (lambda x: torch.einsum("bchw,bcij->bhwij", x, x), (1, 3, 4, 5), ()),
    "weight from image": (lambda x: F.linear(x, x[0]), TOKENS, ()),
    # attention
    "attention": (attend, TOKENS, (nn.Linear(8, 24),)),
    "attention causal": (lambda x, f: attend(x, f, is_causal=True), TOKENS, (nn.Linear(8, 24),)),
    "attention bias": (
        lambda x, f, a: attend(x, f, attn_mask=a),
        TOKENS,
        (nn.Linear(8, 24), noise(1, 2, 12, 12)),
    ),
    "attention mask": (
        lambda x, f, a: attend(x, f, attn_mask=a),
        TOKENS,
        (nn.Linear(8, 24), torch.eye(12) > 0),
    ),
    "window attention": (
        lambda x, f: attend(windows(x, 2).flatten(2).transpose(1, 2), f),
        (1, 8, 4, 6),
        (nn.Linear(8, 24),),
    ),
    "window attention shared bias": (
        lambda x, f, a: attend(windows(x, 2).flatten(2).transpose(1, 2), f, attn_mask=a),
        (1, 8, 4, 6),
        (nn.Linear(8, 24), noise(6, 1, 4, 4)),
    ),
    "cross-covariance": (cross_covariance, TOKENS, (nn.Linear(8, 24),)),
    "multi-head module": (
        lambda x, f: f(x, x, x, need_weights=False)[0],
        TOKENS,
        (nn.MultiheadAttention(8, 2, batch_first=True),),
    ),
    # statistics
    "mean": (lambda x: x.mean((2, 3)), IMAGE, ()),
    "mean of everything": (lambda x: x.mean() + x.sum(1), IMAGE, ()),
    "reduce apart": (lambda x: x.sum((1, 3), keepdim=True) * x.amax(2, keepdim=True), IMAGE, ()),
    "extremes": (lambda x: x.max(1).values + x.amin(1) + x.max(), IMAGE, ()),
    "product": (lambda x: x.prod(1), IMAGE, ()),
    "variance": (
        lambda x: x.var(1) + x.var((1,), unbiased=False) + x.std(1, correction=0),
        IMAGE,
        (),
    ),
    "norm of vectors": (
        lambda x: F.normalize(x, dim=1) + x.norm(dim=(2, 3), keepdim=True),
        IMAGE,
        (),
    ),
    "sum of moduli": (lambda x: torch.linalg.vector_norm(x, 1, 1), IMAGE, ()),
    "softmax channels": (lambda x: x.softmax(1), IMAGE, ()),
    "softmax middle": (lambda x: x.softmax(2), IMAGE, ()),
    "softmax joined": (lambda x: x.flatten(1, 2).softmax(1), IMAGE, ()),
    "log softmax": (lambda x: x.log_softmax(1), IMAGE, ()),
    "argmax": (lambda x: x.argmax(1), IMAGE, ()),
    "argmax keep": (lambda x: x.argmax(-1, keepdim=True), IMAGE, ()),
    "layer norm": (lambda x, f: f(x), TOKENS, (nn.LayerNorm(8),)),
    "layer norm plain": (lambda x, f: f(x), TOKENS, (nn.LayerNorm(8, elementwise_affine=False),)),
    "layer norm without bias": (lambda x, f: f(x), TOKENS, (nn.LayerNorm(8, bias=False),)),
    "layer norm channels": (
        lambda x, f: f(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2),
        IMAGE,
        (nn.LayerNorm(6),),
    ),
    "layer norm several": (lambda x, f: f(x), IMAGE, (nn.LayerNorm((8, 10)),)),
    "group norm": (lambda x, f: f(x), IMAGE, (nn.GroupNorm(2, 6),)),
    "group norm of tokens": (lambda x, f: f(x.transpose(1, 2)), TOKENS, (nn.GroupNorm(1, 8),)),
    "instance norm": (lambda x, f: f(x), IMAGE, (nn.InstanceNorm2d(6, affine=True),)),
    "batch norm": (lambda x, f: f(x), IMAGE, (nn.BatchNorm2d(6),)),
    "batch norm tokens": (lambda x, f: f(x.transpose(1, 2)), TOKENS, (nn.BatchNorm1d(8),)),
    "batch norm vector": (lambda x, f: f(x.mean((2, 3))), IMAGE, (nn.BatchNorm1d(6),)),
    "rms norm": (lambda x, f: f(x), TOKENS, (nn.RMSNorm(8, eps=1e-6),)),
    # pools
    "max pool": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGE, ()),
    "max pool ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), IMAGE, ()),
    "average pool": (lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGE, ()),
    "average pool inside": (lambda x: F.avg_pool2d(x, 3, 1, 1, count_include_pad=False), IMAGE, ()),
    "average pool ceil": (lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True), (1, 6, 7, 9), ()),
    "average pool ceil padded": (
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        (1, 6, 8, 10),
        (),
    ),
    "average pool divisor": (lambda x: F.avg_pool2d(x, 2, divisor_override=3), IMAGE, ()),
    "pool1d": (lambda x: F.avg_pool1d(x, 2) + F.max_pool1d(x, 2), TOKENS, ()),
    "adaptive": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), IMAGE, ()),
    "adaptive divides": (lambda x: F.adaptive_avg_pool2d(x, (4, 5)), IMAGE, ()),
    "adaptive one side": (lambda x: F.adaptive_avg_pool2d(x, (None, 1)), IMAGE, ()),
    "adaptive maximum": (lambda x: F.adaptive_max_pool2d(x, (3, 10)), IMAGE, ()),
    # resizing
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), IMAGE, ()),
    "nearest to size": (lambda x: F.interpolate(x, (5, 13)), IMAGE, ()),
    "nearest exact": (lambda x: F.interpolate(x, (5, 13), mode="nearest-exact"), IMAGE, ()),
    "bilinear": (lambda x: F.interpolate(x, (13, 7), mode="bilinear"), IMAGE, ()),
    "bilinear corners": (
        lambda x: F.interpolate(x, (13, 7), mode="bilinear", align_corners=True),
        IMAGE,
        (),
    ),
    "bilinear odd factor": (
        lambda x: F.interpolate(x, scale_factor=1.3, mode="bilinear"),
        IMAGE,
        (),
    ),
    "bilinear smooth": (
        lambda x: F.interpolate(x, (4, 4), mode="bilinear", antialias=True),
        IMAGE,
        (),
    ),
    "bicubic": (lambda x: F.interpolate(x, (13, 7), mode="bicubic"), IMAGE, ()),
    "bicubic corners": (
        lambda x: F.interpolate(x, (13, 7), mode="bicubic", align_corners=True),
        IMAGE,
        (),
    ),
    # movement
    "pixel shuffle": (lambda x, f: F.pixel_shuffle(f(x), 2), IMAGE, (nn.Conv2d(6, 8, 1),)),
    "pixel unshuffle": (
        lambda x, f: f(F.pixel_unshuffle(x, 2)),
        IMAGE,
        (nn.Conv2d(24, 4, 3, 1, 1),),
    ),
    "channel shuffle": (lambda x: F.channel_shuffle(x, 3), IMAGE, ()),
    "focus": (
        lambda x: torch.cat([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)], 1),
        IMAGE,
        (),
    ),
    "slices": (lambda x: x[:, 1:5:2, 2:, :-1] + x[:, 2:4, :6, 1:], IMAGE, ()),
    "slice used twice": (lambda x: (y := x[:, 1:, 1:6:2]) * y.relu(), IMAGE, ()),
    "split": (lambda x: torch.cat([t.relu() for t in x.chunk(3, 1)][::-1], 1), IMAGE, ()),
    "class token": (lambda x, a: torch.cat([a, x], 1)[:, 0], TOKENS, (noise(1, 1, 8),)),
    "join layouts": (
        lambda x: torch.cat([x.flatten(2).transpose(1, 2), x.flatten(2).transpose(1, 2).relu()], 1),
        IMAGE,
        (),
    ),
    "join apart": (
        lambda x: torch.cat(
            [x.reshape(1, 2, 3, 80).transpose(1, 2).reshape(1, 6, 80), x.flatten(2)], 2
        ),
        IMAGE,
        (),
    ),
    "stack": (lambda x: torch.stack([x, x.relu()], 2).flatten(1, 2), IMAGE, ()),
    "expand": (
        lambda x: x.mean(1, keepdim=True).expand(-1, 4, -1, -1).reshape(1, 8, 4, 10),
        IMAGE,
        (),
    ),
    "repeat": (lambda x: x.repeat(2, 3, 1, 2).sum(0), IMAGE, ()),
    "repeat interleave": (lambda x: x.repeat_interleave(3, 1), IMAGE, ()),
    "pad": (lambda x: F.pad(x, (1, 2, 0, 3, 1, 0), value=0.5), IMAGE, ()),
    "pad an axis that lies in two parts": (
        lambda x: F.pad(x.permute(0, 1, 3, 2).reshape(1, 8, 5), (0, 0, 1, 2)),
        (1, 2, 5, 4),
        (),
    ),
    "pad and cut": (lambda x: F.pad(x, (-1, 2, 1, -3)), IMAGE, ()),
    "pad tokens": (lambda x: F.pad(x.transpose(1, 2), (0, 4)).transpose(1, 2), TOKENS, ()),
    **{
        f"pad {what} {mode}": (functools.partial(padded, mode=mode), IMAGE, PADDED_PARTS)
        for what, padded in PADDED.items()
        for mode in ("constant", "reflect", "replicate")
    },
    "pad one column": (lambda x: F.pad(x[..., :1], (2, 1, 1, 1), mode="replicate"), IMAGE, ()),
    "roll": (lambda x: x.roll((-1, 3), (2, 3)), IMAGE, ()),
    "roll of windows": (lambda x: windows(x.roll((-1, -1), (2, 3)), 2), IMAGE, ()),
    "flip": (lambda x: x.flip(2, 3), IMAGE, ()),
    "flip long": (lambda x: x.flip(1), TOKENS, ()),
    "index": (lambda x: x[:, [3, 1, 2, 0, 5]], IMAGE, ()),
    "index table": (lambda x, a: x[:, a], TOKENS, (torch.arange(12).reshape(3, 4).T.contiguous(),)),
    "index select": (lambda x, a: x.index_select(2, a), IMAGE, (torch.tensor([0, 2, 4, 6]),)),
    "unfold": (lambda x: F.unfold(x, 3, padding=1, stride=2), IMAGE, ()),
    "unfold dilated": (lambda x: F.unfold(x, 2, dilation=2), IMAGE, ()),
    "fold": (
        lambda x: F.fold(F.unfold(x, 3, padding=1, stride=2).relu(), (8, 10), 3, 1, 1, 2),
        IMAGE,
        (),
    ),
    "halo": (lambda x: x.unfold(2, 4, 2).unfold(3, 4, 2), IMAGE, ()),
    "halo attention": (halo, (1, 6, 8, 8), (nn.Conv2d(6, 6, 1), nn.Conv2d(6, 12, 1))),
    "blocks": (lambda x: x.unfold(2, 4, 4).unfold(3, 5, 5), IMAGE, ()),
    "no batch": (lambda x: x[0].transpose(0, 1), IMAGE, ()),
    "scalar": (lambda x: x.mean(), IMAGE, ()),
    "input itself": (lambda x: (x, x.transpose(1, 2)), TOKENS, ()),
    "constant output": (lambda x, a: (x.relu(), a * 2), TOKENS, (noise(1, 3),)),
    "constant output without batch": (lambda x, a: (x.relu(), a), TOKENS, (noise(4, 3, 2, 2),)),
    "constant output of rank 5": (lambda x, a: (x.relu(), a), TOKENS, (noise(2, 3, 2, 2, 2),)),
    "computed of stored tensors": (  # too large for `fold_constants`
        lambda x, f, a: x * f(a.expand(-1, -1, 512, -1) * 2).mean(),
        IMAGE,
        (nn.Conv2d(1, 1, 1), noise(1, 1, 1, 256)),
    ),
    # masks
    "where of a stored NaN": (
        lambda x: torch.where(torch.tensor(False), torch.tensor(float("nan")), x),
        IMAGE,
        (),
    ),
    "where of a number without an axis": (
        lambda x, a: torch.where(a, x.mean(), torch.zeros(())),
        IMAGE,
        (torch.tensor(True),),
    ),
    "isfinite of no numbers": (lambda x: torch.isfinite(x.log() / x.relu()).float(), IMAGE, ()),
    "where": (lambda x, a: torch.where(a, x, x.relu() * 2), IMAGE, (torch.arange(10) % 3 > 0,)),
    "masked fill": (
        lambda x, a: x.masked_fill(a, -float("inf")).softmax(-1),
        IMAGE,
        (torch.arange(10) % 3 > 0,),
    ),
    "like": (lambda x: x + torch.ones_like(x) * 2 - x.new_zeros(1), IMAGE, ()),
    "write in place": (write_row, IMAGE, ()),
    "cumsum": (lambda x: x.cumsum(2), IMAGE, ()),
    # computed indices
    "gather at a computed index": (
        lambda x: x.gather(2, x[:, :4, :3].argmax(1, keepdim=True).expand(1, 4, 3, 10)),
        IMAGE,
        (),
    ),
    "gather of one axis": (lambda x: x[0, 0].gather(1, x[0, 1, :, :3].argsort(1)), IMAGE, ()),
    "index select at a computed index": (
        lambda x: x.index_select(3, x[0, :, :, 0].argmax(0)),
        IMAGE,
        (),
    ),
    # recurrent
    "lstm": (lambda x, f: f(x)[0], (1, 4, 8), (nn.LSTM(8, 5, batch_first=True),)),
    "lstm both ways": (
        lambda x, f: (f(x)[0], *f(x)[1]),
        (1, 4, 8),
        (nn.LSTM(8, 5, 2, bidirectional=True, batch_first=True),),
    ),
    "lstm of rows": (
        lambda x, f: f(x.permute(0, 2, 3, 1).reshape(8, 10, 6))[0],
        IMAGE,
        (nn.LSTM(6, 4, bias=False),),
    ),
}


@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("channels", [6, 9])
def test_sampling_at_computed_places(padding_mode: str, align_corners: bool, channels: int) -> None:
    """Places inside, between the pixels and up to 1.5 sizes outside; by axes, and by pixels."""

    def sample(x: torch.Tensor) -> torch.Tensor:
        grid = 1.5 * x[:, :2].permute(0, 2, 3, 1).tanh()
        return F.grid_sample(x, grid, "bilinear", padding_mode, align_corners)

    check(Calls(sample), (1, channels, 8, 10))


def test_sampling_of_a_volume_at_computed_places() -> None:
    def sample(x: torch.Tensor) -> torch.Tensor:
        x = x.reshape(1, 4, 3, 4, 5)
        return F.grid_sample(x, x[:, :3].permute(0, 2, 3, 4, 1), align_corners=False)

    check(Calls(sample), (1, 12, 4, 5))


def test_sampling_of_several_images_in_the_batch_at_computed_places() -> None:
    """As a deformable convolution has it: groups of channels with places of their own."""

    def sample(x: torch.Tensor) -> torch.Tensor:
        grid = x[:, :4].reshape(2, 2, 8, 10).permute(0, 2, 3, 1)
        return F.grid_sample(x.reshape(2, 3, 8, 10), grid, align_corners=False)

    check(Calls(sample), (1, 6, 8, 10))


@pytest.mark.parametrize("name", CASES)
def test_case(name: str) -> None:
    function, shape, parts = CASES[name]
    torch.manual_seed(0)
    check(Calls(function, *parts), shape)


def test_an_image_is_moved_before_its_padding_grows_it() -> None:
    module = Calls(functools.partial(PADDED["convolved"], mode="reflect"), *PADDED_PARTS)
    layers = check(module, IMAGE).layers
    place = next(i for i, layer in enumerate(layers) if isinstance(layer, ir.Pad))
    assert layers[place].output.shape == (5, 10, 13)
    assert [layer.kind for layer in layers[place:]] == ["Pad", "Convolution"]


@pytest.mark.parametrize("size", [2048, 2100])
def test_a_long_row_of_large_values_is_sorted(size: int) -> None:
    """By a network; a row whose size is no power of two is filled up with its own largest."""

    def ordered(x: torch.Tensor) -> torch.Tensor:
        return (x * 1e6).sort(2)[0]

    check(Calls(ordered), (1, 1, size, 1))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0.5, torch.nan, x),
        lambda x: torch.where(x > 0.5, x, torch.tensor([1.0, torch.nan]).repeat(5)),
        lambda x: x.masked_fill(x > 0.5, torch.nan),
    ],
)
def test_no_number_where_it_is_chosen(function: Any) -> None:
    """0 · NaN would be NaN everywhere."""
    x = torch.randn(IMAGE, generator=torch.Generator().manual_seed(0)).double()
    [found] = run_graph(lower(prepared(Calls(function), IMAGE)), x.numpy())
    wanted = function(x).numpy()
    assert 0 < np.isnan(wanted).sum() < wanted.size
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
