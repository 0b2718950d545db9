"""Operators of public reports inside small networks, in every format.

Each network is written anew in the spirit of reports that some converter failed at; trackers and
numbers stand behind it. Right is the original module in float64.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mobile_export import api
from mobile_export.exporters.table import FORMATS

TITLES = {row.name: row.title for row in FORMATS}


class Padded(nn.Module):
    """pytorch 86690, executorch 20517: circular padding of two sides, "same" of even kernels."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 6, (3, 5), padding=(1, 2), padding_mode="circular")
        self.b = nn.Conv2d(6, 6, (4, 2), padding="same", dilation=(3, 1), groups=6)
        self.c = nn.Conv2d(6, 4, 2, padding="same", padding_mode="reflect")
        self.d = nn.Conv1d(4, 5, 4, padding="same")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.pad(self.a(x).relu(), (3, 1, 0, 2), mode="circular")
        return self.d(self.c(self.b(x).relu()).flatten(2))


class Pooled(nn.Module):
    """coremltools 1901 and 2745, pytorch 177138: windows that do not divide the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.large, self.past = nn.AvgPool2d(7, 4, 3), nn.AvgPool2d(3, 2, 1, ceil_mode=True)
        self.mean, self.most = nn.AdaptiveAvgPool2d((6, 1)), nn.AdaptiveMaxPool2d((5, 7))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        fixed = F.avg_pool2d(x, 3, 2, 1, divisor_override=4)
        smooth = F.interpolate(x, size=(12, 10), mode="bicubic", antialias=True)
        return self.large(x), self.past(x), self.mean(x), self.most(x), fixed, smooth


class Widened(nn.Module):
    """onnxruntime 14208, litert-torch 604 and 316: transposed convolutions with output padding,
    dilated, in groups; coremltools 9.0: more output padding than padding."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.a = nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8, bias=False)
        self.b = nn.ConvTranspose2d(8, 4, (1, 5), (1, 2), (0, 2), groups=2)
        self.c = nn.ConvTranspose2d(8, 3, 2, 1, 3, output_padding=1, dilation=2)
        self.d = nn.ConvTranspose2d(8, 4, (3, 4), (2, 3), (1, 0), output_padding=(1, 2), groups=4)
        self.e = nn.ConvTranspose2d(8, 4, 3, 2, output_padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = self.a(self.stem(x))
        return self.b(y), self.c(y), self.d(y), self.e(y)


class Turned(nn.Module):
    """litert-torch 305, coremltools 1065: a power of five axes, distances, values in order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = self.stem(x)
        power = x.sigmoid().reshape(1, 2, 4, 8, 8).pow(2.5).mean(1)
        rows = x.flatten(2).mT
        largest = x.flatten(2).amax(1).topk(5).values
        upper = torch.triu_indices(8, 8, 1)
        products = (rows.mT @ rows)[:, upper[0], upper[1]]
        turned = torch.roll(x, (-1, 2), (2, 3)) + torch.rot90(x, 2, (2, 3)) + x.tril()
        return power, torch.cdist(rows, rows[:, :5]), largest, products, turned


class Modulated(nn.Module):
    """litert-torch 678: StyleGAN's convolution and its transpose, with computed weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.weight, self.style = nn.Parameter(torch.randn(6, 8, 3, 3) * 0.1), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.leaky_relu(self.stem(x), 0.2)
        weight = self.weight * self.style(x.mean((2, 3))).view(1, 8, 1, 1)
        weight = weight * torch.rsqrt(weight.pow(2).sum((1, 2, 3), keepdim=True) + 1e-8)
        x = F.conv2d(x, weight, padding=1)
        return F.conv_transpose2d(x, weight, stride=2, padding=1, output_padding=1)


NETWORKS = (Padded, Pooled, Widened, Turned, Modulated)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    "formats", [("onnx", "ncnn", "tnn"), ("coreml",), ("tflite",)], ids="-".join
)
def test_every_format_takes_it(
    kind: type[nn.Module], formats: tuple[str, ...], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    wanted = [row.name for row in FORMATS if row.name in formats and not row.missing()]
    if not wanted:
        pytest.skip("no library of these formats")
    report = api.export(kind().eval(), wanted, tmp_path, name="net", size=32)
    assert {failure.format: failure.error.message for failure in report.failures} == {}
    assert {each.format: each.parity.status for each in report.artifacts} == dict.fromkeys(
        wanted, "passed"
    )


class OwnVolumeFilters(nn.Module):
    """A convolution along three axes, whose weights are computed from the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 4, 1)
        self.weight = nn.Parameter(torch.randn(2, 1, 2, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return F.conv3d(x[:, None], self.weight * x.mean(), padding=1)


def test_what_is_refused_is_named_with_its_line(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = [
        row.name for row in FORMATS if row.name in ("onnx", "ncnn", "tnn") and not row.missing()
    ]
    if "onnx" not in wanted or len(wanted) < 2:
        pytest.skip("no format that takes it, or none that refuses")
    report = api.export(OwnVolumeFilters().eval(), wanted, tmp_path, name="net", size=32)
    assert {each.format: each.parity.status for each in report.artifacts} == {"onnx": "passed"}
    for failure in report.failures:
        assert "aten.conv3d" in failure.error.message
        assert "test_reported_operators.py" in failure.error.message
        assert f"Written and right in this run: {TITLES['onnx']}." in str(failure.error.hint)
