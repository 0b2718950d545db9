"""A run asks, starts and hashes no more than it must."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mobile_export.artifacts.content import sha256_of
from mobile_export.bench import files as bench_files
from mobile_export.bench.devices import DEVICES, adb, local
from mobile_export.bench.devices.device import Cluster, Completed, DeviceInfo
from mobile_export.bench.devices.linux import INFO_FILES
from mobile_export.bench.devices.local import LocalDevice
from mobile_export.bench.jobs import RunOptions, _cores, _with_backends, make_jobs
from mobile_export.bench.measure import Limits, measure
from mobile_export.bench.runners import get_runner
from mobile_export.errors import UsageError
from mobile_export.pipeline import ExportReport
from tests.bench.examples import INFO, FakeDevice, artifact

QUICK = Limits(seconds=0.1, warmup_seconds=0.1, block_seconds=0.02, starts=1, turns=1)


class Counting(LocalDevice):
    """This machine; counts the workers that are started on it."""

    def __init__(self) -> None:
        self.started = 0

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        self.started += 1
        return super().start(argv)


def test_one_worker_a_file_and_one_question(
    in_tmp: Path, exported: Callable[..., ExportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files in one runtime: one worker says what is installed, two hold a model each."""
    for file in exported("onnx").artifacts[0].files:
        Path(file.name).write_bytes(file.read_bytes())
        Path(file.name.replace("tiny", "twin")).write_bytes(file.read_bytes())
    asked: list[object] = []
    hashed: list[str] = []
    read = local._read

    def count_questions(patterns: Sequence[str]) -> dict[str, str]:
        asked.extend([1] if patterns is INFO_FILES else [])
        return read(patterns)

    def count_hashes(path: Path) -> str:
        hashed.append(path.name)
        return sha256_of(path)

    monkeypatch.setattr(local, "_read", count_questions)
    monkeypatch.setattr(bench_files, "sha256_of", count_hashes)
    device = Counting()
    jobs, _ = make_jobs(device, ["tiny.onnx", "twin.onnx"], RunOptions(cores="0"))
    assert jobs[0].runner is jobs[1].runner
    assert len(measure(device, jobs, QUICK)) == 2
    assert device.started == 1 + 2
    assert len(asked) == 1
    assert hashed == ["tiny.onnx", "twin.onnx"]


@pytest.mark.parametrize("row", DEVICES, ids=lambda row: row.kind)
def test_every_device_is_asked_for_its_description_once(row: object) -> None:
    module = row.module()  # type: ignore[attr-defined]
    (kind,) = (
        value
        for name, value in vars(module).items()
        if name.endswith("Device") and getattr(value, "kind", None) == row.kind  # type: ignore[attr-defined]
    )
    assert hasattr(kind.describe, "__wrapped__")


def test_a_file_whose_hash_is_known_is_not_hashed_again_for_a_phone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = artifact(tmp_path)

    class Phone(adb.AdbDevice):
        def __init__(self) -> None:
            self.serial, self.folder, self._pushed = "1", "/data/local/tmp/x", {}

        def _shell(self, script: str, *, timeout: float | None) -> Completed:
            said = made.hashes[0] if script.startswith("sha256sum") else ""
            return Completed(0, f"{said}\n", "")

        def _call(self, words: Sequence[str], *, timeout: float | None) -> Completed:
            return Completed(0, "", "")

    def refuse(path: Path) -> str:
        raise AssertionError(f"{path} was hashed again")

    monkeypatch.setattr(adb, "sha256_of", refuse)
    (remote,) = made.push_to(Phone())
    assert re.fullmatch(r"/data/local/tmp/x/[0-9a-f]{12}-tiny.onnx", remote)


def on(*clusters: tuple[tuple[int, ...], float]) -> DeviceInfo:
    made = tuple(Cluster(cores, mhz) for cores, mhz in clusters)
    return dataclasses.replace(INFO, clusters=made)


LITTLE, BIG, PRIME = ((0, 1, 2, 3), 1800.0), ((4, 5, 6), 2400.0), ((7,), 2840.0)


@pytest.mark.parametrize(
    ("info", "options", "cores"),
    [
        (on(LITTLE, BIG, PRIME), RunOptions(), (7,)),
        (on(LITTLE, BIG, PRIME), RunOptions(threads=4), (4, 5, 6, 7)),
        (on(LITTLE, BIG, PRIME), RunOptions(pin=False), None),
        (on(LITTLE, BIG, PRIME), RunOptions(cores="little"), (0, 1, 2, 3)),
        (on(LITTLE), RunOptions(), None),
        (on(((0, 1), 4800.0), ((2, 3), 4900.0)), RunOptions(), None),  # favoured cores of a PC
    ],
)
def test_big_cores_are_taken_unless_the_user_says_otherwise(
    info: DeviceInfo, options: RunOptions, cores: tuple[int, ...] | None
) -> None:
    class Phone(FakeDevice):
        def describe(self) -> DeviceInfo:
            return info

    assert _cores(Phone(), options) == cores


def test_every_backend_is_a_job_of_its_own() -> None:
    rows = [get_runner("benchmark-model")]
    both = list(_with_backends(rows, RunOptions(backends=("gpu", "cpu", "vulkan"))))
    assert [backend for _, backend in both] == ["gpu", "cpu"]
    assert [backend for _, backend in _with_backends(rows, RunOptions())] == ["cpu"]
    with pytest.raises(UsageError, match="has no backend 'vulkan'"):
        list(_with_backends(rows, RunOptions(backends=("vulkan",))))


@pytest.mark.parametrize(
    ("threads", "cores", "said"),
    [
        (4, None, None),  # INFO has four cores
        (5, None, "5 threads share the 4 cores of local"),
        (3, "0-1", "3 threads share the 2 cores that were chosen"),
        (2, "1", "2 threads share the 1 core that were chosen"),
    ],
)
def test_more_threads_than_cores_is_said_before_anything_is_measured(
    in_tmp: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    cores: str | None,
    said: str | None,
) -> None:
    artifact(in_tmp)
    runner = type(get_runner("onnxruntime").runner())
    monkeypatch.setattr(runner, "missing", lambda *asked: None)
    options = RunOptions(threads=threads, cores=cores, pin=False)
    _, notes = make_jobs(FakeDevice(), ["tiny.onnx"], options)
    assert [note[: len(said or "")] for note in notes] == ([said] if said else [])
