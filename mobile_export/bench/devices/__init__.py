"""The one table of devices: ``local``, ``adb[:SERIAL]``, ``ssh://…``, ``ios[:UDID]``, ``qemu``."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, cast

from ...errors import UsageError

if TYPE_CHECKING:
    from .device import Device

__all__ = [
    "DEVICES",
    "DeviceRow",
    "Found",
    "connect",
    "found_devices",
    "full_spec",
    "kind_of",
    "require_spec",
]


@dataclass(frozen=True)
class DeviceRow:
    """One kind of device.

    A module of ``bench.devices`` has ``connect(spec) -> Device``, ``find() -> list[Found]`` and
    ``require_spec(spec)``, which raises UsageError where ``spec`` can name no device, whatever is
    connected. It imports no vendor library before one of the first two is called.

    Attributes:
        kind: the part of a device's spec before ``:``.
        spec: how a device of this kind is named, for help and errors.
        title: for people.
        exercised: False when no machine of ours could run it; the documentation says so.
    """

    kind: str
    spec: str
    title: str
    exercised: bool = True

    def module(self) -> ModuleType:
        """The module of ``bench.devices`` of that name."""
        return importlib.import_module(f"{__package__}.{self.kind}")


@dataclass(frozen=True)
class Found:
    """A device that could be measured, or one that is there and cannot.

    Attributes:
        spec: what to give to ``--device``.
        problem: why it cannot be used, and what to do about it; None when it can.
    """

    spec: str
    problem: str | None = None


DEVICES: tuple[DeviceRow, ...] = (
    DeviceRow("local", "local", "this machine"),
    DeviceRow("adb", "adb[:SERIAL]", "an Android device, over USB or the network"),
    DeviceRow("ssh", "ssh://USER@HOST[:PORT]", "a board or computer with an SSH server"),
    DeviceRow("ios", "ios[:UDID]", "an iPhone or iPad on a cable", exercised=False),
    DeviceRow("qemu", "qemu[:FOLDER]", "an emulated ARM core that counts instructions"),
)


def kind_of(spec: str) -> DeviceRow:
    """The row of the device that ``spec`` names.

    Raises:
        UsageError: there is no such kind.
    """
    kind = spec.split(":", 1)[0]
    for row in DEVICES:
        if row.kind == kind:
            return row
    specs = ", ".join(row.spec for row in DEVICES)
    raise UsageError(f"There is no device {spec!r}.", hint=f"Valid devices: {specs}.")


def require_spec(spec: str) -> None:
    """Check, before anything is connected or waited for, that ``spec`` can name a device.

    Raises:
        UsageError: it never can, or there is no such kind.
    """
    kind_of(spec).module().require_spec(spec)


def connect(spec: str) -> Device:
    """The device that ``spec`` names, connected.

    Raises:
        UsageError: ``spec`` can name no device.
        DeviceError: it is not there, or there are several and ``spec`` does not say which.
    """
    module = kind_of(spec).module()
    module.require_spec(spec)
    return cast("Device", module.connect(spec))


def full_spec(spec: str) -> str:
    """``spec`` with the serial number of the one device that ``adb`` or ``ios`` stands for.

    It stays as it is where that cannot be told now: nothing is connected, or several are.

    Raises:
        UsageError: ``spec`` can name no device.
    """
    require_spec(spec)
    row = kind_of(spec)
    found = row.module().find() if spec == row.kind else []
    return cast("str", found[0].spec) if len(found) == 1 else spec


def found_devices() -> list[Found]:
    """Everything that is connected to this machine, of every kind that can be listed."""
    return [found for row in DEVICES for found in row.module().find()]
