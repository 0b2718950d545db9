"""The files of the phone that is not there: what a Xiaomi Mi 10 (Snapdragon 865) would print."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

__all__ = ["PROPS", "make_files"]

PROPS = {
    "ro.product.name": "umi_eea",
    "ro.product.model": "Mi 10",
    "ro.product.device": "umi",
    "ro.product.manufacturer": "Xiaomi",
    "ro.product.cpu.abi": "arm64-v8a",
    "ro.soc.manufacturer": "QTI",
    "ro.soc.model": "SM8250",
    "ro.board.platform": "kona",
    "ro.build.version.release": "13",
    "ro.build.version.sdk": "33",
}

_LITTLE, _BIG, _PRIME = range(4), range(4, 7), range(7, 8)
_MAX_KHZ = {
    **dict.fromkeys(_LITTLE, 1804800),
    **dict.fromkeys(_BIG, 2419200),
    **dict.fromkeys(_PRIME, 2841600),
}
_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc"

BATTERY = """\
Current Battery Service state:
  AC powered: false
  USB powered: true
  Wireless powered: false
  Max charging current: 500000
  Max charging voltage: 5000000
  Charge counter: 3824000
  status: 2
  health: 2
  present: true
  level: 84
  scale: 100
  voltage: 4231
  temperature: 291
  technology: Li-poly
"""

THERMAL = """\
IsStatusOverride: false
ThermalEventListeners:
\tcallbacks: 2
ThermalStatusListeners:
\tcallbacks: 4
Thermal Status: 0
Cached temperatures:
\tTemperature{mValue=61.0, mType=0, mName=CPU7, mStatus=0}
HAL Ready: true
HAL connection:
\tThermalHAL 2.0 connected: yes
Current temperatures from HAL:
\tTemperature{mValue=38.2, mType=0, mName=CPU0, mStatus=0}
\tTemperature{mValue=41.5, mType=0, mName=CPU7, mStatus=0}
\tTemperature{mValue=36.9, mType=1, mName=GPU0, mStatus=0}
\tTemperature{mValue=29.1, mType=2, mName=battery, mStatus=0}
\tTemperature{mValue=31.4, mType=3, mName=skin, mStatus=0}
\tTemperature{mValue=4120.0, mType=6, mName=vbat, mStatus=0}
\tTemperature{mValue=NaN, mType=13, mName=soc, mStatus=0}
Current cooling devices from HAL:
\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-0}
Temperature static thresholds from HAL:
\tTemperatureThreshold{mType=0, mName=CPU0, mHotThrottlingThresholds=[NaN, NaN, NaN, 95.0]}
"""


def make_files(root: Path) -> None:
    """Write what Android's own files and services would hold under ``root``."""
    write = _writer(root)
    write("system/build.prop", "".join(f"{key}={value}\n" for key, value in PROPS.items()))
    write("fake/battery", BATTERY)
    write("fake/thermalservice", THERMAL)
    write("proc/cpuinfo", _cpuinfo())
    write("proc/meminfo", "MemTotal:        7812345 kB\nMemFree:          512345 kB\n")
    write("proc/loadavg", "3.25 2.80 2.61 2/4321 12345\n")
    write("proc/stat", "cpu  1000 20 300 90000 40 50 60 7 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n")
    write("sys/devices/system/cpu/present", "0-7\n")
    for core, khz in _MAX_KHZ.items():
        folder = f"sys/devices/system/cpu/cpu{core}/cpufreq"
        write(f"{folder}/cpuinfo_max_freq", f"{khz}\n")
        write(f"{folder}/scaling_max_freq", f"{khz}\n")
        write(f"{folder}/scaling_cur_freq", f"{khz // 2}\n")
        write(f"{folder}/scaling_governor", "schedutil\n")
    (root / "data/local/tmp").mkdir(parents=True, exist_ok=True)
    for script in (Path(__file__).parent / "android").iterdir():
        shutil.copy(script, root / "system/bin")


def _writer(root: Path) -> Callable[[str, str], None]:
    def write(name: str, text: str) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)

    (root / "system/bin").mkdir(parents=True, exist_ok=True)
    return write


def _cpuinfo() -> str:
    blocks = []
    for core in _MAX_KHZ:
        maker, part = ("0x51", "0x805") if core in _LITTLE else ("0x41", "0xd0d")
        blocks.append(
            f"processor\t: {core}\nBogoMIPS\t: 38.40\nFeatures\t: {_FEATURES} asimddp\n"
            f"CPU implementer\t: {maker}\nCPU architecture: 8\nCPU variant\t: 0x1\n"
            f"CPU part\t: {part}\nCPU revision\t: 14\n"
        )
    return "\n".join(blocks) + "\nHardware\t: Qualcomm Technologies, Inc SM8250\n"
