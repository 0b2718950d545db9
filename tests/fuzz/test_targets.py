"""Every fuzz target runs: on files of ours, on nothing, and for a few seconds under atheris."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.pipeline import ExportReport
from tests.conftest import need
from tests.fuzz.targets import TARGETS
from tests.hostile.damage import damaged

ROOT = Path(__file__).parents[2]


@pytest.fixture
def seeds(exported: Callable[..., ExportReport]) -> Callable[[str], bytes]:
    """A good input of each target, made of a file of ours."""

    def get(target: str) -> bytes:
        format_name = {"mlmodel": "coreml", "wire": "coreml", "manifest": "coreml"}.get(
            target, target if target in ("ncnn", "tflite") else "tnn"
        )
        need(format_name)
        path = exported(format_name).artifacts[0].path
        assert path is not None
        if target == "manifest":
            return (path / "Manifest.json").read_bytes()
        if target in ("mlmodel", "wire"):
            program = next(path.rglob("*.mlmodel")).read_bytes()
            return program if target == "wire" else bytes(256) + program
        if target == "ncnn":
            return path.read_bytes() + b"\0" + path.with_suffix(".bin").read_bytes()
        return (
            path.with_suffix(".tnnmodel").read_bytes()
            if target == "tnnmodel"
            else (path.read_bytes())
        )

    return get


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
