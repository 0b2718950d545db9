"""Every fuzz target runs: on files of ours, on nothing, and for a few seconds under atheris."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.artifacts.names import manifest_path
from mobile_export.pipeline import ExportReport
from tests.bench.examples import measurement
from tests.conftest import need
from tests.fuzz.targets import TARGETS, saved, saved_archive
from tests.hostile.damage import damaged

ROOT = Path(__file__).parents[2]


MADE_FROM = {
    "manifest": "tnn",
    "mlmodel": "coreml",
    "ncnn": "ncnn",
    "package": "coreml",
    "tflite": "tflite",
    "tnnmodel": "tnn",
    "tnnproto": "tnn",
    "wire": "coreml",
}
"""The format of the file that a target's good input is taken from"""


@pytest.fixture
def seeds(exported: Callable[..., ExportReport]) -> Callable[[str], bytes]:
    """A good input of each target, made of a file of ours."""

    def get(target: str) -> bytes:
        if target not in MADE_FROM:
            return _made(target)
        need(MADE_FROM[target])
        path = exported(MADE_FROM[target]).artifacts[0].path
        assert path is not None
        parts: dict[str, Callable[[], bytes]] = {
            "manifest": lambda: manifest_path(path).read_bytes(),
            "mlmodel": lambda: bytes(256) + next(path.rglob("*.mlmodel")).read_bytes(),
            "ncnn": lambda: path.read_bytes() + b"\0" + path.with_suffix(".bin").read_bytes(),
            "package": lambda: (path / "Manifest.json").read_bytes(),
            "tnnmodel": lambda: path.with_suffix(".tnnmodel").read_bytes(),
            "wire": lambda: next(path.rglob("*.mlmodel")).read_bytes(),
        }
        return parts.get(target, path.read_bytes)()

    return get


def _made(target: str) -> bytes:
    if target == "store":
        lines = (json.dumps(measurement(seed=seed).to_dict()) for seed in range(2))
        return "".join(f"{line}\n" for line in lines).encode()
    if target == "journal":
        return b'{"x.onnx": null, "x.onnx.manifest.json": [1, 2, 3]}'
    if target == "archive":
        return saved_archive()
    kind, member = {
        "program": ("program", "models/model.json"),
        "pickle": ("checkpoint", "data.pkl"),
    }[target]
    return saved(kind)[member]


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_on_damaged_files(name: str, seeds: Callable[[str], bytes]) -> None:
    TARGETS[name](b"")
    good = seeds(name)
    for seed in range(40):
        TARGETS[name](damaged(good, seed))


@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="atheris: pip install atheris"
)
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_targets_under_atheris(name: str, seeds: Callable[[str], bytes], tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "good").write_bytes(seeds(name))
    words = [sys.executable, "-m", "tests.fuzz.targets", name, str(corpus)]
    limits = ["-max_total_time=5", "-rss_limit_mb=4096", "-timeout=20", "-max_len=200000"]
    done = subprocess.run(
        [*words, *limits, f"-artifact_prefix={tmp_path}/"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
