"""What /proc and /sys of a Linux or Android device say, from the texts of their files.

`INFO_FILES` and `STATE_FILES` say which files to read; how they are brought here (opened, or
printed by a shell over ssh or adb) is the business of the device. A file that is missing or
unreadable is left out, and then so is what it would have told.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from .device import Cluster, State

__all__ = [
    "INFO_FILES",
    "STATE_FILES",
    "capped_mhz",
    "clusters_of",
    "cpu_name",
    "features_of",
    "memory_mb",
    "os_name",
    "print_files",
    "split_files",
    "state_of",
]

_CPUFREQ = "/sys/devices/system/cpu/cpu[0-9]*/cpufreq"

INFO_FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/device-tree/model",
    "/etc/os-release",
    "/sys/devices/virtual/dmi/id/product_name",
    "/sys/devices/soc0/machine",
    "/sys/devices/system/cpu/present",
    f"{_CPUFREQ}/cpuinfo_max_freq",
)
"""Shell patterns of what does not change."""

STATE_FILES = (
    "/proc/loadavg",
    "/proc/stat",
    f"{_CPUFREQ}/scaling_cur_freq",
    f"{_CPUFREQ}/scaling_governor",
    "/sys/class/thermal/thermal_zone[0-9]*/type",
    "/sys/class/thermal/thermal_zone[0-9]*/temp",
    "/sys/class/power_supply/BAT*/capacity",
    "/sys/class/power_supply/BAT*/status",
    "/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count",
)
"""Shell patterns of what changes."""

_MARK = "==> "
_CORE = re.compile(r"/cpu/cpu(\d+)/")
_ZONE = re.compile(r"/(thermal_zone\d+)/")
_CPU_ZONE = re.compile(r"cpu|soc|core|pkg|package|tsens|cluster|little|big|mtktscpu|x86", re.I)
_USED_FEATURES = frozenset({
    "asimd", "asimddp", "asimdhp", "fphp", "i8mm", "bf16", "sve", "sve2", "sme",
    "sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512vl", "avx512_vnni", "avx_vnni",
})  # fmt: skip
_ARM_PARTS = {
    0xD03: "Cortex-A53", 0xD04: "Cortex-A35", 0xD05: "Cortex-A55", 0xD07: "Cortex-A57",
    0xD08: "Cortex-A72", 0xD09: "Cortex-A73", 0xD0A: "Cortex-A75", 0xD0B: "Cortex-A76",
    0xD0C: "Neoverse-N1", 0xD0D: "Cortex-A77", 0xD40: "Neoverse-V1", 0xD41: "Cortex-A78",
    0xD44: "Cortex-X1", 0xD46: "Cortex-A510", 0xD47: "Cortex-A710", 0xD48: "Cortex-X2",
    0xD49: "Neoverse-N2", 0xD4B: "Cortex-A78C", 0xD4C: "Cortex-X1C", 0xD4D: "Cortex-A715",
    0xD4E: "Cortex-X3", 0xD4F: "Neoverse-V2", 0xD80: "Cortex-A520", 0xD81: "Cortex-A720",
    0xD82: "Cortex-X4", 0xD85: "Cortex-X925", 0xD87: "Cortex-A725",
}  # fmt: skip
"""Part numbers of cores designed by ARM (implementer 0x41), from their reference manuals."""
_QUALCOMM_PARTS = {
    0x800: "Kryo 2xx Gold", 0x801: "Kryo 2xx Silver", 0x802: "Kryo 3xx Gold",
    0x803: "Kryo 3xx Silver", 0x804: "Kryo 4xx Gold", 0x805: "Kryo 4xx Silver",
}  # fmt: skip
"""The same of Qualcomm (implementer 0x51), as util-linux's lscpu names them."""
_PARTS = {0x41: _ARM_PARTS, 0x51: _QUALCOMM_PARTS}


def print_files(patterns: Iterable[str]) -> str:
    """A POSIX shell command that prints the files of ``patterns`` for `split_files`."""
    return (
        f"for f in {' '.join(patterns)}; do "
        f"""[ -r "$f" ] && echo "{_MARK}$f" && cat "$f" 2>/dev/null && echo; done; true"""
    )


def split_files(text: str) -> dict[str, str]:
    """The opposite of `print_files`: path to contents."""
    files: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith(_MARK):
            current = files.setdefault(line.removeprefix(_MARK).strip(), [])
        else:
            current.append(line)
    return {path: "\n".join(lines).strip("\n\0 ") for path, lines in files.items()}


def cpu_name(files: Mapping[str, str]) -> str | None:
    """Of the processor or SoC, from cpuinfo (x86 ``model name``, ARM ``Hardware``)."""
    for key in ("model name", "Hardware", "cpu model", "Model"):
        found = re.search(rf"^{key}\s*:\s*(\S.*)$", files.get("/proc/cpuinfo", ""), re.M)
        if found:
            return found[1].strip()
    return files.get("/sys/devices/soc0/machine") or None


def memory_mb(files: Mapping[str, str]) -> int | None:
    """Physical memory in MiB."""
    found = re.search(r"^MemTotal:\s*(\d+) kB", files.get("/proc/meminfo", ""), re.M)
    return int(found[1]) // 1024 if found else None


def os_name(files: Mapping[str, str], kernel: str) -> str:
    """``Debian GNU/Linux 12 (bookworm), Linux 6.1.0``."""
    found = re.search(r"^PRETTY_NAME=(.*)$", files.get("/etc/os-release", ""), re.M)
    return f"{found[1].strip(chr(34))}, {kernel}" if found else kernel


def features_of(files: Mapping[str, str]) -> tuple[str, ...]:
    """Of the CPU, those that kernels of neural networks use."""
    found = re.search(r"^(?:Features|flags)\s*:\s*(.*)$", files.get("/proc/cpuinfo", ""), re.M)
    return tuple(sorted(_USED_FEATURES & set(found[1].split()))) if found else ()


def clusters_of(files: Mapping[str, str]) -> tuple[Cluster, ...]:
    """Cores of the same name and highest clock together, the slowest first."""
    names = _core_names(files.get("/proc/cpuinfo", ""))
    highest = {
        core: round(khz / 1000) for core, khz in _per_core(files, "cpuinfo_max_freq").items()
    }
    cores = _present(files.get("/sys/devices/system/cpu/present", "")) | set(names) | set(highest)
    groups: dict[tuple[float | None, str | None], list[int]] = defaultdict(list)
    for core in sorted(cores):
        groups[highest.get(core), names.get(core)].append(core)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0] or 0.0, item[1]))
    return tuple(Cluster(tuple(cores), mhz, name) for (mhz, name), cores in ordered)


def state_of(files: Mapping[str, str]) -> State:
    """Clocks, governor, temperature, load and battery."""
    governors = sorted({t for p, t in files.items() if p.endswith("/scaling_governor")})
    battery = [text for path, text in files.items() if path.endswith("/capacity")]
    charging = [text for path, text in files.items() if re.search(r"BAT[^/]*/status$", path)]
    load = files.get("/proc/loadavg", "").split()
    busy, steal = _ticks(files.get("/proc/stat", ""))
    throttles = [int(t) for p, t in files.items() if p.endswith("_throttle_count") and t.isdigit()]
    return State(
        mhz={core: khz / 1000 for core, khz in _per_core(files, "scaling_cur_freq").items()},
        governor=",".join(governors) or None,
        temperature_c=_temperature(files),
        battery_percent=float(battery[0]) if battery and battery[0].isdigit() else None,
        charging=charging[0] != "Discharging" if charging else None,
        load=float(load[0]) if load else None,
        busy_ticks=busy,
        steal_ticks=steal,
        core_ticks=_core_ticks(files.get("/proc/stat", "")),
        ticks_per_second=None if busy is None else 100,  # USER_HZ, the same on all Linux ABIs
        extra={"throttle_count": sum(throttles)} if throttles else {},
    )


def capped_mhz(files: Mapping[str, str]) -> dict[int, float]:
    """Cores that may not reach their highest clock (heat, power saving), to what they may reach.

    Needs ``scaling_max_freq`` and ``cpuinfo_max_freq`` among ``files``.
    """
    highest = _per_core(files, "cpuinfo_max_freq")
    allowed = _per_core(files, "scaling_max_freq")
    return {core: khz / 1000 for core, khz in allowed.items() if khz < highest.get(core, khz)}


def _core_names(cpuinfo: str) -> dict[int, str | None]:
    """Core number to the name of its design (ARM's and Qualcomm's part numbers)."""
    names: dict[int, str | None] = {}
    core = 0
    implementer = 0
    for line in cpuinfo.splitlines():
        key, _, value = (part.strip() for part in line.partition(":"))
        if key == "processor" and value.isdigit():
            core = int(value)
            names[core] = None
        elif key == "CPU implementer":
            implementer = int(value, 16)
        elif key == "CPU part" and implementer in _PARTS:
            names[core] = _PARTS[implementer].get(int(value, 16))
    return names


def _per_core(files: Mapping[str, str], name: str) -> dict[int, int]:
    return {
        int(core[1]): int(text)
        for path, text in files.items()
        if path.endswith(f"/{name}") and (core := _CORE.search(path)) and text.isdigit()
    }


def _present(text: str) -> set[int]:
    """``0-3,6`` -> {0, 1, 2, 3, 6}."""
    cores: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if re.fullmatch(r"[0-9]{1,5}", first) and re.fullmatch(r"[0-9]{0,5}", last):
            cores |= set(range(int(first), int(last or first) + 1))
    return cores


def _temperature(files: Mapping[str, str]) -> float | None:
    """The hottest zone of the CPU; of any zone when none has such a name."""
    types = {m[1]: t for p, t in files.items() if p.endswith("/type") and (m := _ZONE.search(p))}
    zones: list[tuple[bool, float]] = []
    for path, text in files.items():
        zone = _ZONE.search(path)
        if zone and path.endswith("/temp") and re.fullmatch(r"-?\d+", text):
            value = int(text)
            celsius = value / 1000 if abs(value) > 200 else float(value)  # some give degrees
            if -30 < celsius < 150:
                zones.append((bool(_CPU_ZONE.search(types.get(zone[1], ""))), celsius))
    of_cpu = [celsius for named, celsius in zones if named]
    return max(of_cpu or [celsius for _, celsius in zones], default=None)


def _core_ticks(stat: str) -> dict[int, int]:
    """Busy ticks of each core since boot."""
    lines = re.findall(r"^cpu(\d{1,5})\s+([\d ]+)$", stat, re.M)
    found = {int(core): [int(n) for n in numbers.split()] for core, numbers in lines}
    return {core: sum(n[:3]) + sum(n[5:7]) for core, n in found.items()}


def _ticks(stat: str) -> tuple[int | None, int | None]:
    """Busy and stolen ticks of all cores since boot."""
    found = re.match(r"cpu\s+([\d ]+)", stat)
    if not found:
        return None, None
    numbers = [int(n) for n in found[1].split()] + [0] * 8
    user, nice, system, _idle, _wait, irq, softirq, steal = numbers[:8]
    return user + nice + system + irq + softirq, steal
