"""ncnn on Vulkan: a row of its own, checked, and never one that ran on the CPU.

Tests bench/worker.py and bench/runners/python.py. Mesa's llvmpipe is a Vulkan device without a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

import mobile_export
from mobile_export.bench.devices import connect
from mobile_export.bench.files import read_artifact
from mobile_export.bench.measure import Limits, RunnerJob, measure
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.tables import Row, key_of
from mobile_export.errors import RunnerError

LLVMPIPE = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
ONCE = Limits(seconds=2, starts=1, warmup_seconds=0.5)


def jobs(folder: Path, *backends: str) -> list[RunnerJob]:
    """A convolution and a ReLU, on which no GPU may be off by more than rounding."""
    pytest.importorskip("ncnn")
    module = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval()
    report = mobile_export.export(module, "ncnn", folder, name="conv", size=16)
    made, row = read_artifact(report.artifacts[0].path), get_runner("ncnn")
    runner = row.runner()
    return [
        RunnerJob(row, Job(made, backend=name, precision="fp32", timeout=120), runner)
        for name in backends
    ]


def test_without_a_device_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, "/nonexistent.json")
    with pytest.raises(RunnerError, match="no Vulkan device and would run on the CPU"):
        measure(connect("local"), jobs(tmp_path, "vulkan"), ONCE)


@pytest.mark.skipif(not LLVMPIPE, reason="needs Debian's mesa-vulkan-drivers and libvulkan1")
def test_both_backends_are_checked_and_not_mixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VK_ICD_FILENAMES", "VK_DRIVER_FILES"):
        monkeypatch.setenv(name, str(LLVMPIPE[0]))
    cpu, vulkan = measure(connect("local"), jobs(tmp_path, "cpu", "vulkan"), ONCE)
    for made in (cpu, vulkan):
        assert made.check is not None
        assert made.check.passed
        assert made.check.tolerance < 1e-3  # of fp32, as it was told
    assert key_of(cpu) != key_of(vulkan)
    assert Row(cpu).delegated is None
    share = Row(vulkan).delegated
    assert share is not None
    assert 0 < share <= 1
