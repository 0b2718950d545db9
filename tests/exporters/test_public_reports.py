"""Networks of public reports, in every format.

Each is small and written anew in the spirit of a report that some converter failed at; the tracker
and number stand behind it. Right is the original module in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from mobile_export import api
from mobile_export.exporters.table import FORMATS


class Swish(torch.autograd.Function):
    """With a backward pass of its own, as networks that save memory have it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        sigmoid = torch.sigmoid(x)
        return gradient * sigmoid * (1 + x * (1 - sigmoid))


class Parametrised(nn.Module):
    """EfficientNet-PyTorch 91, with spectral and weight norm in their new and old forms."""

    def __init__(self) -> None:
        super().__init__()
        self.a = parametrizations.spectral_norm(nn.Conv2d(3, 8, 3, 2, 1))
        self.b = parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1))
        self.c = nn.utils.spectral_norm(nn.Conv2d(8, 8, 1))
        self.head = nn.utils.weight_norm(nn.Linear(8, 5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.a, self.b, self.c):
            x = Swish.apply(layer(x))
        return self.head(x.mean((2, 3)))


class Probe(nn.Module):
    """coremltools 2311: SigLIP's pooling, whose query is a stored vector."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.probe = nn.Parameter(torch.randn(1, 1, 32))
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)
        self.norm = nn.LayerNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(approximate="tanh"), nn.Linear(64, 32))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        pooled, weights = self.attention(self.probe.repeat(x.shape[0], 1, 1), tokens, tokens)
        pooled = (pooled + self.mlp(self.norm(pooled)))[:, 0]
        return pooled / pooled.norm(dim=-1, keepdim=True), weights


class Rotary(nn.Module):
    """timm 2594: DINOv3's rotary table, split in two; prefix tokens are not rotated."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, 3, 32))
        self.norm = nn.LayerNorm(32)
        self.qkv = nn.Linear(32, 96)
        self.out = nn.Linear(32, 7)

    @staticmethod
    def table(height: int, width: int) -> torch.Tensor:
        y, x = ((torch.arange(n) + 0.5) / n * 2 - 1 for n in (height, width))
        places = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).flatten(0, 1)
        angles = (6.2831853 * places[:, :, None] / 100.0 ** (torch.arange(2) / 2)).flatten(1)
        angles = angles.repeat_interleave(2, -1)
        return torch.cat([angles.sin(), angles.cos()], -1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = self.patches(x)
        tokens = torch.cat([self.prefix.expand(x.shape[0], -1, -1), grid.flatten(2).mT], 1)
        q, k, v = self.qkv(self.norm(tokens)).reshape(1, -1, 3, 4, 8).permute(2, 0, 3, 1, 4)
        sine, cosine = self.table(*grid.shape[2:]).to(x.dtype).tensor_split(2, -1)

        def turned(z: torch.Tensor) -> torch.Tensor:
            whole, part = z[:, :, :3], z[:, :, 3:]
            half = torch.stack([-part[..., 1::2], part[..., ::2]], -1).reshape(part.shape)
            return torch.cat([whole, part * cosine + half * sine], 2)

        mixed = F.scaled_dot_product_attention(turned(q), turned(k), v)
        return self.out(mixed.transpose(1, 2).reshape(1, -1, 32).mean(1))


class ScaleNorm(nn.Module):
    """A vector over its length."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale = size**-0.5
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        length = torch.norm(x, dim=2, keepdim=True) * self.scale
        return x / length.clamp(min=1e-5) * self.gain


class GatedAttention(nn.Module):
    """mmdeploy 2079: RTMPose's head, two outputs for the two coordinates of 17 joints."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 4, 1), nn.SiLU(), nn.Conv2d(16, 17, 7, 2, 3))
        self.before = nn.Sequential(ScaleNorm(16), nn.Linear(16, 24, bias=False), ScaleNorm(24))
        self.uv = nn.Linear(24, 112, bias=False)
        self.gamma, self.beta = (nn.Parameter(torch.rand(2, 16)) for _ in range(2))
        self.bias = nn.Parameter(torch.rand(33))
        self.out = nn.Linear(48, 24, bias=False)
        self.x, self.y = nn.Linear(24, 96, bias=False), nn.Linear(24, 128, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = self.before(self.stem(x).flatten(2))
        u, v, base = torch.split(F.silu(self.uv(tokens)), [48, 48, 16], dim=2)
        q, k = torch.unbind(base.unsqueeze(2) * self.gamma[None, None] + self.beta, dim=2)
        places = torch.arange(17)
        scores = torch.einsum("bnd,bmd->bnm", q, k)
        scores = scores + self.bias[(places[:, None] - places[None]) + 16]
        mixed = u * torch.bmm(torch.square(F.relu(scores / 4)), v)
        tokens = tokens + self.out(mixed)
        return self.x(tokens), self.y(tokens)


class ResponseNorm(nn.Module):
    """onnx2tf 742: ConvNeXt V2's global response norm, behind a normalisation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 16, 4, 4)
        self.depthwise = nn.Conv2d(16, 16, 7, padding=3, groups=16)
        self.norm = nn.LayerNorm(16)
        self.widen, self.narrow = nn.Linear(16, 64), nn.Linear(64, 16)
        self.gain, self.bias = (nn.Parameter(torch.randn(64) * 0.1) for _ in range(2))
        self.head = nn.Linear(16, 2)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.stem((image.to(self.mean.dtype) / 255 - self.mean) / 0.225)
        y = F.gelu(self.widen(self.norm(self.depthwise(x).permute(0, 2, 3, 1))))
        size = y.norm(p=2, dim=(1, 2), keepdim=True)
        y = y + self.gain * (y * (size / (size.mean(-1, keepdim=True) + 1e-6))) + self.bias
        x = x + self.narrow(y).permute(0, 3, 1, 2)
        return self.head(x.mean((2, 3))).softmax(-1)


@pytest.mark.parametrize("kind", [Parametrised, Probe, Rotary, GatedAttention])
def test_every_format_takes_it(kind: type[nn.Module], tmp_path: Path) -> None:
    check(kind, tmp_path)


def test_pixels_that_the_model_normalises(tmp_path: Path) -> None:
    check(ResponseNorm, tmp_path, mean=(0.0,), std=(1 / 255,))


def check(kind: type[nn.Module], folder: Path, **options: Any) -> None:
    torch.manual_seed(0)
    formats = [row.name for row in FORMATS if not row.missing()]
    report = api.export(kind().eval(), formats, folder, name="net", size=32, **options)
    assert {failure.format: failure.error.message for failure in report.failures} == {}
    status = {each.format: (each.parity.status, each.parity.notes) for each in report.artifacts}
    assert {name: found for name, found in status.items() if found[0] != "passed"} == {}
    assert set(status) == set(formats)
