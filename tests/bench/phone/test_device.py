"""The adb device against the real adb client and a device that behaves."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.bench.conditions import throttling
from mobile_export.bench.devices import Found, adb
from mobile_export.bench.devices.adb import AdbDevice
from mobile_export.bench.devices.device import Device, Starter
from mobile_export.errors import DeviceError
from tests.bench.phone.adbd import FEATURES
from tests.bench.phone.phone import Phone
from tests.bench.runners.test_vendor import tnn_job


def test_it_says_what_it_is(device: AdbDevice, phone: Phone) -> None:
    info = device.describe()
    assert info.spec == f"adb:{phone.serial}"
    assert (info.name, info.soc, info.os) == (
        "Xiaomi Mi 10", "QTI SM8250", "Android 13 (API 33)",
    )  # fmt: skip
    assert info.memory_mb == 7812345 // 1024
    assert [(c.cores, c.max_mhz, c.name) for c in info.clusters] == [
        ((0, 1, 2, 3), 1805, "Kryo 4xx Silver"),
        ((4, 5, 6), 2419, "Cortex-A77"),
        ((7,), 2842, "Cortex-A77"),
    ]
    assert {"asimddp", "asimdhp"} <= set(info.features)
    assert isinstance(device, Starter)


def test_it_says_how_it_feels(device: AdbDevice) -> None:
    state = device.state()
    assert state.temperature_c == 41.5  # the HAL's current one, not the cached 61, not the vbat
    assert (state.thermal_status, state.throttled) == (0, False)
    assert (state.battery_percent, state.charging) == (84.0, True)
    assert state.governor == "schedutil"
    assert state.mhz[7] == 2841.6 / 2
    assert (state.load, state.busy_ticks, state.steal_ticks) == (3.25, 1430, 7)


def test_a_lowered_clock_is_throttling_of_what_ran_there(device: AdbDevice, phone: Phone) -> None:
    phone.file("sys/devices/system/cpu/cpu7/cpufreq/scaling_max_freq").write_text("1400000\n")
    state = device.state()
    assert state.extra["capped_mhz"] == {"7": 1400.0}
    assert throttling([state], frozenset({7})) == "core 7 may not run faster than 1400 MHz"
    assert throttling([state], frozenset({0, 1})) is None


def test_arguments_arrive_as_they_are(device: AdbDevice) -> None:
    words = ["a b", "it's", "$HOME", "*", 'quo"te', "back\\slash", "new\nline", "é", ";", "-n", ""]
    done = device.run(["printf", "%s|", *words])
    assert done.stdout == "".join(f"{word}|" for word in words)


@pytest.mark.parametrize("shell_v2", [True, False])
def test_exit_codes_and_text(new_phone: Callable[..., Phone], shell_v2: bool) -> None:
    features = FEATURES if shell_v2 else FEATURES[1:]
    device = adb.connect(f"adb:{new_phone(features=features).serial}")
    done = device.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert done.returncode == 3
    assert done.stdout + done.stderr == "out\nerr\n"
    assert device.run(["printf", "no line end"]).stdout == "no line end"
    assert device.run(["printf", r"\377\376\n"]).stdout == "\ufffd\ufffd\n"
    assert device.run(["no-such-command"]).returncode == 127
    device.close()


def test_files_come_and_go(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "weights of it's.bin"
    file.write_bytes(os.urandom(3_000_000))
    remote = device.push(file)
    assert phone.file(remote).read_bytes() == file.read_bytes()
    assert os.access(phone.file(remote), os.X_OK)
    device.pull(remote, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob("*.part"))


def test_what_is_there_is_not_sent_again(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    remote = device.push(file)
    before = len(phone.device.log)
    assert device.push(file) == remote
    assert len(phone.device.log) == before
    file.write_text("two")
    assert phone.file(device.push(file)).read_text() == "two"


def test_a_network_and_its_weights_share_a_stem(device: AdbDevice, tmp_path: Path) -> None:
    """TNN derives the one name from the other; and every test of a tool looks up the same way."""
    work = tnn_job(tmp_path)
    with work.runner.open(device, work.job) as session:
        assert session.run(50).summary["mean"] == 22.25e6
    network, weights = work.job.artifact.push_to(device)
    assert weights == network.replace(".tnnproto", ".tnnmodel")


def test_a_folder_is_pushed_whole(device: AdbDevice, phone: Phone, tmp_path: Path) -> None:
    (tmp_path / "model" / "weights").mkdir(parents=True)
    (tmp_path / "model" / "weights" / "a.bin").write_text("a")
    (tmp_path / "model" / "b").write_text("b")
    remote = device.push(tmp_path / "model", "model")
    assert phone.file(f"{remote}/weights/a.bin").read_text() == "a"
    assert phone.file(f"{remote}/b").read_text() == "b"


def test_a_conversation(device: AdbDevice) -> None:
    talk = device.start(["sh", "-c", 'while read line; do echo "<$line>"; done; exit 5'])
    assert talk.stdin is not None
    assert talk.stdout is not None
    for word in (b"one", b"two"):
        talk.stdin.write(word + b"\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == b"<" + word + b">\n"
    assert talk.poll() is None
    talk.stdin.close()
    assert talk.wait(10) == 5


def test_a_killed_conversation_leaves_no_process(device: AdbDevice, phone: Phone) -> None:
    talk = device.start(["sleep", "1000"])
    pid_files = phone.file(device.folder)
    _wait_for(lambda: list(pid_files.glob("pid-*")))
    pid = int(next(pid_files.glob("pid-*")).read_text())
    talk.kill()
    _wait_for(lambda: not _alive(pid))


def test_a_command_that_takes_too_long_is_ended(device: AdbDevice, phone: Phone) -> None:
    with pytest.raises(DeviceError, match=r"did not answer within 0\.5 seconds"):
        device.run(["sleep", "1000"], timeout=0.5)
    pid = int(next(phone.file(device.folder).glob("pid-*")).read_text())
    _wait_for(lambda: not _alive(pid))


def test_nothing_is_left_behind(phone: Phone, tmp_path: Path) -> None:
    device = adb.connect(f"adb:{phone.serial}")
    device.push(Path(__file__))
    device.start(["cat"])
    assert len(phone.ours()) == 1
    device.close()
    assert phone.ours() == []


def test_what_a_killed_run_left_goes_after_a_day(phone: Phone) -> None:
    tmp = phone.file("data/local/tmp")
    old, new, foreign = (tmp / name for name in ("mobile-bench-old", "mobile-bench-new", "theirs"))
    for folder in (old, new, foreign):
        folder.mkdir()
    two_days_ago = time.time() - 2 * 86400
    os.utime(old, (two_days_ago, two_days_ago))
    os.utime(foreign, (two_days_ago, two_days_ago))
    adb.connect(f"adb:{phone.serial}").close()
    assert phone.ours() == ["mobile-bench-new", "theirs"]


def test_two_devices_at_once(new_phone: Callable[..., Phone]) -> None:
    phones = [new_phone(), new_phone()]
    devices = [adb.connect(f"adb:{phone.serial}") for phone in phones]
    for device, phone in zip(devices, phones, strict=True):
        assert device.describe().spec == f"adb:{phone.serial}"
        assert phone.ours() == [device.folder.rpartition("/")[2]]
    assert {found.spec for found in adb.find()} == {device.spec for device in devices}
    with pytest.raises(DeviceError, match="2 Android devices are connected") as error:
        adb.connect("adb")
    assert all(device.spec in str(error.value) for device in devices)


def test_one_device_needs_no_serial(device: AdbDevice) -> None:
    assert adb.connect("adb").serial == device.serial
    assert adb.find() == [Found(device.spec)]


class TestFixedPerformance:
    """``cmd power set-fixed-performance-mode-enabled``; the double writes down what was asked."""

    @staticmethod
    def asked(phone: Phone) -> list[str]:
        return phone.file("fake/fixed-performance").read_text().split()

    def test_on_inside_and_off_after(self, device: AdbDevice, phone: Phone) -> None:
        with device.fixed_performance():
            assert self.asked(phone) == ["true"]
        assert self.asked(phone) == ["true", "false"]

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
    def test_off_after_an_error(
        self, device: AdbDevice, phone: Phone, error: type[BaseException]
    ) -> None:
        with pytest.raises(error), device.fixed_performance():
            raise error
        assert self.asked(phone) == ["true", "false"]

    def test_off_when_the_client_is_killed(self, device: AdbDevice, phone: Phone) -> None:
        with device.fixed_performance():
            device._conversations[-1]._process.kill()
            _wait_for(lambda: self.asked(phone) == ["true", "false"])

    def test_off_when_the_cable_is_pulled(self, device: AdbDevice, phone: Phone) -> None:
        with device.fixed_performance():
            phone.vanish()
            _wait_for(lambda: self.asked(phone) == ["true", "false"])

    def test_an_old_android_has_none(self, device: AdbDevice, phone: Phone) -> None:
        props = phone.file("system/build.prop")
        props.write_text(props.read_text().replace("sdk=33", "sdk=29"))
        with (
            pytest.raises(DeviceError, match="no fixed-performance mode: Unknown command"),
            device.fixed_performance(),
        ):
            pass

    def test_a_device_without_the_hal_has_none(self, device: AdbDevice, phone: Phone) -> None:
        phone.file("fake/no-power-hal").touch()
        with (
            pytest.raises(DeviceError, match="no fixed-performance mode: Failed to set"),
            device.fixed_performance(),
        ):
            pass


def test_it_is_a_device(device: AdbDevice) -> None:
    checked: Device = device
    assert checked.kind == "adb"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", str(pid)], capture_output=True, text=True)
    return not state.stdout.startswith("Z")


def _wait_for(condition: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)
