"""What Android tells about itself, read from the text of its own tools.

Each question is one shell script, hence one round trip: the answers of Android's tools are
separated by lines ``@@name``, those of the kernel's files as `_linux.print_files` does. Formats:
AOSP's ``getprop``, ``dumpsys battery`` (BatteryService) and ``dumpsys thermalservice``
(ThermalManagerService).
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from .device import DeviceInfo, State
from .linux import (
    capped_mhz,
    clusters_of,
    features_of,
    memory_mb,
    print_files,
    split_files,
    state_of,
)

__all__ = ["DESCRIBE", "STATE", "parse_description", "parse_state"]

_CPU = "/sys/devices/system/cpu"
_CPUFREQ = f"{_CPU}/cpu[0-9]*/cpufreq"
_INFO_FILES = (
    *("/proc/cpuinfo", "/proc/meminfo"),
    *(f"{_CPU}/present", f"{_CPUFREQ}/cpuinfo_max_freq"),
)
_STATE_FILES = (
    *("/proc/loadavg", "/proc/stat"),
    *(f"{_CPUFREQ}/scaling_{file}" for file in ("cur_freq", "max_freq", "governor")),
    f"{_CPUFREQ}/cpuinfo_max_freq",
)

DESCRIBE = f"""\
echo @@properties; getprop
echo @@arch; uname -m
echo @@files; {print_files(_INFO_FILES)}"""

STATE = f"""\
echo @@thermal; dumpsys thermalservice
echo @@battery; dumpsys battery
echo @@files; {print_files(_STATE_FILES)}"""

_CPU_SENSOR, _SKIN_SENSOR, _SOC_SENSOR = 0, 3, 13  # android.hardware.thermal TemperatureType
_MODERATE = 2  # android.os.PowerManager.THERMAL_STATUS_MODERATE
_CHARGING, _FULL = 2, 5  # android.os.BatteryManager.BATTERY_STATUS_*


def _sections(text: str) -> dict[str, str]:
    """Text after every line ``@@name``."""
    parts = re.split(r"^@@(\w+)[ \t]*$", text.replace("\r\n", "\n"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def parse_description(spec: str, text: str) -> DeviceInfo:
    """The answers of `DESCRIBE`; what is not there is None or empty."""
    parts = _sections(text)
    props = _properties(parts.get("properties", ""))
    files = split_files(parts.get("files", ""))
    return DeviceInfo(
        spec=spec,
        kind="adb",
        name=_name(props) or spec,
        soc=_soc(props),
        arch=parts.get("arch", "").strip() or props.get("ro.product.cpu.abi", "unknown"),
        os=_os(props),
        memory_mb=memory_mb(files),
        clusters=clusters_of(files),
        features=features_of(files),
    )


def _properties(text: str) -> dict[str, str]:
    """``[key]: [value]`` of getprop; values may have several lines."""
    return dict(re.findall(r"^\[([^\]\n]+)\]: \[(.*?)\]$", text, re.MULTILINE | re.DOTALL))


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
    """The answers of `STATE`; what is not there is None or empty.

    The device is throttled when Android says so (thermal status "moderate" or worse). A core that
    may not reach its highest clock is told in ``extra``: it matters when it ran.
    """
    parts = _sections(text)
    files = split_files(parts.get("files", ""))
    thermal = _thermal(parts.get("thermal", ""))
    battery = _battery(parts.get("battery", ""))
    state = state_of(files)
    status, capped = thermal.get("status"), capped_mhz(files)
    extra: dict[str, Any] = {}
    if thermal["sensors"]:
        extra["temperatures_c"] = thermal["sensors"]
    if capped:
        extra["capped_mhz"] = {str(core): mhz for core, mhz in capped.items()}
    return dataclasses.replace(
        state,
        temperature_c=thermal.get("celsius"),
        thermal_status=status,
        throttled=None if status is None else status >= _MODERATE,
        battery_percent=battery.get("percent"),
        charging=battery.get("charging"),
        extra={**state.extra, **extra},
    )


def _thermal(text: str) -> dict[str, Any]:
    """``status`` 0 to 6, ``sensors`` name to °C, ``celsius`` of the hottest of CPU and SoC.

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
    shown = (_CPU_SENSOR, _SOC_SENSOR, _SKIN_SENSOR)
    facts["sensors"] = {name: celsius for kind, name, celsius in sensors if kind in shown}
    for kinds in (shown[:2], shown[2:]):
        values = [celsius for kind, _, celsius in sensors if kind in kinds]
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
    powered = [value for key, value in values.items() if key.endswith(" powered")]
    if powered:
        facts["charging"] = "true" in powered
    elif values.get("status", "").isdigit():
        facts["charging"] = int(values["status"]) in (_CHARGING, _FULL)
    return facts
