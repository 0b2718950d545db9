"""benchmarks/tnn_counts.py: what it keeps of a count in TNN, and what it refuses."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from mobile_export.artifacts.expected import seeded_input
from mobile_export.bench.arm.counts import COUNTERS
from mobile_export.bench.arm.prepare import Prepared
from tests.bench.examples import make_manifest, write_manifest
from tests.conftest import load_script

SOURCE = Path(__file__).parents[3] / "benchmarks" / "tnn_counts.py"
IMAGE = seeded_input((1, 3, 8, 8), 0)
OUTPUT = np.array([[1.0, -2.0, 3.0]])


@pytest.fixture
def tnn(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not SOURCE.exists():
        pytest.skip("the benchmarks are not installed beside the tests")
    module = load_script(SOURCE)
    versions = {"qemu": "7.2", "plugin": "p"}
    prepared = Prepared(*(Path(name) for name in ("qemu", "plugin", "root", "site")), versions)
    monkeypatch.setattr(module, "find", lambda: prepared)
    return module


@pytest.fixture
def network(tmp_path: Path) -> Path:
    file = tmp_path / "net.tnnproto"
    file.write_text("a network")
    write_manifest(file, make_manifest(file, IMAGE, {"logits": OUTPUT}))
    return file


def guest(output: np.ndarray) -> Callable[..., None]:
    """In place of qemu: 100 of each event before the inference, and 7 in it."""

    def run(command: list[str], check: bool) -> None:
        *_, program, proto, weights, image, out = command
        assert (program, weights) == ("tnn_count", proto.replace(".tnnproto", ".tnnmodel"))
        np.testing.assert_array_equal(np.fromfile(image, np.float32), IMAGE.ravel())
        output.astype(np.float32).tofile(out)
        (plugin,) = [word for word in command if ",out=" in word]
        lines = [
            f"mark={mark} " + " ".join(f"{name}={total}" for name in COUNTERS) + "\n"
            for mark, total in enumerate((100, 107))
        ]
        Path(plugin.partition(",out=")[2]).write_text("".join([*lines, "end\n"]))

    return run


def test_a_row_is_the_inference_between_the_marks(
    tnn: ModuleType, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", guest(OUTPUT))
    table = tmp_path / "counts.csv"
    for _ in range(2):  # the second time it is there already
        tnn.extend(table, Path("tnn_count"), [network], "TNN 1", "2.36")
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert (row["model"], row["height"], row["runtime"]) == ("net", "8", "TNN 1")
    assert {row[name] for name in COUNTERS} == {"7"}


def test_what_computes_something_else_is_not_kept(
    tnn: ModuleType, network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", guest(OUTPUT + np.array([[0.0, 0.0, 0.1]])))
    table = tmp_path / "counts.csv"
    with pytest.raises(ValueError, match=r"TNN is 3\.3e-02 off"):
        tnn.extend(table, Path("tnn_count"), [network], "TNN 1", "2.36")
    assert len(table.read_text().splitlines()) == 1
