"""What users, devices and files are called stays one word, and never becomes an option.

Tests bench/devices: every place where such a name goes into the words of a command.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mobile_export.bench.devices import adb, connect, full_spec
from mobile_export.bench.devices.adb_client import AdbClient
from mobile_export.errors import DeviceError, UsageError

SERIALS = ("R5CR10 (2)", "[fe80::1%eth0]:5555", "a;touch x", "$(touch x)", "é\u3000b")

ADB = """#!{python}
import json, sys
words = sys.argv[1:]
with open({log!r}, "a") as stream:
    stream.write(json.dumps(words) + "\\n")
if words == ["devices"]:
    print("* daemon started successfully\\nList of devices attached")
    for serial in {serials!r}:
        print(serial + "\\tdevice")
    print("locked one\\tunauthorized\\nother\\tno permissions (user in plugdev group); see [x]\\n")
elif "shell" in words:
    end = words[-1].rpartition("echo end-")[2].split()[0]
    print("\\nend-" + end + " 0")
elif "connect" in words:
    print("connected to " + words[-1])
"""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[list[str]]]:
    """A program ``adb`` that knows devices of strange names; gives what it was asked."""
    log, program = tmp_path / "log", tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(ADB.format(python=sys.executable, log=str(log), serials=SERIALS))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return lambda: [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("serial", SERIALS)
def test_a_serial_is_one_word(serial: str, said: Callable[[], list[list[str]]]) -> None:
    device = connect(f"adb:{serial}")
    device.close()
    assert device.spec == f"adb:{serial}"
    spoken = [words for words in said() if words[0] == "-s"]
    assert spoken
    assert all(words[1] == serial and words[2] == "shell" for words in spoken)


def test_clients_do_not_start_two_servers_of_adb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As adb does it: a client that finds no server starts one, and fails if another one came."""
    program, server = tmp_path / "adb", tmp_path / "server"
    program.write_text(
        f"#!/bin/sh\ntest -d {server} || {{ sleep 0.3; mkdir {server} || exit 1; }}\n"
        "echo 'List of devices attached'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(AdbClient().listed) for _ in range(3)]
    assert [one.result() for one in asked] == [[], [], []]


@pytest.mark.parametrize("name", ["-p.onnx", "--sync", "- x.onnx"])
def test_a_file_that_is_called_like_an_option(
    name: str, said: Callable[[], list[list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("x")
    device = connect(f"adb:{SERIALS[0]}")
    with pytest.raises(DeviceError, match="differs"):  # this adb copies nothing
        device.push(Path(name))
    with pytest.raises(DeviceError):
        device.pull("/data/x", Path(name))
    pushed = [words for words in said() if "push" in words or "pull" in words]
    assert len(pushed) == 2
    assert all(not word.startswith("-") for words in pushed for word in words[2:])


def test_problems_of_devices_are_read_whole(said: Callable[[], list[list[str]]]) -> None:
    found = {one.spec: one.problem for one in adb.find()}
    assert list(found)[:-2] == [f"adb:{serial}" for serial in SERIALS]
    assert "trust" in str(found["adb:locked one"])
    assert "no permissions" in str(found["adb:other"])


@pytest.mark.parametrize("spec", ["adb:-x", "adb:-H:5555"])
def test_a_serial_is_never_an_option(spec: str, said: Callable[[], list[list[str]]]) -> None:
    with pytest.raises(UsageError, match="names no device"):
        connect(spec)


@pytest.mark.parametrize(
    "spec",
    ["ssh://-oProxyCommand=x", "ssh://-oProxyCommand=x@host", "ssh://a b", "ssh://$(x)", "ssh://`x`",
     "ssh://h;x", "ssh://u|x@h", "ssh://h:port", "ssh://", "ssh://u'x@h", "ssh://[", "ssh://h:99999"],
)  # fmt: skip
def test_a_host_is_a_name(spec: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        connect(spec)


def test_a_folder_of_qemu_adds_no_option() -> None:
    with pytest.raises(UsageError, match="comma"):
        connect("qemu:x,out=/tmp/y")


def test_the_one_device_of_a_kind(said: Callable[[], list[list[str]]]) -> None:
    assert full_spec("local") == "local"
    assert full_spec("adb") == "adb"  # several are connected
    with pytest.raises(UsageError, match="no device"):
        full_spec("-x")


def test_round_trips_and_hashes_of_a_phone(
    said: Callable[[], list[list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Facts are one question, asked once; a file whose hash is known is not read again."""
    device = connect(f"adb:{SERIALS[0]}")
    before = len(said())
    for _ in range(3):
        device.describe()
    assert len(said()) == before + 1
    device.state()
    assert len(said()) == before + 2
    monkeypatch.setattr(adb, "sha256_of", lambda path: pytest.fail(f"{path} is hashed again"))
    file = tmp_path / "model"
    file.write_bytes(b"x")
    with pytest.raises(DeviceError, match="differs"):  # this adb copies nothing
        device.push(file, sha256="0" * 64)
