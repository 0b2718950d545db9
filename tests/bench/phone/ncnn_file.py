"""A small ncnn model written by hand, with the PyTorch module that it must equal."""

from __future__ import annotations

import copy
import struct
from pathlib import Path

import torch
from torch import nn

from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.expected import seeded_input
from mobile_export.bench.files import BenchArtifact
from tests.bench.examples import make_manifest

__all__ = ["SHAPE", "make_artifact", "make_module"]

SHAPE = (1, 3, 16, 16)
_PARAM = """\
7767517
5 5
Input image 0 1 image
Convolution conv 1 1 image conv 0=8 1=3 2=1 3=2 4=1 5=1 6=216
ReLU relu 1 1 conv relu
Pooling pool 1 1 relu pool 0=1 4=1
InnerProduct fc 1 1 pool logits 0=10 1=1 2=80
"""


def make_module() -> nn.Module:
    """Strided convolution, ReLU, mean, classifier."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10)
    ).eval()


def make_artifact(folder: Path, module: nn.Module) -> BenchArtifact:
    """``tiny.param`` and ``tiny.bin``, as ncnn's wiki has it ("param and model file structure")."""
    conv, fc = module[0], module[4]
    weights = b"".join(
        struct.pack("<I", 0) + _raw(layer.weight) + _raw(layer.bias) for layer in (conv, fc)
    )
    param, binary = folder / "tiny.param", folder / "tiny.bin"
    param.write_text(_PARAM)
    binary.write_bytes(weights)
    image = seeded_input(SHAPE, 0)
    with torch.no_grad():
        logits = copy.deepcopy(module).double()(torch.from_numpy(image).double()).numpy()
    companion = {"file": binary.name, "sha256": sha256_of(binary)}
    manifest = make_manifest(
        param, image, {"logits": logits}, format="ncnn", companions=[companion]
    )
    return BenchArtifact(param, (param, binary), manifest)


def _raw(values: torch.Tensor) -> bytes:
    return values.detach().numpy().astype("<f4").tobytes()
