"""The sample app for iOS, as far as Linux can tell.

Its kit is built and tested. Neither Xcode nor Apple's libraries run here.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import mobile_export
from mobile_export.bench.record import Measurement
from tests.apps.swift import ROOT, Swift, alone, find

APP = ROOT / "ios_app"
KIT = APP / "MobileExportKit"


@pytest.fixture(scope="module")
def swift() -> Iterator[Swift]:
    found = find()
    if isinstance(found, str):
        pytest.skip(found)
    with alone():
        yield found


def tiny(folder: Path) -> Path:
    """A Core ML package of a small classifier, with its manifest."""
    pytest.importorskip("coremltools")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    torch.manual_seed(0)
    report = mobile_export.export(
        model.eval(), "coreml", folder, name="tiny", size=(24, 20), labels=("cat", "dog", "cow")
    )
    path = report.artifacts[0].path
    assert path is not None
    return path


@pytest.mark.slow
def test_the_kit(swift: Swift) -> None:
    """On the shared vectors and on a package that was written just now; its records of benchmarks
    are those of mobile-bench."""
    files = swift.outside / "files"
    for old in files.glob("*.jsonl"):
        old.unlink()
    files.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(files / "exported", ignore_errors=True)
    package = tiny(files / "exported")
    inside = f"{swift.scratch}/files"
    done = swift.run(
        "swift",
        "test",
        "--package-path",
        f"{swift.home}/ios_app/MobileExportKit",
        "--scratch-path",
        f"{swift.scratch}/kit",
        env={
            "MOBILE_EXPORT_PACKAGE": f"{inside}/exported/{package.name}",
            "MOBILE_EXPORT_RECORDS": inside,
        },
    )
    assert done.returncode == 0, done.stdout[-4000:]
    counts = re.findall(r"Executed (\d+) tests, with 0 failures", done.stdout)
    written = sum(len(re.findall(r"func test", f.read_text())) for f in KIT.glob("Tests/*/*.swift"))
    assert int(counts[-1]) == written, done.stdout[-4000:]
    assert "skipped" not in done.stdout
    records = [line for file in files.glob("*.jsonl") for line in file.read_bytes().splitlines()]
    assert len(records) == 3
    read = [Measurement.from_json(line) for line in records]
    assert {each.device.kind for each in read} == {"app"}
    assert sorted(len(each.samples) for each in read) == [0, 60, 60]
    assert {"failed", "unchecked", "unsettled"} in [set(each.flags) for each in read]
    assert [each.check.passed for each in read if each.check is not None] == [True, True]


def test_the_sources_are_formatted(swift: Swift) -> None:
    done = swift.run(
        "swift", "format", "lint", "--strict", "--recursive", "--parallel", f"{swift.home}/ios_app"
    )
    assert done.returncode == 0, done.stdout[-4000:]
