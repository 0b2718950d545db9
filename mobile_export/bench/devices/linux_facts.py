"""What a Linux kernel tells about its CPU, read from text: shared by all devices that run one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..device import Cluster

__all__ = [
    "ARM_CORES",
    "Clock",
    "clusters",
    "core_names",
    "cpu_features",
    "memory_mb",
    "parse_clocks",
    "parse_core_list",
    "parse_ticks",
]

ARM_CORES: Mapping[tuple[int, int], str] = {
    (0x41, 0xD03): "Cortex-A53",
    (0x41, 0xD04): "Cortex-A35",
    (0x41, 0xD05): "Cortex-A55",
    (0x41, 0xD07): "Cortex-A57",
    (0x41, 0xD08): "Cortex-A72",
    (0x41, 0xD09): "Cortex-A73",
    (0x41, 0xD0A): "Cortex-A75",
    (0x41, 0xD0B): "Cortex-A76",
    (0x41, 0xD0C): "Neoverse-N1",
    (0x41, 0xD0D): "Cortex-A77",
    (0x41, 0xD40): "Neoverse-V1",
    (0x41, 0xD41): "Cortex-A78",
    (0x41, 0xD44): "Cortex-X1",
    (0x41, 0xD46): "Cortex-A510",
    (0x41, 0xD47): "Cortex-A710",
    (0x41, 0xD48): "Cortex-X2",
    (0x41, 0xD49): "Neoverse-N2",
    (0x41, 0xD4B): "Cortex-A78C",
    (0x41, 0xD4C): "Cortex-X1C",
    (0x41, 0xD4D): "Cortex-A715",
    (0x41, 0xD4E): "Cortex-X3",
    (0x41, 0xD4F): "Neoverse-V2",
    (0x41, 0xD80): "Cortex-A520",
    (0x41, 0xD81): "Cortex-A720",
    (0x41, 0xD82): "Cortex-X4",
    (0x41, 0xD85): "Cortex-X925",
    (0x41, 0xD87): "Cortex-A725",
    (0x51, 0x800): "Kryo 2xx Gold",
    (0x51, 0x801): "Kryo 2xx Silver",
    (0x51, 0x802): "Kryo 3xx Gold",
    (0x51, 0x803): "Kryo 3xx Silver",
    (0x51, 0x804): "Kryo 4xx Gold",
    (0x51, 0x805): "Kryo 4xx Silver",
}
"""(implementer, part) of the main ID register to the name that util-linux's lscpu has."""

_KERNEL_FEATURES = frozenset(
    {"asimd", "asimdhp", "asimddp", "asimdfhm", "fphp", "bf16", "i8mm", "sve", "sve2", "sme"}
    | {"avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16"}
)


class Clock:
    """Of one core, MHz; None where the kernel does not tell."""

    def __init__(self) -> None:
        self.current: float | None = None
        self.allowed: float | None = None
        self.maximum: float | None = None
        self.governor: str | None = None

    @property
    def capped(self) -> bool:
        """The highest clock allowed now is below the highest possible: heat or power saving."""
        return bool(self.allowed and self.maximum and self.allowed < self.maximum)


_CLOCK_FILES = {
    "scaling_cur_freq": "current",
    "scaling_max_freq": "allowed",
    "cpuinfo_max_freq": "maximum",
}


def parse_clocks(text: str) -> dict[int, Clock]:
    """Clocks by core, from lines ``/sys/…/cpu4/cpufreq/scaling_cur_freq:1800000``."""
    clocks: dict[int, Clock] = {}
    for core, file, value in re.findall(r"/cpu(\d+)/cpufreq/(\w+):[ \t]*(\S+)", text):
        clock = clocks.setdefault(int(core), Clock())
        if file == "scaling_governor":
            clock.governor = value
        elif file in _CLOCK_FILES and value.isdigit():
            setattr(clock, _CLOCK_FILES[file], int(value) / 1000)
    return clocks


def parse_core_list(text: str) -> tuple[int, ...]:
    """``0-3,7`` -> (0, 1, 2, 3, 7)."""
    cores: list[int] = []
    for part in re.findall(r"\d+(?:-\d+)?", text):
        first, _, last = part.partition("-")
        cores.extend(range(int(first), int(last or first) + 1))
    return tuple(cores)


def core_names(cpuinfo: str) -> dict[int, str]:
    """Name of every core in ``/proc/cpuinfo`` of an ARM kernel that is in `ARM_CORES`."""
    names: dict[int, str] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        number = re.search(r"^processor\s*:\s*(\d+)", block, re.MULTILINE)
        maker = re.search(r"^CPU implementer\s*:\s*(0x[0-9a-fA-F]+)", block, re.MULTILINE)
        part = re.search(r"^CPU part\s*:\s*(0x[0-9a-fA-F]+)", block, re.MULTILINE)
        if number and maker and part:
            key = (int(maker[1], 16), int(part[1], 16))
            names[int(number[1])] = ARM_CORES.get(key, f"core {key[0]:#x}:{key[1]:#x}")
    return names


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """Features of ``/proc/cpuinfo`` that kernels of neural networks use, sorted."""
    line = re.search(r"^(?:Features|flags)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return tuple(sorted(_KERNEL_FEATURES & set(line[1].split()))) if line else ()


def memory_mb(meminfo: str) -> int | None:
    """MemTotal of ``/proc/meminfo`` in MiB."""
    line = re.search(r"^MemTotal:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(line[1]) // 1024 if line else None


def parse_ticks(stat: str) -> tuple[int, int] | None:
    """(busy, stolen) ticks of all cores since boot, from ``/proc/stat``."""
    line = re.search(r"^cpu +(\d+(?: \d+){6,})", stat, re.MULTILINE)
    if line is None:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, *rest = map(int, line[1].split())
    return user + nice + system + irq + softirq, rest[0] if rest else 0


def clusters(
    cores: Iterable[int], maximum_mhz: Mapping[int, float | None], names: Mapping[int, str]
) -> tuple[Cluster, ...]:
    """Cores with the same name and highest clock together, the slowest first."""
    groups: dict[tuple[float, str], list[int]] = {}
    for core in sorted(cores):
        key = (maximum_mhz.get(core) or 0.0, names.get(core) or "")
        groups.setdefault(key, []).append(core)
    return tuple(
        Cluster(tuple(members), mhz or None, name or None)
        for (mhz, name), members in sorted(groups.items())
    )
