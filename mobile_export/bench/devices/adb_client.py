"""The ``adb`` command line: what it prints, and what its errors mean.

Its exit codes say little: a refused ``adb connect`` ends with 0, so does a shell command whose
device dies meanwhile, and a device without the feature ``shell_v2`` gives 0 for every command. So
whoever runs a command asks for a marker behind it (`devices.adb`), and what went wrong is read
from adb's words.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import DeviceError
from .device import Completed

__all__ = ["AdbClient", "Listed", "explain_state", "failure"]

_ANSWER_SECONDS = 30.0
_CONNECT_SECONDS = 20.0
_INSTALL = (
    "Install Android's platform tools: apt-get install adb, brew install android-platform-tools, "
    "or https://developer.android.com/tools/releases/platform-tools"
)

_STATES = {
    "unauthorized": "it does not trust this computer: unlock it and accept its dialog",
    "authorizing": "it is asking whether to trust this computer: unlock it and accept its dialog",
    "offline": "it does not answer: unplug and plug it in again, or run: adb reconnect offline",
    "connecting": "it is still connecting: wait a moment",
    "no permissions": "this user may not open the USB device: see "
    "https://developer.android.com/tools/device#setting-up",
    "bootloader": "it is in its bootloader: start Android",
    "recovery": "it is in recovery mode: start Android",
    "sideload": "it is in sideload mode: start Android",
}

_CHECK = "Check the cable, the battery and the network, then: adb devices -l"
_FAILURES = (
    (
        r"unauthorized|authenticate",
        "does not trust this computer",
        "Unlock it and accept its dialog.",
    ),
    (r"device offline", "is offline", "Plug it in again, or run: adb reconnect offline"),
    (r"device .*not found|no devices|disconnected", "is no longer connected", _CHECK),
    (r"No space left", "has no space left", "Free some space in its internal storage."),
    (r"Read-only file system|Permission denied", "refuses to write there", _CHECK),
    (r"protocol fault|closed|connect failed|EOF|no response", "went away", _CHECK),
)
"""What adb says, what that means, and what to do."""


@dataclass(frozen=True)
class Listed:
    """One line of ``adb devices -l``; ``state`` is ``device`` when it can be used."""

    serial: str
    state: str

    @property
    def problem(self) -> str | None:
        """Why it cannot be used and what to do, or None."""
        return None if self.state == "device" else explain_state(self.state)


def explain_state(state: str) -> str:
    """What a state other than ``device`` means, and what to do about it."""
    for name, meaning in _STATES.items():
        if state.startswith(name):
            return f"{name}: {meaning}"
    return f"its state is {state!r}: start Android and allow USB debugging"


def failure(serial: str, doing: str, words: str) -> DeviceError:
    """The error that ``words`` of adb mean."""
    for pattern, meaning, hint in _FAILURES:
        if re.search(pattern, words, re.IGNORECASE):
            return DeviceError(f"{doing}: adb:{serial} {meaning}.", hint=hint)
    last = next((line for line in reversed(words.splitlines()) if line.strip()), "no message")
    return DeviceError(f"{doing} failed on adb:{serial}: {last.strip()[:300]}", hint=_CHECK)


_ASKING = threading.Lock()
"""Of two clients at once that find no server of adb, both start one, and one of them fails."""


class AdbClient:
    """Calls ``adb``; every call has a time limit, none reads this process's stdin."""

    def __init__(self) -> None:
        program = shutil.which("adb")
        if program is None:
            raise DeviceError("The program adb is not installed.", hint=_INSTALL)
        self.program = program

    def listed(self) -> list[Listed]:
        """All devices that the adb server knows, usable or not."""
        with _ASKING:
            done = self.call(["devices"])
        if done.returncode:
            raise DeviceError(
                f"adb cannot list devices: {done.stderr.strip()[-300:]}",
                hint="Restart its server: adb kill-server; adb devices -l",
            )
        _, found, lines = done.stdout.partition("List of devices attached")
        rows = (line.partition("\t") for line in lines.splitlines())  # a serial may have spaces
        return [Listed(row[0], row[2].strip()) for row in rows if row[2]] if found else []

    def connect(self, address: str) -> None:
        """Connect to a device in the network.

        Raises:
            DeviceError: it refused, or does not answer.
        """
        done = self.call(["connect", address], timeout=_CONNECT_SECONDS)
        words = (done.stdout + done.stderr).strip()
        if not re.search(r"^(already )?connected to", words, re.MULTILINE):
            if "authenticate" in words:
                raise failure(address, "Connecting", words)
            reason = words.splitlines()[-1][:200] if words else "no answer"
            raise DeviceError(
                f"adb:{address} cannot be reached: {reason}",
                hint="Enable wireless debugging on the device (adb tcpip 5555 over USB first) and "
                "check the address.",
            )

    def disconnect(self, address: str) -> None:
        """Forget a device of the network, which may be a dead one that is still listed."""
        self.call(["disconnect", address])

    def call(self, words: Sequence[str], *, timeout: float | None = _ANSWER_SECONDS) -> Completed:
        """Run ``adb WORDS`` to its end.

        Raises:
            DeviceError: it took longer than ``timeout`` seconds (None: no limit) and was ended.
        """
        process = self.start(words, stdin=subprocess.DEVNULL)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"adb {words[0]} did not answer within {timeout:g} seconds.",
                hint="Check the cable or the network; restart adb: adb kill-server",
            ) from None
        finally:
            if process.poll() is None:  # also on Ctrl-C
                process.kill()
                process.communicate()
        return Completed(
            process.returncode, stdout.decode(errors="replace"), stderr.decode(errors="replace")
        )

    def start(
        self, words: Sequence[str], *, stdin: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """Start ``adb WORDS`` with pipes, in a session of its own: Ctrl-C reaches us, not it."""
        return subprocess.Popen(
            [self.program, *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
