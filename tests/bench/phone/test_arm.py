"""End to end on an aarch64 device that is not there: real adb, real shell, real static runner.

The device's programs run under qemu-user, so its numbers are right and its times mean nothing.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from mobile_export.artifacts.content import sha256_of
from mobile_export.bench.cli.main import app
from mobile_export.bench.devices import adb
from mobile_export.bench.devices.adb import AdbDevice
from mobile_export.bench.files import BenchArtifact
from mobile_export.bench.measure import Limits, RunnerJob, measure
from mobile_export.bench.native.build import find_runner
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.ncnn_native import create
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.store import append as store_append
from mobile_export.bench.store import read as store_read
from mobile_export.errors import DeviceError, RunnerError
from mobile_export.pipeline import ExportReport
from tests.bench.phone.ncnn_file import SHAPE, make_artifact, make_module
from tests.bench.phone.phone import Phone
from tests.bench.phone.sandbox import PATH, SandboxMissing, make_root, wrapper


@pytest.fixture(scope="session")
def runner() -> Path:
    try:
        return find_runner("aarch64").path
    except RunnerError as error:
        pytest.skip(str(error))


@pytest.fixture
def arm_phone(new_phone: Callable[..., Phone], tmp_path: Path) -> Phone:
    """A phone whose programs are aarch64 ones."""
    root = tmp_path / "phone-0"
    phone = new_phone(wrapper=wrapper(root), path=PATH)
    shutil.copy(root / "proc" / "cpuinfo", root / "fake" / "cpuinfo")
    try:
        make_root(root)
    except SandboxMissing as error:
        pytest.skip(str(error))
    return phone


@pytest.fixture
def arm_device(arm_phone: Phone) -> Iterator[AdbDevice]:
    device = adb.connect(f"adb:{arm_phone.serial}")
    yield device
    device.close()
    assert arm_phone.ours() == []


@pytest.fixture
def artifact(tmp_path: Path) -> BenchArtifact:
    return make_artifact(tmp_path, make_module())


def image() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def reference() -> np.ndarray:
    with torch.no_grad():
        return make_module().double()(image().double()).numpy()


def test_the_device_is_an_arm_one(arm_device: AdbDevice) -> None:
    info = arm_device.describe()
    assert info.arch == "aarch64"
    assert info.name == "Xiaomi Mi 10"
    assert info.cores == 8
    state = arm_device.state()
    assert (state.temperature_c, state.battery_percent) == (41.5, 84.0)
    with arm_device.fixed_performance():
        pass


@pytest.mark.parametrize("threads", [1, 2])
def test_a_model_on_the_phone_equals_pytorch(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path, threads: int
) -> None:
    with create("ncnn-native").open(arm_device, Job(artifact, threads=threads)) as session:
        assert session.loaded.version.startswith("ncnn 1.0.")
        assert session.loaded.load_ns is not None
        assert "asimd" in session.loaded.features
        (output,) = session.outputs(image().numpy())
        results = [session.run(3), session.run(5)]
    assert output.name == "logits"
    error = np.abs(output.value - reference()[0]).max() / np.abs(reference()).max()
    assert error <= 1e-6
    assert [len(result.samples) for result in results] == [3, 5]
    assert all(ns > 0 for result in results for ns in result.samples)
    for result in results:
        assert result.wall_ns is not None
        assert sum(result.samples) <= result.wall_ns
        assert result.peak_memory is not None
        assert result.peak_memory > 1 << 20


def test_fp16_arithmetic_differs_a_little(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path
) -> None:
    with create("ncnn-native").open(arm_device, Job(artifact, precision="fp16")) as session:
        (output,) = session.outputs(image().numpy())
        assert session.loaded.precision == "fp16"
    error = np.abs(output.value - reference()[0]).max() / np.abs(reference()).max()
    assert 1e-6 < error < 1e-2


def with_weights(artifact: BenchArtifact, weights: bytes) -> BenchArtifact:
    """``artifact`` with other weights, which its manifest vouches for."""
    artifact.files[1].write_bytes(weights)
    (companion,) = artifact.manifest.companions
    vouched = msgspec.structs.replace(companion, sha256=sha256_of(artifact.files[1]))
    manifest = msgspec.structs.replace(
        artifact.manifest, companions=type(artifact.manifest.companions)([vouched])
    )
    return dataclasses.replace(artifact, manifest=manifest)


def test_damaged_weights_are_refused(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path
) -> None:
    damaged = with_weights(artifact, artifact.files[1].read_bytes()[:-100])
    with pytest.raises(RunnerError, match="do not fit the network"):
        create("ncnn-native").open(arm_device, Job(damaged))


def test_a_file_that_changes_after_it_was_checked_is_not_measured(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path
) -> None:
    artifact.files[1].write_bytes(artifact.files[1].read_bytes()[:-100])
    with pytest.raises(DeviceError, match="differs from the original"):
        create("ncnn-native").open(arm_device, Job(artifact))


LIMITS = Limits(seconds=0.5, warmup_seconds=0.2, starts=1, turns=2, retry_seconds=(0.2,))


def test_measured_checked_and_stored(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path, tmp_path: Path
) -> None:
    work = native_job(Job(artifact))
    store = tmp_path / "store.jsonl"
    measure(arm_device, [work], LIMITS, record=lambda made: store_append(store, made))
    (kept,) = store_read(store).measurements
    assert kept.device.name == "Xiaomi Mi 10"
    assert kept.runner["version"].startswith("ncnn 1.0.")
    assert kept.check is not None
    assert kept.check.passed
    assert kept.check.max_rel is not None
    assert kept.check.max_rel <= 1e-6
    assert len(kept.samples) >= 4
    assert kept.before.battery_percent == 84.0


def test_a_wrong_result_is_not_timed(
    arm_device: AdbDevice, artifact: BenchArtifact, runner: Path, tmp_path: Path
) -> None:
    weights = bytearray(artifact.files[1].read_bytes())
    weights[-4:] = struct.pack("<f", 3.0)  # the bias of the last class
    wrong = with_weights(artifact, bytes(weights))
    (made,) = measure(arm_device, [native_job(Job(wrong))], LIMITS)
    assert "wrong_output" in made.flags
    assert made.samples == ()


def test_what_was_measured_before_the_phone_went_is_in_the_store(
    arm_device: AdbDevice,
    arm_phone: Phone,
    artifact: BenchArtifact,
    runner: Path,
    tmp_path: Path,
) -> None:
    store = tmp_path / "store.jsonl"
    work = native_job(Job(artifact))
    measure(arm_device, [work], LIMITS, record=lambda made: store_append(store, made))
    stages: list[str] = []

    def pull_the_cable(stage: str) -> None:
        stages.append(stage)
        if len(stages) == 5:  # after loading, checking, warming up and one round
            arm_phone.vanish()

    long = dataclasses.replace(LIMITS, seconds=60.0, turns=1000)
    measure(
        arm_device,
        [work],
        long,
        record=lambda made: store_append(store, made),
        progress=pull_the_cable,
    )
    whole, broken = store_read(store).measurements
    assert "failed" not in whole.flags
    assert "failed" in broken.flags
    assert broken.samples
    assert re.search("went away|no longer connected|offline", " ".join(broken.notes))
    arm_phone.switch_on()
    adb.connect(arm_device.spec).close()


def test_the_command_line_measures_an_exported_model(
    arm_phone: Phone,
    runner: Path,
    exported: Callable[..., ExportReport],
    in_tmp: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """``mobile-export ncnn tiny && mobile-bench --device adb tiny``."""
    (artifact,) = exported("ncnn").artifacts
    subprocess.run(["adb", "connect", arm_phone.serial], check=True, capture_output=True)
    words = ["--device", "adb", "--no-pin", "--fixed-performance", "--time-limit", "1", "--json"]
    app([*words, str(artifact.path)], standalone_mode=False)
    (row,) = json.loads(capsys.readouterr().out)["measurements"]
    assert row["device"] == f"adb:{arm_phone.serial}"
    (kept,) = store_read(in_tmp / "mobile-bench.jsonl").measurements
    assert kept.check is not None
    assert kept.check.passed
    assert kept.samples
    assert arm_phone.file("fake/fixed-performance").read_text().split() == ["true", "false"]
    assert arm_phone.ours() == []


class TestRunnerProgram:
    """The program itself, without a device: arguments, files, exit codes, JSON."""

    @pytest.fixture
    def call(self, runner: Path, tmp_path: Path) -> Callable[..., tuple[int, dict]]:
        qemu = shutil.which("qemu-aarch64-static")
        if qemu is None:
            pytest.skip("qemu-aarch64-static is not installed")

        def call(*words: str) -> tuple[int, dict]:
            done = subprocess.run(
                [qemu, runner, *words], capture_output=True, text=True, cwd=tmp_path, timeout=120
            )
            answer = json.loads(done.stdout.splitlines()[-1])
            assert answer.pop("end") is True
            assert answer.pop("ncnn_runner") == 1
            return done.returncode, answer

        return call

    MODEL = ("--param", "tiny.param", "--bin", "tiny.bin")
    INPUT = ("--input", "image=3,16,16:image.f32")

    def test_it_measures_and_compares(
        self, call: Callable[..., tuple[int, dict]], artifact: BenchArtifact, tmp_path: Path
    ) -> None:
        (tmp_path / "image.f32").write_bytes(image().numpy().tobytes())
        (tmp_path / "right.f32").write_bytes(reference().astype("<f4").tobytes())
        words = (*self.MODEL, *self.INPUT, "--loops", "4", "--warmup", "2")
        code, answer = call(*words, "--expect", "logits=right.f32", "--output", "logits=out.f32")
        assert code == 0
        assert len(answer["samples_ns"]) == 4
        assert answer["first_ns"] == answer["warmup_ns"][0]
        assert answer["options"]["threads"] == 1
        (output,) = answer["outputs"]
        assert output["shape"] == [10]
        assert output["error"]["max_rel"] <= 1e-6
        written = np.fromfile(tmp_path / "out.f32", "<f4")
        assert np.abs(written - reference()[0]).max() <= 1e-6

    def test_a_wrong_result_is_seen(
        self, call: Callable[..., tuple[int, dict]], artifact: BenchArtifact, tmp_path: Path
    ) -> None:
        expected = reference()[0].astype("<f4")
        expected[7] += 0.5
        (tmp_path / "image.f32").write_bytes(image().numpy().tobytes())
        (tmp_path / "wrong.f32").write_bytes(expected.tobytes())
        words = (*self.MODEL, *self.INPUT, "--loops", "1", "--expect", "logits=wrong.f32")
        error = call(*words)[1]["outputs"][0]["error"]
        assert error["max_abs"] == pytest.approx(0.5, abs=1e-5)
        assert error["worst_index"] == 7
        assert error["max_rel"] == pytest.approx(0.5 / np.abs(expected).max(), rel=1e-4)

    def test_a_result_that_is_no_number_is_seen(
        self, call: Callable[..., tuple[int, dict]], artifact: BenchArtifact, tmp_path: Path
    ) -> None:
        (tmp_path / "image.f32").write_bytes(np.full(768, np.nan, "<f4").tobytes())
        (tmp_path / "right.f32").write_bytes(reference().astype("<f4").tobytes())
        words = (*self.MODEL, *self.INPUT, "--loops", "1", "--expect", "logits=right.f32")
        error = call(*words)[1]["outputs"][0]["error"]
        assert error["nonfinite"] > 0
        assert error["max_rel"] is None

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            ((), 2, "--param and --bin"),
            (("--loops",), 2, "--loops has no value"),
            (("--loops", "many"), 2, "--loops got 'many'; valid: a whole number"),
            (("--loops", "0"), 2, "from 1 to"),
            (("--threads", "-1"), 2, "--threads got"),
            (("--core-mask", "0x"), 2, "--core-mask got"),
            (("--seconds", "nan"), 2, "--seconds got"),
            (("--frobnicate", "1"), 2, "unknown option '--frobnicate'"),
            (("--input", "image"), 2, "valid: NAME=VALUE"),
            (("--input", "image=3,x"), 2, "--input got 'x'"),
            (("--input", "image=1,2,3,4,5"), 2, "at most 4"),
            (("--param", "no.param", "--bin", "tiny.bin"), 3, "cannot open no.param"),
            (MODEL, 2, "0 --input given; the network has 1: image"),
            ((*MODEL, "--input", "x=3,16,16"), 2, "no input 'x'; it has: image"),
            ((*MODEL, *INPUT, "--expect", "x=f"), 2, "no output 'x'; it has: logits"),
            ((*MODEL, *INPUT), 3, "cannot open image.f32"),
            ((*MODEL, "--input", "image=3,16,16:tiny.bin"), 3, "768 float32 values need 3072"),
            ((*MODEL, "--input", "image=3,16,16", "--vulkan", "1"), 4, "without Vulkan"),
            (("--param", "tiny.bin", "--bin", "tiny.bin"), 4, "could not read the network"),
        ],
    )
    def test_errors_are_json_too(
        self,
        call: Callable[..., tuple[int, dict]],
        artifact: BenchArtifact,
        words: tuple[str, ...],
        code: int,
        message: str,
    ) -> None:
        got, answer = call(*words)
        assert got == code
        assert message in answer["error"]["message"]


def native_job(job: Job) -> RunnerJob:
    row = get_runner("ncnn-native")
    return RunnerJob(row, job, row.runner())
