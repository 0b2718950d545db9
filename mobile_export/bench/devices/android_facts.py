"""What Android tells about itself, read from the text of its own tools.

Each question is one shell script, hence one round trip: its answers are separated by lines
``@@name``. Formats: AOSP's ``getprop``, ``dumpsys battery`` (BatteryService), ``dumpsys
thermalservice`` (ThermalManagerService) and the kernel's cpufreq files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from ..device import DeviceInfo, State
from .linux_facts import (
    clusters,
    core_names,
    cpu_features,
    memory_mb,
    parse_clocks,
    parse_core_list,
    parse_ticks,
)

__all__ = ["DESCRIBE", "STATE", "parse_description", "parse_state"]

_CLOCKS = "grep -sH . /sys/devices/system/cpu/cpu[0-9]*/cpufreq/"

DESCRIBE = f"""\
echo @@properties; getprop
echo @@arch; uname -m
echo @@cpuinfo; cat /proc/cpuinfo
echo @@meminfo; grep MemTotal /proc/meminfo
echo @@present; cat /sys/devices/system/cpu/present
echo @@clocks; {_CLOCKS}cpuinfo_max_freq"""

STATE = f"""\
echo @@clocks
{_CLOCKS}scaling_cur_freq; {_CLOCKS}scaling_max_freq
{_CLOCKS}cpuinfo_max_freq; {_CLOCKS}scaling_governor
echo @@thermal; dumpsys thermalservice
echo @@battery; dumpsys battery
echo @@load; cat /proc/loadavg || uptime
echo @@stat; head -n 1 /proc/stat"""

_TICKS_PER_SECOND = 100  # USER_HZ of every Linux kernel for ARM and x86
_CPU, _SKIN, _SOC = 0, 3, 13  # android.hardware.thermal TemperatureType
_CHARGING, _FULL = 2, 5  # android.os.BatteryManager.BATTERY_STATUS_*


def _sections(text: str) -> dict[str, str]:
    """Text after every line ``@@name``."""
    parts = re.split(r"^@@(\w+)[ \t\r]*$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parse_properties(text: str) -> dict[str, str]:
    """``[key]: [value]`` of getprop; values may have several lines."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))


def parse_description(spec: str, text: str) -> DeviceInfo:
    """The answers of `DESCRIBE`; what is not there is None or empty."""
    parts = _sections(text)
    props = parse_properties(parts.get("properties", ""))
    cpuinfo = parts.get("cpuinfo", "")
    clocks = parse_clocks(parts.get("clocks", ""))
    names = core_names(cpuinfo)
    cores = parse_core_list(parts.get("present", "")) or sorted({*names, *clocks})
    return DeviceInfo(
        spec=spec,
        kind="adb",
        name=_name(props) or spec,
        soc=_soc(props),
        arch=parts.get("arch", "").strip() or props.get("ro.product.cpu.abi", "unknown"),
        os=_os(props),
        memory_mb=memory_mb(parts.get("meminfo", "")),
        clusters=clusters(cores, {core: clock.maximum for core, clock in clocks.items()}, names),
        features=cpu_features(cpuinfo),
    )


def _name(props: Mapping[str, str]) -> str:
    maker = props.get("ro.product.manufacturer", "")
    model = props.get("ro.product.model", "")
    if model.lower().startswith(maker.lower()):
        return model
    return f"{maker} {model}".strip()


def _soc(props: Mapping[str, str]) -> str | None:
    maker, model = props.get("ro.soc.manufacturer", ""), props.get("ro.soc.model", "")
    if model:  # Android 12 and later
        return f"{maker} {model}".strip()
    return props.get("ro.board.platform") or props.get("ro.hardware") or None


def _os(props: Mapping[str, str]) -> str:
    release, sdk = props.get("ro.build.version.release"), props.get("ro.build.version.sdk")
    return f"Android {release or '(version unknown)'}" + (f" (API {sdk})" if sdk else "")


def parse_state(text: str) -> State:
    """The answers of `STATE`; what is not there is None or empty."""
    parts = _sections(text)
    clocks = parse_clocks(parts.get("clocks", ""))
    thermal = _thermal(parts.get("thermal", ""))
    battery = _battery(parts.get("battery", ""))
    governors = sorted({clock.governor for clock in clocks.values() if clock.governor})
    capped = sorted(core for core, clock in clocks.items() if clock.capped)
    status = thermal.get("status")
    ticks = parse_ticks(parts.get("stat", ""))
    load = re.search(r"(?:load average:\s*)?(\d+\.\d+)", parts.get("load", ""))
    extra: dict[str, Any] = {"temperatures": thermal["all"]} if thermal.get("all") else {}
    if capped:
        extra["capped_mhz"] = {str(core): clocks[core].allowed for core in capped}
    return State(
        mhz={core: clock.current for core, clock in clocks.items() if clock.current},
        governor=",".join(governors) or None,
        temperature_c=thermal.get("celsius"),
        thermal_status=status,
        throttled=None if status is None and not clocks else bool(status or capped),
        battery_percent=battery.get("percent"),
        charging=battery.get("charging"),
        load=float(load[1]) if load else None,
        busy_ticks=ticks[0] if ticks else None,
        steal_ticks=ticks[1] if ticks else None,
        ticks_per_second=_TICKS_PER_SECOND if ticks else None,
        extra=extra,
    )


def _thermal(text: str) -> dict[str, Any]:
    """``status`` 0 to 6, ``all`` sensors in °C, ``celsius`` of the hottest of CPU and SoC.

    The HAL's current temperatures count; the cached ones, which may be hours old, only when the
    device prints no others. Without a sensor of the CPU the skin's is taken.
    """
    facts: dict[str, Any] = {}
    status = re.search(r"Thermal Status:\s*(\d+)", text)
    if status:
        facts["status"] = int(status[1])
    current = text.partition("Current temperatures from HAL")[2] or text
    current = current.partition("Current cooling devices")[0]
    sensors = [
        (int(kind), name.strip(), float(value))
        for value, kind, name in re.findall(
            r"Temperature\{mValue=([-\d.]+|NaN), mType=(-?\d+), mName=([^,}]*)", current
        )
        if math.isfinite(float(value))
    ]
    facts["all"] = {name: value for kind, name, value in sensors if kind in (_CPU, _SKIN, _SOC)}
    for kinds in ((_CPU, _SOC), (_SKIN,)):
        values = [value for kind, _, value in sensors if kind in kinds]
        if values:
            facts["celsius"] = max(values)
            break
    return facts


def _battery(text: str) -> dict[str, Any]:
    """``percent`` of the capacity, ``charging``: on external power."""
    values = dict(re.findall(r"^\s*([A-Za-z ]+?):\s*(\S+)\s*$", text, re.MULTILINE))
    facts: dict[str, Any] = {}
    level, scale = values.get("level", ""), values.get("scale", "100")
    if values.get("present") != "false" and level.isdigit() and scale.isdigit() and int(scale):
        facts["percent"] = 100.0 * int(level) / int(scale)
    powered = [v for k, v in values.items() if k.endswith(" powered")]
    if powered:
        facts["charging"] = "true" in powered
    elif values.get("status", "").isdigit():
        facts["charging"] = int(values["status"]) in (_CHARGING, _FULL)
    return facts
