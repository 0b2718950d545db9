"""/proc and /sys of devices that are not here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from mobile_export.bench.devices import linux as _linux
from mobile_export.bench.devices.device import Cluster

# cpuinfo of a Snapdragon 855, shortened: four A55, and three and one A76 that are
# Qualcomm's own by name (implementer 0x51).
PHONE = "\n".join(
    f"processor\t: {core}\nFeatures\t: fp asimd evtstrm aes asimdhp asimddp\n"
    f"CPU implementer\t: {maker}\nCPU part\t: {part}\n"
    for core, (maker, part) in enumerate([("0x41", "0xd05")] * 4 + [("0x51", "0x804")] * 4)
)
CPU = "/sys/devices/system/cpu"
FILES = {
    "/proc/cpuinfo": PHONE + "Hardware\t: Qualcomm Technologies, Inc SM8150\n",
    "/proc/meminfo": "MemTotal:        5730268 kB\nMemFree: 1 kB",
    f"{CPU}/present": "0-7",
    **{
        f"{CPU}/cpu{core}/cpufreq/cpuinfo_max_freq": khz
        for core, khz in enumerate(["1785600"] * 4 + ["2419200"] * 3 + ["2841600"])
    },
}


def test_clusters_of_a_phone() -> None:
    assert _linux.clusters_of(FILES) == (
        Cluster((0, 1, 2, 3), 1786.0, "Cortex-A55"),
        Cluster((4, 5, 6), 2419.0, "Kryo 4xx Gold"),
        Cluster((7,), 2842.0, "Kryo 4xx Gold"),
    )
    assert _linux.cpu_name(FILES) == "Qualcomm Technologies, Inc SM8150"
    assert _linux.memory_mb(FILES) == 5595
    assert _linux.features_of(FILES) == ("asimd", "asimddp", "asimdhp")


def test_cores_without_anything_else() -> None:
    assert _linux.clusters_of({f"{CPU}/present": "0-1,3"}) == (Cluster((0, 1, 3)),)
    assert _linux.clusters_of({}) == ()


ZONE = "/sys/class/thermal/thermal_zone"


def test_state() -> None:
    state = _linux.state_of(
        {
            "/proc/loadavg": "1.25 0.5 0.25 2/345 6789",
            "/proc/stat": "cpu  10 20 30 400 50 6 7 8 0 0\ncpu0 1 2 3",
            f"{CPU}/cpu0/cpufreq/scaling_cur_freq": "1766400",
            f"{CPU}/cpu1/cpufreq/scaling_cur_freq": "300000",
            f"{CPU}/cpu0/cpufreq/scaling_governor": "schedutil",
            f"{CPU}/cpu1/cpufreq/scaling_governor": "schedutil",
            f"{ZONE}0/type": "battery",
            f"{ZONE}0/temp": "60000",
            f"{ZONE}1/type": "cpu-0-0-usr",
            f"{ZONE}1/temp": "45300",
            f"{ZONE}2/type": "cpu-broken",
            f"{ZONE}2/temp": "-273000",
            "/sys/class/power_supply/BAT0/capacity": "81",
            "/sys/class/power_supply/BAT0/status": "Discharging",
        }
    )
    assert state.mhz == {0: 1766.4, 1: 300.0}
    assert state.governor == "schedutil"
    assert state.temperature_c == 45.3
    assert state.load == 1.25
    assert (state.busy_ticks, state.steal_ticks) == (10 + 20 + 30 + 6 + 7, 8)
    assert (state.battery_percent, state.charging) == (81.0, False)
    assert state == msgspec.json.decode(json.dumps(state.to_dict()), type=type(state))


@pytest.mark.parametrize("text", ["", "garbage", "==> /proc/stat\ncpu"])
def test_what_a_device_hides_is_left_out(text: str) -> None:
    state = _linux.state_of(_linux.split_files(text))
    assert state.temperature_c is None
    assert state.mhz == {}


def test_a_shell_prints_what_we_read(tmp_path: Path) -> None:
    for name, text in {"a1": "first\nline\n", "a2": "no line break", "b": "x"}.items():
        (tmp_path / name).write_text(text)
    command = _linux.print_files([f"{tmp_path}/a[0-9]*", f"{tmp_path}/none*"])
    printed = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert _linux.split_files(printed.stdout) == {
        f"{tmp_path}/a1": "first\nline",
        f"{tmp_path}/a2": "no line break",
    }


def test_what_a_device_says_of_its_cores_is_bounded() -> None:
    files = {"/sys/devices/system/cpu/present": "0-1,0-3000000000," + "9" * 5000}
    assert [cluster.cores for cluster in _linux.clusters_of(files)] == [(0, 1)]
