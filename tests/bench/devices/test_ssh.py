"""``ssh://``, against a real sshd on the loopback interface."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobile_export.bench.devices import connect
from mobile_export.bench.devices.ssh import SshDevice
from mobile_export.errors import DeviceError, UsageError
from tests.bench.sshd import SSHD, running_sshd

needs_sshd = pytest.mark.skipif(SSHD is None, reason="needs Debian's openssh-server")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture
def host(server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[SshDevice]:
    address, tools = server
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    device = connect(f"ssh://{address}{sys.executable}")
    assert isinstance(device, SshDevice)
    yield device
    device.close()


@pytest.mark.parametrize(
    "spec", ["ssh://-oProxyCommand=touch%20x", "ssh://-oProxyCommand=x/", "ssh://-l@host"]
)
def test_a_host_is_never_an_option_of_ssh(spec: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        connect(spec)


@needs_sshd
def test_a_connection_that_ended_is_opened_again(host: SshDevice, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("kept")
    remote = host.push(file)
    host._close_master()
    host.reconnect()
    assert host.run(["cat", remote]).stdout == "kept"
    assert host.push(file) == remote


@needs_sshd
def test_what_it_is(host: SshDevice) -> None:
    """The loopback host is this machine, so both must say the same."""
    here, there = connect("local").describe(), host.describe()
    assert (there.arch, there.soc, there.os) == (here.arch, here.soc, here.os)
    assert there.clusters == here.clusters
    assert there.memory_mb == here.memory_mb
    assert host.state().load is not None


@needs_sshd
def test_arguments_arrive_as_they_are(host: SshDevice) -> None:
    words = ["a b", "$HOME", "it's", '"', "*", "", "ä\n"]
    done = host.run(["printf", "%s|", *words])
    assert done.stdout == "".join(f"{word}|" for word in words)
    done = host.run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@needs_sshd
def test_files_go_there_once_and_come_back(host: SshDevice, tmp_path: Path) -> None:
    file = tmp_path / "a file (1).bin"
    file.write_bytes(bytes(range(256)) * 4096)
    remote = host.push(file)
    assert host.push(file) == remote
    host.pull(remote, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == file.read_bytes()


@needs_sshd
def test_a_folder_goes_there(host: SshDevice, tmp_path: Path) -> None:
    folder = tmp_path / "net.mlpackage"
    (folder / "Data").mkdir(parents=True)
    (folder / "Data" / "weights").write_text("w")
    assert host.run(["cat", f"{host.push(folder)}/Data/weights"]).stdout == "w"


@needs_sshd
def test_nothing_is_left_behind(server: tuple[str, Path], host: SshDevice, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    remote = Path(host.push(tmp_path / "x"))
    assert remote.exists()
    host.close()
    assert not remote.parent.exists()


@needs_sshd
def test_errors_of_the_host(host: SshDevice, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="No such file"):
        host.pull("/nothing/there", tmp_path / "x")
    with pytest.raises(DeviceError, match=r"took longer than 0\.2 s"):
        host.run(["sleep", "5"], timeout=0.2)
    with pytest.raises(DeviceError, match="no mode of fixed performance"):
        host.fixed_performance()


@needs_sshd
def test_a_full_disk_is_named(host: SshDevice, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"0" * 100_000)
    host._folder = "/dev/full"  # a folder that cannot hold anything
    with pytest.raises(DeviceError, match="Cannot copy"):
        host.push(tmp_path / "x")
    host._folder = None


@pytest.mark.parametrize("spec", ["ssh://", "ssh:host", "ssh://host:port"])
def test_what_is_no_host(spec: str) -> None:
    with pytest.raises(UsageError, match="names no host"):
        connect(spec)


@needs_sshd
def test_a_host_that_does_not_let_us_in(
    server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = server  # without the key
    with pytest.raises(DeviceError, match=r"(?s)Cannot connect.*BatchMode=yes"):
        connect(f"ssh://{address}")


def test_a_refused_connection() -> None:
    with pytest.raises(DeviceError, match="Connection refused"):
        connect("ssh://nobody@127.0.0.1:9")
