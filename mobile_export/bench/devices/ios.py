"""``ios[:UDID]``: an iPhone or iPad on a cable.

On a Mac with Xcode's command line tools, coremltools finds it (`xcrun devicectl`) and its signed
ModelRunner app runs models there (`bench.runners.coreml`). On any other system `pymobiledevice3`
finds it and says what it is; running a model from there needs an app on the device that does not
exist yet. Nothing here has been exercised with a device: it is written against the documented
interfaces and tested against exchanges made up after their documentation.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ...errors import DeviceError, summary
from ...system.install import install_command
from . import Found
from .device import Completed, DeviceInfo, State, asked_once

__all__ = ["IosDevice", "connect", "find", "require_spec"]

_TOOL = "pymobiledevice3"
_LIST_SECONDS = 30


class IosDevice:
    """One iPhone or iPad.

    Attributes:
        handle: coremltools' own ``Device``, on a Mac; None elsewhere.
    """

    kind = "ios"
    here = False

    def __init__(self, facts: Mapping[str, Any], handle: Any = None) -> None:
        self.spec = f"{self.kind}:{facts['udid']}"
        self.handle = handle
        self._facts = facts

    @asked_once
    def describe(self) -> DeviceInfo:
        return DeviceInfo(
            spec=self.spec,
            kind=self.kind,
            name=self._facts["name"],
            soc=self._facts.get("soc"),
            arch="arm64",
            os=f"iOS {self._facts['version']}",
            memory_mb=None,
        )

    def state(self) -> State:
        """Empty on a Mac: devicectl tells nothing of temperature or battery."""
        if self.handle is not None:
            return State()
        battery = _tool("diagnostics", "battery", "single", "--udid", self._facts["udid"])
        if not isinstance(battery, Mapping):
            return State()
        celsius = battery.get("Temperature")  # hundredths of a degree
        percent = battery.get("CurrentCapacity")
        return State(
            battery_percent=None if percent is None else float(percent),
            charging=battery.get("IsCharging"),
            extra={} if celsius is None else {"battery_temperature_c": celsius / 100},
        )

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        """Files go to the device with the model, by coremltools; nothing to do before."""
        return str(local.resolve())

    def pull(self, remote: str, local: Path) -> None:
        raise DeviceError(f"{self.spec} gives no files back.")

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        raise DeviceError(f"{self.spec} has no shell.", hint="Use the runner coreml, on a Mac.")

    def fixed_performance(self) -> AbstractContextManager[None]:
        raise DeviceError(
            f"{self.spec} has no mode of fixed performance.", hint="Leave --fixed-performance out."
        )

    def reconnect(self) -> None:
        """Nothing to do: every call opens a connection of its own."""

    def close(self) -> None:
        return None


def require_spec(spec: str) -> None:
    """Any text may be a UDID: it is compared with those that are connected, and goes nowhere."""


def connect(spec: str) -> IosDevice:
    """The device that ``spec`` names.

    Raises:
        DeviceError: nothing can look for it here, it is not there, or there are several.
    """
    _, _, udid = spec.partition(":")
    devices = _devices()
    chosen = [device for device in devices if not udid or device.spec.endswith(f":{udid}")]
    listed = ", ".join(device.spec for device in devices) or "none"
    if not chosen:
        raise DeviceError(
            f"There is no iPhone or iPad {udid}".rstrip() + ".",
            hint=f"Connected: {listed}. Unlock it, and trust this computer.",
        )
    if len(chosen) > 1:
        raise DeviceError(
            f"There are {len(chosen)} iPhones and iPads.", hint=f"Say which one: {listed}"
        )
    return chosen[0]


def find() -> list[Found]:
    """What is connected; nothing, without a word, where no tool could look for it."""
    if _looks_with() is None:
        return []
    try:
        return [Found(device.spec) for device in _devices()]
    except DeviceError as error:
        return [Found("ios", error.message)]


def _looks_with() -> str | None:
    """What finds devices here: ``coremltools`` on a Mac, ``pymobiledevice3`` elsewhere, or None."""
    if sys.platform == "darwin" and shutil.which("xcrun"):
        return "coremltools" if importlib.util.find_spec("coremltools") else None
    return _TOOL if shutil.which(_TOOL) else None


def _devices() -> list[IosDevice]:
    found = _looks_with()
    if found is None:
        raise DeviceError(
            "Nothing on this machine can look for an iPhone.",
            hint=f"On a Mac: xcode-select --install, and {install_command('coreml')}. "
            f"Elsewhere: pip install {_TOOL}",
        )
    return _by_pymobiledevice() if found == _TOOL else _by_coremltools()


def _by_coremltools() -> list[IosDevice]:
    from coremltools.models.ml_program.experimental.remote_device import Device, DeviceType

    try:
        handles = [
            handle
            for kind in (DeviceType.IPHONE, DeviceType.IPAD)
            for handle in Device.get_connected_devices(device_type=kind)
        ]
    except Exception as error:  # devicectl's failures have a private type
        raise DeviceError(f"xcrun devicectl cannot list devices: {summary(error)}") from error
    return [
        IosDevice({"udid": h.udid, "name": h.name, "version": h.os_version}, h) for h in handles
    ]


def _by_pymobiledevice() -> list[IosDevice]:
    listed = _tool("usbmux", "list")
    if not isinstance(listed, list):
        raise DeviceError(f"{_TOOL} usbmux list printed no list of devices.")
    return [
        IosDevice(
            {
                "udid": entry.get("Identifier") or entry.get("UniqueDeviceID"),
                "name": f"{entry.get('DeviceName', '')} ({entry.get('ProductType', '?')})".strip(),
                "soc": entry.get("HardwarePlatform") or entry.get("HardwareModel"),
                "version": entry.get("ProductVersion", "?"),
            }
        )
        for entry in listed
        if entry.get("Identifier") or entry.get("UniqueDeviceID")
    ]


def _tool(*words: str) -> Any:
    """The JSON that a command of pymobiledevice3 prints."""
    try:
        done = subprocess.run(
            [_TOOL, *words], capture_output=True, timeout=_LIST_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DeviceError(f"{_TOOL} {' '.join(words)} failed: {summary(error)}") from error
    try:
        return json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise DeviceError(
            f"{_TOOL} {' '.join(words)} printed no JSON: {said[-1] if said else 'nothing'}",
            hint="Is the device unlocked, and does it trust this computer?",
        ) from None
