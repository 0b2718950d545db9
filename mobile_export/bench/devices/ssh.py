"""``ssh://[user@]host[:port][/path/to/python]``: a board or computer with an SSH server.

OpenSSH's own client does the talking, so everything in ``~/.ssh/config`` (keys, aliases, jump
hosts) counts. One master connection is opened first and shared by all commands. Files go into one
temporary folder there, which `close` removes.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from ...artifacts.content import sha256_of
from ...errors import DeviceError, UsageError
from ..files import plain_name
from . import Found
from .device import Completed, DeviceInfo, State, asked_once
from .linux import (
    INFO_FILES,
    STATE_FILES,
    clusters_of,
    cpu_name,
    features_of,
    memory_mb,
    os_name,
    print_files,
    split_files,
    state_of,
)
from .local import start_process

__all__ = ["SshDevice", "connect", "find", "require_spec"]

_SPEC = "ssh://USER@HOST[:PORT][/path/to/python]"
_PLAIN = re.compile(r"[\w.:][\w.:%@+-]*")
"""A host or a user. ssh would take a name that begins with ``-`` for an option, which may name a
command to run here, and a ``ProxyCommand`` of the user's configuration gives names to a shell."""
_FAILED = 255  # ssh's own exit code; a command there hardly ever ends with it
_CONNECT_SECONDS = 15
_OPTIONS = (
    "-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_SECONDS}",
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3",
)  # fmt: skip


class SshDevice:
    """A host that OpenSSH's client reaches without asking for a password.

    Raises:
        DeviceError: there is no ssh here, the host does not answer or does not let us in.
    """

    kind = "ssh"
    here = False

    def __init__(self, spec: str) -> None:
        user, host, port, python = _split(spec)
        if shutil.which("ssh") is None:
            raise DeviceError("There is no ssh on this machine.", hint="Install OpenSSH's client.")
        self.spec = spec
        self.python = python
        self._host = f"{user}@{host}" if user else host
        self._port = () if port is None else ("-p", str(port))
        self._sockets = tempfile.mkdtemp(prefix="mbench-")  # a socket's path must be short
        self._pushed: dict[str, str] = {}
        self._folder: str | None = None
        try:
            self._open_master()
            self._make_folder()
        except BaseException:
            self.close()
            raise

    @asked_once
    def describe(self) -> DeviceInfo:
        names = 'for what in n m s r; do echo "==> uname -$what"; uname -$what; done'
        files = split_files(self._checked(["sh", "-c", f"{names}; {print_files(INFO_FILES)}"]))
        name, arch, kernel, release = (files.get(f"uname -{what}", "") for what in "nmsr")
        return DeviceInfo(
            spec=self.spec,
            kind=self.kind,
            name=files.get("/proc/device-tree/model") or name,
            soc=cpu_name(files),
            arch=arch,
            os=os_name(files, f"{kernel} {release}"),
            memory_mb=memory_mb(files),
            clusters=clusters_of(files),
            features=features_of(files),
        )

    def state(self) -> State:
        return state_of(split_files(self._checked(["sh", "-c", print_files(STATE_FILES)])))

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        key = sha256 or sha256_of(local)
        remote = f"{self._folder}/{name or f'{key[:16]}-{plain_name(local.name)}'}"
        if self._pushed.get(remote) == key:
            return remote
        if local.is_dir():
            with tempfile.TemporaryFile() as stream:
                with tarfile.open(fileobj=stream, mode="w") as archive:
                    archive.add(local, arcname=".")
                stream.seek(0)
                self._send(stream, 'mkdir -p "$1" && tar -xf - -C "$1"', remote, local)
        else:
            with local.open("rb") as stream:
                self._send(stream, 'cat > "$1.part" && mv "$1.part" "$1"', remote, local)
        self._pushed[remote] = key
        return remote

    def pull(self, remote: str, local: Path) -> None:
        done = self._ssh(["cat", remote], timeout=None)
        if done.returncode != 0:
            raise DeviceError(f"Cannot copy {remote} from {self.spec}: {_last_line(done.stderr)}")
        try:
            local.write_bytes(done.stdout)
        except OSError as error:
            raise DeviceError(f"Cannot write {local}: {error.strerror or error}.") from error

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        done = self._ssh(argv, timeout=timeout)
        stdout, stderr = (text.decode(errors="replace") for text in (done.stdout, done.stderr))
        return Completed(done.returncode, stdout, stderr)

    def start(self, argv: Sequence[str]) -> subprocess.Popen[bytes]:
        return start_process(self._command(argv))

    def fixed_performance(self) -> AbstractContextManager[None]:
        raise DeviceError(
            f"{self.spec} has no mode of fixed performance that a user may switch on.",
            hint="As root there: cpupower frequency-set -g performance; and leave out "
            "--fixed-performance.",
        )

    def _make_folder(self) -> None:
        script = 'mktemp -d "${TMPDIR:-/tmp}/mobile-bench.XXXXXX"'
        self._folder = self._checked(["sh", "-c", script]).strip()

    def reconnect(self) -> None:
        self._close_master()
        self._open_master()
        if self._folder is None or self._ssh(["test", "-d", self._folder], timeout=60).returncode:
            self._pushed.clear()
            self._make_folder()

    def close(self) -> None:
        if self._folder is not None:
            with contextlib.suppress(DeviceError):
                self._ssh(["rm", "-rf", self._folder], timeout=_CONNECT_SECONDS)
            self._folder = None
        self._close_master()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _close_master(self) -> None:
        subprocess.run(
            [*self._base(), "-O", "exit", "--", self._host],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def _base(self) -> list[str]:
        return ["ssh", *_OPTIONS, *self._port, "-S", f"{self._sockets}/master"]

    def _command(self, argv: Sequence[str]) -> list[str]:
        return [*self._base(), "-T", "--", self._host, shlex.join(argv)]

    def _open_master(self) -> None:
        """Open the connection that all commands share.

        It stays in the background and would hold a pipe open, so its messages go to a file.
        """
        with tempfile.TemporaryFile() as messages:
            done = subprocess.run(
                [*self._base(), "-M", "-N", "-f", "--", self._host],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=messages,
                check=False,
                start_new_session=True,
            )
            messages.seek(0)
            said = messages.read()
        if done.returncode != 0:
            raise DeviceError(
                f"Cannot connect to {self.spec}: {_last_line(said)}",
                hint="This must work without a question: ssh -o BatchMode=yes "
                f"{shlex.join([*self._port, self._host, 'true'])}",
            )

    def _ssh(
        self, argv: Sequence[str], *, timeout: float | None, stdin: IO[bytes] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        try:
            done = subprocess.run(
                self._command(argv),
                stdin=subprocess.DEVNULL if stdin is None else stdin,
                capture_output=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"{argv[0]} on {self.spec} took longer than {timeout:g} s and was given up."
            ) from error
        if done.returncode == _FAILED:
            raise DeviceError(
                f"The connection to {self.spec} failed: {_last_line(done.stderr)}",
                hint="What was measured before is kept. Is the host still there?",
            )
        return done

    def _checked(self, argv: Sequence[str]) -> str:
        done = self._ssh(argv, timeout=60)
        if done.returncode != 0:
            raise DeviceError(
                f"{argv[0]} on {self.spec} ended with {done.returncode}: {_last_line(done.stderr)}"
            )
        return done.stdout.decode(errors="replace")

    def _send(self, stream: IO[bytes], script: str, remote: str, local: Path) -> None:
        done = self._ssh(["sh", "-c", script, "sh", remote], timeout=None, stdin=stream)
        if done.returncode != 0:
            raise DeviceError(
                f"Cannot copy {local} to {self.spec}: {_last_line(done.stderr)}",
                hint="Is there room in its temporary folder (df -h /tmp)?",
            )


def require_spec(spec: str) -> None:
    """Raise UsageError where ``spec`` names no host, or one that ssh or a shell would misread."""
    _split(spec)


def _split(spec: str) -> tuple[str, str, int | None, str]:
    """User, host, port and Python of ``ssh://USER@HOST:PORT/path/to/python``.

    Raises:
        UsageError: it names no host, or one that ssh or a shell would misread.
    """
    try:
        parts = urlsplit(spec)
        port = parts.port
    except ValueError:  # brackets that are left open, a port that is no number
        parts, port = urlsplit(""), None
    host, user = parts.hostname or "", parts.username or ""
    plain = _PLAIN.fullmatch(host) and (not user or _PLAIN.fullmatch(user))
    if parts.scheme != SshDevice.kind or not plain:
        raise UsageError(f"{spec!r} names no host.", hint=f"Valid: {_SPEC}")
    return user, host, port, parts.path if len(parts.path) > 1 else "python3"


def connect(spec: str) -> SshDevice:
    """The host that ``spec`` names."""
    return SshDevice(spec)


def find() -> list[Found]:
    """None: hosts cannot be listed."""
    return []


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "no message"
