"""The fake phone and an adb server of our own, for every test of this folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobile_export.bench.devices import adb
from mobile_export.bench.devices.adb import AdbDevice
from tests.bench.phone.phone import Phone


@pytest.fixture(scope="session")
def adb_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """An adb server that knows no device of this machine and leaves the user's server alone."""
    if shutil.which("adb") is None:
        pytest.skip("adb is not installed (apt-get install adb)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        "HOME": str(tmp_path_factory.mktemp("home")),  # of adb's keys
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        "ANDROID_ADB_SERVER_PORT": str(port),
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "0",
        "ADB_MDNS": "0",
    }
    yield environment
    subprocess.run(["adb", "kill-server"], env=os.environ | environment, capture_output=True)


@pytest.fixture
def adb_server(adb_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Use that server; it lists nothing at first."""
    for name, value in adb_environment.items():
        monkeypatch.setenv(name, value)
    subprocess.run(["adb", "disconnect"], capture_output=True)


@pytest.fixture
def new_phone(adb_server: None, tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    """Make phones; they are switched off after the test."""
    phones: list[Phone] = []

    def make(**options: Any) -> Phone:
        phones.append(Phone(tmp_path / f"phone-{len(phones)}", **options))
        return phones[-1]

    yield make
    for phone in phones:
        phone.close()
    subprocess.run(["adb", "disconnect"], capture_output=True)


@pytest.fixture
def phone(new_phone: Callable[..., Phone]) -> Phone:
    return new_phone()


@pytest.fixture
def device(phone: Phone) -> Iterator[AdbDevice]:
    """The phone, connected."""
    connected = adb.connect(f"adb:{phone.serial}")
    yield connected
    connected.close()
