"""What goes wrong with phones: every fault ends in one clear error, and in nothing half-written."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mobile_export.bench.devices import adb
from mobile_export.bench.devices.adb import AdbDevice
from mobile_export.bench.devices.device import Device
from mobile_export.bench.journal import Journal
from mobile_export.bench.measure import Limits, RunnerJob, measure
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.ncnn_native import NativeRunner, NativeSession, create
from mobile_export.bench.runners.runner import Job, RawResult, RunnerSession
from mobile_export.errors import BenchError, DeviceError, RunnerError
from tests.bench.phone.ncnn_file import make_artifact, make_module
from tests.bench.phone.phone import Phone

_HELLO = (
    '{"ncnn_runner":1,"ncnn":"1.0.1","options":{"fp16":false,"vulkan":false},'
    '"cpu":{"features":["asimd"]},"load_ns":5,"end":true}'
)
_ANSWER = (
    '{"ncnn_runner":1,"ncnn":"1.0.1","samples_ns":[11,12],"wall_ns":30,"cpu_ns":25,'
    '"waited_ns":null,"switches":0,"peak_memory_bytes":4096,"end":true}'
)


@pytest.fixture
def open_runner(device: AdbDevice, tmp_path: Path) -> Iterator[Callable[..., RunnerSession]]:
    """Open a session with a shell script in the place of the runner."""
    sessions: list[RunnerSession] = []

    def open_it(script: str, timeout: float = 20.0) -> RunnerSession:
        program = tmp_path / "runner"
        program.write_text(f"#!/bin/sh\n{script}\n")
        artifact = make_artifact(tmp_path, make_module())
        job = Job(artifact, binary=program, timeout=timeout)
        sessions.append(create("ncnn-native").open(device, job))
        return sessions[-1]

    yield open_it
    for session in sessions:
        session.__exit__()


def script(*answers: str) -> str:
    """A runner that gives these answers, whatever it is asked."""
    first, *others = (f"cat <<'E'\n{answer}\nE\n" for answer in answers)
    return first + "".join(f"read -r command\n{answer}" for answer in others) + "cat >/dev/null"


# ---- connecting -------------------------------------------------------------------------------


def test_adb_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match=r"adb is not installed") as error:
        adb.connect("adb")
    assert "apt-get install adb" in str(error.value)
    assert adb.find() == []


def test_no_device(adb_server: None) -> None:
    with pytest.raises(DeviceError, match=r"No Android device is connected"):
        adb.connect("adb")
    with pytest.raises(DeviceError, match=r"no Android device 'R58M123'"):
        adb.connect("adb:R58M123")


def test_another_serial_names_what_is_there(device: AdbDevice) -> None:
    with pytest.raises(DeviceError, match=r"no Android device 'R58M123'") as error:
        adb.connect("adb:R58M123")
    assert device.spec in str(error.value)


def test_a_refused_connection(phone: Phone) -> None:
    phone.vanish()
    with pytest.raises(DeviceError, match=r"cannot be reached: .*refused"):
        adb.connect(f"adb:{phone.serial}")


def test_unauthorized(new_phone: Callable[..., Phone]) -> None:
    phone = new_phone()
    phone.faults.unauthorized = True
    with pytest.raises(DeviceError, match=r"does not trust this computer") as error:
        adb.connect(f"adb:{phone.serial}")
    assert "unlock it" in str(error.value).lower()  # of two ways that adb says it
    (found,) = adb.find()
    assert found.problem is not None
    assert re.match("unauthorized|authorizing", found.problem)
    with pytest.raises(DeviceError, match=r"No Android device can be used: .*accept its dialog"):
        adb.connect("adb")


def test_offline(device: AdbDevice, phone: Phone) -> None:
    phone.vanish()
    _wait_for(lambda: any(found.problem for found in adb.find()) or not adb.find())
    with pytest.raises(DeviceError, match=r"can be used: .*offline|is connected"):
        adb.connect("adb")
    with pytest.raises(DeviceError, match=r"offline|not connected|went away|no longer connected"):
        device.run(["true"])


def test_a_device_that_comes_back_is_found_again(device: AdbDevice, phone: Phone) -> None:
    phone.vanish()
    with pytest.raises(DeviceError):
        device.run(["true"])
    phone.switch_on()
    again = adb.connect(device.spec)
    assert again.run(["echo", "back"]).stdout == "back\n"
    again.close()


# ---- files ------------------------------------------------------------------------------------


def test_dying_in_the_middle_of_a_push(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(3_000_000))
    phone.faults.die_after_pushed = 1_000_000
    with pytest.raises(DeviceError, match=r"Copying weights\.bin.*adb:127"):
        device.push(file, "weights.bin")
    assert not phone.file(f"{device.folder}/weights.bin").exists()


def test_a_full_device(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(os.urandom(3_000_000))
    phone.faults.full_after = 1_000_000
    with pytest.raises(DeviceError, match=r"has no space left") as error:
        device.push(file, "weights.bin")
    assert "Free some space" in str(error.value)
    assert list(phone.file(device.folder).glob("weights*")) == []
    phone.faults.full_after = None
    device.push(file, "weights.bin")


def test_a_copy_that_differs(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    lying = phone.file("system/bin/sha256sum")
    lying.write_text("#!/bin/sh\necho 0000  $1\n")
    lying.chmod(0o755)
    file = tmp_path / "file"
    file.write_text("content")
    with pytest.raises(DeviceError, match=r"copy differs from the original"):
        device.push(file)
    lying.write_text("#!/bin/sh\nexit 127\n")  # a device without it: sizes are compared
    device.push(file)


def test_a_missing_file_is_not_pulled(device: AdbDevice, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"Copying nothing\.f32 from the device"):
        device.pull(f"{device.folder}/nothing.f32", tmp_path / "here")
    assert list(tmp_path.glob("here*")) == []


# ---- commands ---------------------------------------------------------------------------------


def test_dying_in_the_middle_of_a_command(device: AdbDevice, phone: Phone) -> None:
    phone.faults.die_in_command = "sleep"
    with pytest.raises(DeviceError, match=r"went away|no longer connected|offline"):
        device.run(["sh", "-c", "echo begun; sleep 100"])


def test_noise_after_a_command(device: AdbDevice) -> None:
    done = device.run(["printf", r"\001\377 end-0123 0"])
    assert done.stdout == "\x01\ufffd end-0123 0"


# ---- runners ----------------------------------------------------------------------------------


def test_a_runner_among_noise(open_runner: Callable[..., RunnerSession]) -> None:
    noise = f"WARNING: linker: unused DT entry\n\n{_HELLO[:40]}"
    answers = script(f"{noise}\n{_HELLO}", _ANSWER)
    session = open_runner(rf"printf '\377\376 garbage\n'; {answers}")
    assert session.loaded.version == "ncnn 1.0.1"
    result = session.run(2)
    assert (result.samples, result.peak_memory) == ((11, 12), 4096)


def test_a_runner_that_prints_garbage(open_runner: Callable[..., RunnerSession]) -> None:
    with pytest.raises(RunnerError, match=r"ended without an answer") as error:
        open_runner("printf 'nonsense \\377\\n'; echo trouble >&2; exit 7")
    assert "exit code 7" in str(error.value)
    assert "nonsense" in str(error.value)
    assert "trouble" in str(error.value)


def test_a_torn_answer_is_none(open_runner: Callable[..., RunnerSession]) -> None:
    session = open_runner(script(_HELLO, _ANSWER[:-9]), timeout=1.0)
    with pytest.raises(RunnerError, match=r"did not answer within 1 second"):
        session.run(2)


def test_an_answer_of_another_version(open_runner: Callable[..., RunnerSession]) -> None:
    session = open_runner(script(_HELLO, _ANSWER.replace("samples_ns", "samples")))
    with pytest.raises(RunnerError, match=r"cannot be read .*samples_ns"):
        session.run(2)


def test_a_runner_that_crashes(open_runner: Callable[..., RunnerSession]) -> None:
    session = open_runner(f"cat <<'E'\n{_HELLO}\nE\nread -r command\nkill -SEGV $$")
    with pytest.raises(RunnerError, match=r"segmentation fault"):
        session.run(2)


def test_a_runner_that_hangs(open_runner: Callable[..., RunnerSession], phone: Phone) -> None:
    session = open_runner(f"cat <<'E'\n{_HELLO}\nE\nwhile :; do sleep 0.1; done", timeout=1.0)
    with pytest.raises(RunnerError, match=r"did not answer within 1 second"):
        session.run(2)
    session.__exit__()


def test_endless_garbage(open_runner: Callable[..., RunnerSession]) -> None:
    with pytest.raises(RunnerError, match=r"did not answer within 1 second.*garbage"):
        open_runner("while echo garbage; do :; done", timeout=1.0)


@pytest.mark.parametrize("fault", ["device", "client"])
def test_what_was_measured_before_a_death_is_kept(
    open_runner: Callable[..., RunnerSession], phone: Phone, device: AdbDevice, fault: str
) -> None:
    session = open_runner(script(_HELLO, _ANSWER, _ANSWER))
    results = [session.run(2)]
    if fault == "device":
        phone.vanish()
    else:
        device._conversations[-1]._process.kill()
        device._conversations[-1]._process.wait()
    with pytest.raises(BenchError, match=r"went away|no longer connected|offline|signal 9"):
        results.append(session.run(2))
    assert [result.samples for result in results] == [(11, 12)]


class Silent(NativeRunner):
    """Our runner, of whose outputs nobody asks."""

    def open(self, device: Device, job: Job) -> NativeSession:
        session = super().open(device, job)
        session.outputs = lambda image: None  # type: ignore[method-assign, assignment, return-value]
        return session


def test_a_connection_that_drops_for_a_moment_fails_nothing(
    phone: Phone, device: AdbDevice, tmp_path: Path
) -> None:
    """0.3 s without the device, in the middle of a start: it is found again, and a new start of
    the runner goes on."""
    program = tmp_path / "runner"
    answers = f"while read -r line; do sleep 0.02; cat <<'E'\n{_ANSWER}\nE\ndone"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{_HELLO}\nE\n{answers}\n")
    job = Job(make_artifact(tmp_path, make_module()), binary=program, timeout=20)
    blocks: list[RawResult] = []

    class Keeper(Journal):
        def add(self, entry: int, start: int, result: RawResult) -> None:
            super().add(entry, start, result)
            blocks.append(result)
            if len(blocks) == 3:
                phone.vanish()
                threading.Timer(0.3, phone.switch_on).start()

    limits = Limits(seconds=60, warmup_seconds=0.1, turns=4, retry_seconds=(0.5,) * 6)
    (made,) = measure(
        device,
        [RunnerJob(get_runner("ncnn-native"), job, Silent())],
        limits,
        keeper=lambda run: Keeper(tmp_path / "s.jsonl", run),
    )
    assert "failed" not in made.flags
    assert len(made.blocks) == len(blocks)
    assert made.starts[0] == 3
    assert len(made.starts) >= 6


def test_errors_are_one_paragraph(phone: Phone) -> None:
    phone.vanish()
    with pytest.raises(DeviceError) as error:
        adb.connect(f"adb:{phone.serial}")
    assert not re.search(r"Traceback|\n\n", str(error.value))
    assert error.value.exit_code == 2
    assert error.value.hint


def _wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
