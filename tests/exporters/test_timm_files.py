"""timm models in every format. The default run samples one; ``-m matrix`` takes ten families."""

from __future__ import annotations

from pathlib import Path

import pytest

import mobile_export
from mobile_export.exporters.table import FORMATS
from tests.conftest import need

pytest.importorskip("timm")

SAMPLE = "convnext_atto"
MATRIX = (
    "deit_tiny_patch16_224",
    "edgenext_xx_small",
    "efficientnet_b0",
    "fastvit_t8",
    "mobilenetv4_conv_small",
    "mobileone_s0",
    "repvgg_a0",
    "resnet18",
    "starnet_s1",
    "swin_tiny_patch4_window7_224",
)


def holds(model: str, name: str, folder: Path) -> None:
    need(name)
    report = mobile_export.export(f"timm/{model}", formats=name, out_dir=folder)
    assert report.exit_code == 0
    assert report.artifacts[0].parity.passed


@pytest.mark.parametrize("name", [target.name for target in FORMATS])
def test_a_sample(name: str, tmp_path: Path) -> None:
    holds(SAMPLE, name, tmp_path)


@pytest.mark.matrix
@pytest.mark.parametrize("model", MATRIX)
@pytest.mark.parametrize("name", [target.name for target in FORMATS])
def test_many(model: str, name: str, tmp_path: Path) -> None:
    holds(model, name, tmp_path)
