"""Small models of the kind that public reports have, in every format.

Each joins a few operators that converters treat as rare. Right is the original module in float64.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export import api
from mobile_export.exporters.table import FORMATS

Many = tuple[torch.Tensor, ...]


class Stem(nn.Module):
    """A convolution to 8 channels of half the size, in front of what is tried."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)


class Bounded(Stem):
    """Integers of 16 bits with bounds, as fixed-point code has them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = sum((x > edge).to(torch.int16) * 90 for edge in (-1.0, 0.25, 1.0))
        return self.stem(x).mean() + (steps - 100).clamp(-50, 120).float() / 64


class Bag(Stem):
    """Bags of table rows; the table is made of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("index", torch.arange(40) * 7 % 16)
        self.register_buffer("lengths", torch.tensor([5, 0, 9, 12, 14]))

    def forward(self, x: torch.Tensor) -> Many:
        table = self.stem(x)[0].flatten(1).reshape(16, -1)
        offsets = self.lengths.cumsum(0) - self.lengths
        return tuple(
            F.embedding_bag(self.index, table, offsets, mode=mode)
            for mode in ("sum", "mean", "max")
        )


class Volume(Stem):
    """Convolutions and pools of three axes."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv3d(4, 6, 3, padding=1)
        self.b = nn.Conv3d(6, 6, (1, 3, 3), stride=(1, 2, 2), groups=2)
        self.norm, self.head = nn.BatchNorm3d(6), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).reshape(1, 4, 2, 16, 16)
        x = F.max_pool3d(F.elu(self.norm(self.a(x))), (1, 2, 2))
        return self.head(self.b(x).mean((2, 3, 4)))


class Turned(Stem):
    """Rolled, and pixels to channels and back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).roll((3, -2), (2, 3))
        x = F.pixel_unshuffle(x, 4).roll(5, 1)
        return F.pixel_shuffle(x.sigmoid(), 2)


class Truth(Stem):
    """Gives truth values and places by them."""

    def forward(self, x: torch.Tensor) -> Many:
        coarse = torch.sign(x[:, :1]) > 0
        same = coarse ^ coarse.flip(3)
        return coarse, same.any(2), self.stem(x).mean((2, 3))


class Flow(Stem):
    """Optical flow: what is sampled where a flow of pixels leads, and whether that is inside."""

    def __init__(self) -> None:
        super().__init__()
        self.flow = nn.Conv2d(8, 2, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Many:
        x = self.stem(x)
        height, width = x.shape[2:]
        rows, columns = torch.arange(height), torch.arange(width)
        places = torch.stack(torch.meshgrid(columns, rows, indexing="xy")).to(x.dtype)
        places = places + 3 * self.flow(x)
        scaled = torch.stack(
            [2 * places[:, 0] / (width - 1) - 1, 2 * places[:, 1] / (height - 1) - 1], -1
        )
        warped = F.grid_sample(x, scaled, align_corners=True)
        mirrored = F.grid_sample(x, scaled, padding_mode="reflection", align_corners=True)
        return warped, mirrored, F.grid_sample(x, scaled, "bicubic", "border", align_corners=True)


class Masked(Stem):
    """Filled by a comparison, counted, and ordered."""

    def forward(self, x: torch.Tensor) -> Many:
        x = self.stem(x)
        kept = x.masked_fill(x.abs() < 0.05, 0.0).clamp(max=0.8)
        return kept.amax((2, 3)).sort(1).values, torch.where(x > 0, x, x.exp() - 1).mean((2, 3))


class Relative(Stem):
    """Attention with a table of relative positions and heads, as Swin has."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(2 * 16 - 1, 2) * 0.2)
        place = torch.arange(16)
        self.register_buffer("places", place[:, None] - place + 15)
        self.qkv = nn.Linear(8, 24)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = F.avg_pool2d(self.stem(x), 4).flatten(2).mT
        q, k, v = self.qkv(tokens).reshape(1, 16, 3, 2, 4).permute(2, 0, 3, 1, 4)
        bias = self.table[self.places.flatten()].reshape(16, 16, 2).permute(2, 0, 1)
        mixed = ((q @ k.mT) * 0.5 + bias).softmax(-1) @ v
        return mixed.transpose(1, 2).flatten(2)


class Focal(Stem):
    """Slices in steps, joined, of YOLO's old stem; a stride that does not divide."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)]
        joined = torch.cat(parts, 1)
        return self.stem(joined[:, 2:5])[..., 1::3]


class Gated(nn.Module):
    """A recurrent cell by hand over rows."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(96, 12), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = x.new_zeros(1, 12)
        for row in x.permute(0, 2, 1, 3).flatten(2).unbind(1)[::4]:
            state = self.cell(row, state)
        return self.head(state)


class Normed(Stem):
    """Four norms in a row, one of them over height and width."""

    def __init__(self) -> None:
        super().__init__()
        self.group, self.one = nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True)
        self.layer, self.local = nn.LayerNorm((8, 16, 16)), nn.LocalResponseNorm(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.local(self.group(self.stem(x)).relu())
        return F.normalize(self.layer(self.one(x)), dim=1)


class Heat(Stem):
    """The expected place of a heat map: a softmax over an image, and its moments."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heat = (5 * self.stem(x)).flatten(2).softmax(-1).unflatten(2, (16, 16))
        line = torch.linspace(-1, 1, 16).to(x.dtype)
        return torch.stack([(heat.sum(2) * line).sum(-1), (heat.sum(3) * line).sum(-1)], -1)


class Sines(Stem):
    """A positional code of computed phases."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phase = self.stem(x).mean((2, 3))[..., None] * math.pi * 2.0 ** torch.arange(4)
        return torch.cat([phase.sin(), phase.cos()], -1).flatten(1)


class Unfolded(Stem):
    """Windows as columns, weighted by computed numbers, and put back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        columns = F.unfold(x, 3, padding=1, stride=2)
        weights = columns.reshape(1, 8, 9, -1).softmax(2).flatten(1, 2)
        return F.fold(columns * weights, (16, 16), 3, padding=1, stride=2)


class Dynamic(Stem):
    """Weights of a 1x1 convolution that the image makes, as a product."""

    def __init__(self) -> None:
        super().__init__()
        self.make = nn.Linear(8, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        weights = self.make(x.mean((2, 3))).reshape(1, 8, 8).tanh()
        return torch.einsum("bchw,boc->bohw", x, weights)


class Integral(Stem):
    """Sums of all rectangles, by running sums and differences."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = F.pad(self.stem(x).cumsum(2).cumsum(3), (1, 0, 1, 0))
        size = 5
        low, high = total[..., :-size], total[..., size:]
        return (high[..., size:, :] - high[..., :-size, :] - low[..., size:, :]
                + low[..., :-size, :]) / size**2  # fmt: skip


class Scattered(Stem):
    """Rows written to stored places, some of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.tensor([3, 1, 3, 0, 6, 1, 1, 7]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).mean(3)
        return torch.zeros_like(x).index_add(1, self.places, x) + x.index_copy(
            1, self.places[:2], x[:, :2] * 2
        )


class Anchored(Stem):
    """A detector's decoding: boxes of offsets from a stored grid, exponentials and a best class."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(8, 9, 1)

    def forward(self, x: torch.Tensor) -> Many:
        x = self.head(F.max_pool2d(self.stem(x), 2)).flatten(2).mT
        cells = torch.cartesian_prod(torch.arange(8), torch.arange(8)).to(x.dtype)
        centre, size = (x[..., :2].sigmoid() + cells) * 4, x[..., 2:4].clamp(max=4).exp() * 8
        best = x[..., 4:].softmax(-1).max(-1)
        return torch.cat([centre - size / 2, centre + size / 2], -1), best.values


class Complex(Stem):
    """A rotation by computed angles, as products of two parts each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        real, imaginary = x.chunk(2, 1)
        angle = x.mean((1, 2, 3), keepdim=True) * 3
        cos, sin = angle.cos(), angle.sin()
        turned = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], 2)
        return torch.linalg.vector_norm(turned, dim=2) + turned.flatten(1, 2).logsumexp(1, True)


class Dilated(Stem):
    """Dilated pools and transposed convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 8, 3, 2, 1, groups=4, dilation=2)
        self.pool = nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.up(self.stem(x)))


class Bits(Stem):
    """Codes of eight neighbours: a local binary pattern."""

    def forward(self, x: torch.Tensor) -> Many:
        steps = sum((x > edge).to(torch.uint8) * 40 for edge in (-1.2, -0.4, 0.3, 1.1))
        code = ((steps + steps) ^ 0x55) & 0x7E
        return (code >> 2).float() / 16, self.stem(x).mean((2, 3))


class Resized(Stem):
    """Four ways to resize, to sizes that no factor gives."""

    def forward(self, x: torch.Tensor) -> Many:
        x = self.stem(x)
        return (
            F.interpolate(x, (11, 23), mode="bicubic", align_corners=True),
            F.interpolate(x, (23, 9), mode="nearest-exact"),
            F.interpolate(x, (7, 7), mode="bilinear", antialias=True),
            F.interpolate(x, size=(21, 21), mode="area"),
        )


class Shared(Stem):
    """One layer called three times, its output also an input of the next."""

    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate")

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        found = {}
        for step in range(3):
            x = x + F.hardswish(self.again(x))
            found[f"step{step}"] = x.mean((2, 3))
        return found


class Cosine(Stem):
    """Similarities of all pairs of places, the three largest of each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = F.normalize(F.avg_pool2d(self.stem(x), 4).flatten(2), dim=1)
        return (tokens.mT @ tokens).topk(3, -1).values


NETWORKS = (
    Bounded, Bag, Volume, Turned, Truth, Flow, Masked, Relative, Focal, Gated, Normed, Heat, Sines,
    Unfolded, Dynamic, Integral, Scattered, Anchored, Complex, Dilated, Bits, Resized, Shared,
    Cosine,
)  # fmt: skip

LACKS = {Volume: "tnn"}
"""TNN convolves along three axes on its reference device only, and is refused by name."""

JUMPS = {Bounded, Bits, Truth}
"""Comparisons, which float16 may decide otherwise: their Core ML files are of float32."""


ALWAYS = {Bag, Bits, Dilated, Flow, Turned}
"""The others are of the matrix."""


@pytest.mark.parametrize(
    "kind",
    [each if each in ALWAYS else pytest.param(each, marks=pytest.mark.matrix) for each in NETWORKS],
)
@pytest.mark.parametrize(
    "formats", [("onnx", "ncnn", "tnn"), ("coreml",), ("tflite",)], ids="-".join
)
def test_every_format_takes_it(
    kind: type[nn.Module], formats: tuple[str, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    taken = [row for row in FORMATS if row.name in formats and not row.missing()]
    wanted = [row.name for row in taken if LACKS.get(kind) != row.name]
    if not wanted:
        pytest.skip("no library of these formats")
    precision = "fp32" if kind in JUMPS and "coreml" in formats else None
    report = api.export(kind().eval(), wanted, tmp_path, name="net", size=32, precision=precision)
    assert {failure.format: failure.error.message for failure in report.failures} == {}
    assert {each.format: each.parity.status for each in report.artifacts} == dict.fromkeys(
        wanted, "passed"
    )


@pytest.mark.parametrize("name", ["onnx", "coreml", "tflite"])
@pytest.mark.parametrize("kind", [Turned, pytest.param(Dilated, marks=pytest.mark.matrix), Resized])
def test_two_images_at_once(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    report = api.export(kind().eval(), [name], tmp_path, name="net", size=32, batch=2)
    assert [each.parity.status for each in report.artifacts] == ["passed"]
