"""Android devices over ``adb``.

Everything of ours lies in one folder under ``/data/local/tmp``, named anew by every connection and
removed by `AdbDevice.close`; what a killed run left there goes when the next one connects, a day
later at the earliest.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import shlex
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...artifacts.content import files_of, sha256_of
from ...errors import DeviceError, MobileExportError, UsageError
from ..lines import LineReader, Tail
from . import Found
from .adb_client import AdbClient, Listed, failure
from .android_facts import DESCRIBE, STATE, parse_description, parse_state
from .device import Completed, DeviceInfo, State, asked_once

__all__ = ["AdbConversation", "AdbDevice", "connect", "find", "require_spec"]

_BASE = "/data/local/tmp"
_PREFIX = "mobile-bench-"
_STALE_DAYS = 1
_FACTS_SECONDS = 30.0
_TRANSFER_SECONDS = 30.0
_SLOWEST_BYTES_PER_SECOND = 200_000.0
_SET_FIXED = "cmd power set-fixed-performance-mode-enabled"


def find() -> list[Found]:
    """Devices that adb lists; none when adb is not installed."""
    try:
        listed = AdbClient().listed()
    except DeviceError:
        return []
    return [Found(f"adb:{device.serial}", device.problem) for device in listed]


def require_spec(spec: str) -> None:
    """Raise UsageError where what follows ``adb:`` would be an option of adb."""
    if spec.partition(":")[2].startswith("-"):
        raise UsageError(f"{spec!r} names no device.", hint="Valid: adb:SERIAL; see adb devices")


def connect(spec: str) -> AdbDevice:
    """The device of ``adb`` (the only one) or ``adb:SERIAL`` or ``adb:HOST:PORT``.

    Raises:
        DeviceError: adb or the device is missing, the device cannot be used, or ``spec`` is
            ``adb`` and there are several.
    """
    serial = spec.partition(":")[2]
    client = AdbClient()
    listed = client.listed()
    if re.fullmatch(r".+:\d+", serial) and Listed(serial, "device") not in listed:
        client.disconnect(serial)
        client.connect(serial)
        listed = client.listed()
    return AdbDevice(client, _choose(listed, serial))


def _choose(listed: Sequence[Listed], serial: str) -> str:
    """The serial number of the one device that is meant."""
    present = [device for device in listed if not serial or device.serial == serial]
    usable = [device for device in present if device.problem is None]
    if len(usable) == 1:
        return usable[0].serial
    if len(usable) > 1:
        specs = ", ".join(f"adb:{device.serial}" for device in usable)
        raise DeviceError(
            f"{len(usable)} Android devices are connected and --device adb does not say which.",
            hint=f"Give one of them, or several: {specs}",
        )
    if present:
        problems = "; ".join(f"adb:{device.serial} is {device.problem}" for device in present)
        raise DeviceError(
            f"No Android device can be used: {problems}.", hint="Then: adb devices -l"
        )
    others = ", ".join(f"adb:{device.serial}" for device in listed)
    raise DeviceError(
        f"There is no Android device {serial!r}." if serial else "No Android device is connected.",
        hint=f"Connected: {others}."
        if others
        else "Enable USB debugging (Settings, Developer options), plug it in, then: adb devices -l",
    )


class AdbDevice:
    """One Android device; implements `bench.device.Device`, and `start` of `Interactive`."""

    kind = "adb"
    here = False

    def __init__(self, client: AdbClient, serial: str) -> None:
        self.client = client
        self.serial = serial
        self.spec = f"adb:{serial}"
        self.folder = f"{_BASE}/{_PREFIX}{secrets.token_hex(6)}"
        self._commands = itertools.count()
        self._pushed: dict[str, str] = {}
        self._conversations: list[AdbConversation] = []
        self._make_folder()

    # ---- facts --------------------------------------------------------------------------------

    @asked_once
    def describe(self) -> DeviceInfo:
        """Properties, cores and memory, in one round trip."""
        return parse_description(self.spec, self._facts(DESCRIBE))

    def state(self) -> State:
        """Clocks, temperatures, battery and load, in one round trip."""
        return parse_state(self._facts(STATE))

    def _facts(self, script: str) -> str:
        """What a script prints; some of its questions may be refused."""
        return self._shell(f"{{ {script}\n}} 2>/dev/null", timeout=_FACTS_SECONDS).stdout

    # ---- files --------------------------------------------------------------------------------

    def push(self, local: Path, name: str | None = None, *, sha256: str | None = None) -> str:
        """Bring a file or folder there, verified; see `bench.device.Device.push`.

        Raises:
            DeviceError: no space left, or the device went away; nothing half-written is left under
                the final name.
        """
        digest = sha256 or sha256_of(local)
        remote = f"{self.folder}/{name or f'{digest[:12]}-{local.name}'}"
        if self._pushed.get(remote) == digest:
            return remote
        if local.is_dir():
            for file in files_of(local):
                inside = file.relative_to(local).as_posix()
                self._push_file(file, f"{remote}/{inside}", sha256_of(file))
        else:
            self._push_file(local, remote, digest)
        self._pushed[remote] = digest
        return remote

    def _push_file(self, local: Path, remote: str, digest: str) -> None:
        partial = f"{remote}.part"
        doing = f"Copying {local.name}"
        folder = shlex.quote(remote.rpartition("/")[0])
        self._check(self._shell(f"mkdir -p {folder}", timeout=_FACTS_SECONDS), doing)
        done = self._call(
            ["push", str(local.absolute()), partial], timeout=_transfer_seconds(local)
        )
        if done.returncode:
            with contextlib.suppress(DeviceError):
                self._shell(f"rm -f {shlex.quote(partial)}", timeout=_FACTS_SECONDS)
            raise self._failure(done, doing)
        self._verify(partial, local, digest, doing)
        move = (
            f"chmod 755 {shlex.quote(partial)} && mv {shlex.quote(partial)} {shlex.quote(remote)}"
        )
        self._check(self._shell(move, timeout=_FACTS_SECONDS), doing)

    def pull(self, remote: str, local: Path) -> None:
        """Bring a file from there, verified; ``local`` is written only when it is whole."""
        partial = local.with_name(local.name + ".part")
        doing = f"Copying {remote.rpartition('/')[2]} from the device"
        try:
            done = self._call(
                ["pull", remote, str(partial.absolute())], timeout=10 * _TRANSFER_SECONDS
            )
            if done.returncode or not partial.exists():
                raise self._failure(done, doing)
            self._verify(remote, partial, sha256_of(partial), doing)
            partial.replace(local)
        finally:
            partial.unlink(missing_ok=True)

    def _verify(self, remote: str, local: Path, digest: str, doing: str) -> None:
        """Compare both copies by SHA-256 (``digest``), or by size where it has no sha256sum."""
        path = shlex.quote(remote)
        script = f"sha256sum {path} 2>/dev/null || wc -c < {path}"
        done = self._shell(script, timeout=_transfer_seconds(local))
        words = done.stdout.split()
        if not words or words[0] not in (digest, str(local.stat().st_size)):
            got = words[0] if words else done.stderr.strip() or "nothing"
            raise DeviceError(
                f"{doing}: the copy differs from the original (the device says {got!r}).",
                hint="The connection is bad: use another cable or port and run again.",
            )

    # ---- commands -----------------------------------------------------------------------------

    def run(self, argv: Sequence[str], *, timeout: float | None = None) -> Completed:
        """Run a command to its end; see `bench.device.Device.run`."""
        pid_file = self._pid_file()
        try:
            return self._shell(_with_pid(pid_file, argv), timeout=timeout)
        except DeviceError:
            self.kill(pid_file)
            raise

    def start(self, argv: Sequence[str]) -> AdbConversation:
        """Start a command with open pipes; its stdout may have lines that it did not print."""
        pid_file = self._pid_file()
        words = ["-s", self.serial, "shell", _with_pid(pid_file, argv)]
        conversation = AdbConversation(self, self.client.start(words), pid_file)
        self._conversations.append(conversation)
        return conversation

    def kill(self, pid_file: str) -> None:
        """End the process whose number is in ``pid_file``; never raises."""
        with contextlib.suppress(MobileExportError):
            self._shell(f"kill -9 $(cat {pid_file})", timeout=_FACTS_SECONDS)

    def _pid_file(self) -> str:
        return f"{self.folder}/pid-{next(self._commands)}"

    def _shell(self, script: str, *, timeout: float | None) -> Completed:
        """Run a script; a marker after it carries the exit code and proves that it ended."""
        marker = f"end-{secrets.token_hex(8)}"
        command = f"{script}\ncode=$?; echo; echo {marker} $code"
        done = self._call(["shell", command], timeout=timeout)
        match = re.search(rf"\r?\n{marker} (\d+)\s*$", done.stdout)
        if match is None:
            raise self._failure(done, "Running a command")
        return Completed(int(match[1]), done.stdout[: match.start()], done.stderr)

    def _call(self, words: Sequence[str], *, timeout: float | None) -> Completed:
        return self.client.call(["-s", self.serial, *words], timeout=timeout)

    def _check(self, done: Completed, doing: str) -> None:
        if done.returncode:
            raise failure(self.serial, doing, done.stderr or done.stdout)

    def _failure(self, done: Completed, doing: str) -> DeviceError:
        """Why adb did not do it: its own words, a signal, or a device that is gone."""
        if done.returncode < 0:
            return DeviceError(
                f"{doing}: the adb client was killed (signal {-done.returncode}).",
                hint="Run again; nothing that was measured before is lost.",
            )
        words = f"{done.stdout}\n{done.stderr}"
        if re.search(r"^(adb: )?error:", words, re.MULTILINE):
            return failure(self.serial, doing, words)
        return self.lost(doing)

    def lost(self, doing: str) -> DeviceError:
        """The error for a device that stopped in the middle of something without a word."""
        reason = ""
        with contextlib.suppress(DeviceError):
            device = {d.serial: d for d in self.client.listed()}.get(self.serial)
            reason = " and is no longer connected" if device is None else ""
            if device is not None and device.problem:
                reason = f"; now it is {device.problem}"
        return DeviceError(
            f"{doing}: adb:{self.serial} went away{reason}.",
            hint="Check the cable, the battery and the network, then: adb devices -l",
        )

    def reconnect(self) -> None:
        """Find the device again, and our folder on it; see `bench.device.Device.reconnect`."""
        if re.fullmatch(r".+:\d+", self.serial):
            self.client.disconnect(self.serial)
            self.client.connect(self.serial)
        _choose(self.client.listed(), self.serial)
        self._conversations.clear()
        if self._shell(f"test -d {self.folder}", timeout=_FACTS_SECONDS).returncode:
            self._pushed.clear()
            self._make_folder()

    # ---- modes and the end --------------------------------------------------------------------

    @contextlib.contextmanager
    def fixed_performance(self) -> Iterator[None]:
        """Android 11's fixed-performance mode; see `bench.device.Device.fixed_performance`.

        A shell on the device switches it on, waits for the end of its stdin and switches it off. So
        it is restored when the block ends, and also when this process or the adb client is killed
        or the cable is pulled.
        """
        script = (
            f"trap '' HUP INT PIPE; {_SET_FIXED} true 2>&1; echo @@on $?; cat >/dev/null; "
            f"{_SET_FIXED} false; echo @@off $?"
        )
        guard = self.start(["sh", "-c", script])
        assert guard.stdout is not None
        assert guard.stderr is not None
        lines, _ = LineReader(guard.stdout), Tail(guard.stderr)
        try:
            self._expect_fixed(lines)
            yield
        finally:
            self._restore(guard, lines)

    def _expect_fixed(self, lines: LineReader) -> None:
        words = _read_until(lines, "@@on")
        if words is None:
            raise self.lost("Switching fixed performance on")
        if words[-1] != "@@on 0" or re.search("Failed|Unknown command", " ".join(words)):
            said = "".join(f": {line}" for line in words[:-1][:1])
            raise DeviceError(
                f"adb:{self.serial} has no fixed-performance mode{said}.",
                hint="It needs Android 11 and a maker who supports it. Leave --fixed-performance "
                "out; clocks and throttling are recorded anyway.",
            )

    def _restore(self, guard: AdbConversation, lines: LineReader) -> None:
        """End the guard; if it does not say that it restored the mode, do it ourselves."""
        with contextlib.suppress(OSError):
            if guard.stdin is not None:
                guard.stdin.close()
        words = _read_until(lines, "@@off")
        if words is None or words[-1] != "@@off 0":
            with contextlib.suppress(DeviceError):
                self._shell(f"{_SET_FIXED} false", timeout=_FACTS_SECONDS)
        guard.kill()

    def close(self) -> None:
        """End what runs there, remove our folder; never raises."""
        for conversation in self._conversations:
            conversation.kill()
        with contextlib.suppress(MobileExportError):
            self._shell(f"rm -rf {self.folder}", timeout=_FACTS_SECONDS)

    def _make_folder(self) -> None:
        stale = f"find {_BASE} -maxdepth 1 -name '{_PREFIX}*' -mtime +{_STALE_DAYS - 1}"
        script = f"{stale} -exec rm -rf {{}} \\; 2>/dev/null; mkdir -p {self.folder}"
        doing = f"Making the folder {self.folder}"
        self._check(self._shell(script, timeout=_FACTS_SECONDS), doing)


class AdbConversation:
    """A command on the device with open pipes; implements `bench.device.Conversation`.

    The end of its stdout without an answer means that the device, the command or the adb client
    died: the exit code does not tell which.
    """

    def __init__(self, device: AdbDevice, process: subprocess.Popen[bytes], pid_file: str) -> None:
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self._device, self._process, self._pid_file = device, process, pid_file
        self._killed = False

    def poll(self) -> int | None:
        """Exit code of the adb client, or None while it runs."""
        return self._process.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Exit code of the adb client, once it has ended."""
        return self._process.wait(timeout)

    def kill(self) -> None:
        """End the client, and the command there unless it has ended by itself."""
        with contextlib.suppress(OSError):
            if self.stdin is not None:
                self.stdin.close()
        if self._killed or self._process.poll() == 0:
            return
        self._killed = True
        self._process.kill()
        self._process.wait()
        self._device.kill(self._pid_file)


def _with_pid(pid_file: str, argv: Sequence[str]) -> str:
    """A shell command that leaves its process number in ``pid_file`` and becomes ``argv``."""
    return shlex.join(["sh", "-c", 'echo $$ >"$0"; exec "$@"', pid_file, *argv])


def _read_until(lines: LineReader, marker: str) -> list[str] | None:
    """Lines up to the one that begins with ``marker``; None when it does not come."""
    deadline = time.monotonic() + _FACTS_SECONDS
    read: list[str] = []
    with contextlib.suppress(TimeoutError):
        while (line := lines.read(deadline)) is not None:
            read.append(line.strip())
            if line.startswith(marker):
                return read
    return None


def _transfer_seconds(local: Path) -> float:
    """Time limit for copying or hashing a file."""
    return _TRANSFER_SECONDS + local.stat().st_size / _SLOWEST_BYTES_PER_SECOND
