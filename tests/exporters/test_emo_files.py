"""The main job on a real model: EMO in every format and precision, at sizes that need padding."""

from __future__ import annotations

from pathlib import Path

import pytest

import mobile_export
from mobile_export.exporters.table import FORMATS
from tests.conftest import need, sampled

CASES = [
    (target.name, precision, size)
    for target, size in zip(
        FORMATS, ((224, 224), (96, 160), (100, 130), (130, 100), (160, 96)), strict=True
    )
    for precision in (p.name for p in target.precisions if not p.integers)
]


KEPT = {"onnx": "fp32", "coreml": "fp16", "tflite": "fp16", "ncnn": "fp16", "tnn": "fp32"}
"""The precision of each format that is executed by default."""


@pytest.mark.parametrize(
    ("name", "precision", "size"), sampled(CASES, lambda case: KEPT[case[0]] == case[1])
)
def test_emo_1m(name: str, precision: str, size: tuple[int, int], tmp_path: Path) -> None:
    need(name)
    report = mobile_export.export(
        "emo_1m", formats=name, out_dir=tmp_path, precision=precision, size=size
    )
    (artifact,) = report.artifacts
    assert artifact.parity.passed
    assert artifact.parity.precision == precision
    assert artifact.parity.max_rel > 0, "a file that is equal to the last bit was not executed"
    assert artifact.path is not None
    facts = mobile_export.inspect(artifact.path)
    assert sorted(facts["inputs"][0]["shape"]) == sorted([1, 3, *size])
    module = mobile_export.create_model("emo_1m")
    weights = sum(p.numel() for p in module.parameters())
    assert facts["parameters"] == pytest.approx(weights, rel=0.02)


@pytest.mark.matrix
@pytest.mark.parametrize("variant", ["2m", "5m", "6m"])
@pytest.mark.parametrize("name", [target.name for target in FORMATS])
def test_every_emo(name: str, variant: str, tmp_path: Path) -> None:
    need(name)
    report = mobile_export.export(f"emo_{variant}", formats=name, out_dir=tmp_path)
    assert report.exit_code == 0
