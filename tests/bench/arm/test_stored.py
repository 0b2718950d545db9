"""A sample of the stored counts, taken again from freshly exported files."""

from __future__ import annotations

from pathlib import Path

import pytest

import mobile_export
from mobile_export.bench.arm.stored import count_artifact, stored_counts
from mobile_export.bench.devices.qemu import connect
from mobile_export.bench.files import read_artifact
from mobile_export.errors import DeviceError


@pytest.mark.matrix
@pytest.mark.parametrize("model", ["seaformer_tiny", "timm/mobilenetv3_small_100"])
def test_the_stored_count_is_found_again(model: str, tmp_path: Path) -> None:
    try:
        device = connect("qemu")
    except DeviceError as error:
        pytest.skip(str(error))
    (stored,) = [row for row in stored_counts() if row.model == model]
    size = (stored.height, stored.width)
    report = mobile_export.export(model, formats=("onnx",), out_dir=tmp_path, size=size)
    again = count_artifact(device, read_artifact(report.artifacts[0].path))
    device.close()
    assert again.runtime == stored.runtime
    # The process around the inference (lengths of paths, Python's caches) may move a few thousand
    # instructions; two runs of the same command do not differ at all.
    assert again.count.instructions == pytest.approx(stored.count.instructions, rel=1e-4)
    assert again.count.fma == stored.count.fma
    assert again.count.l2_misses == pytest.approx(stored.count.l2_misses, rel=1e-2)
