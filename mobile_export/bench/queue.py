"""Many files on many devices, for hours, without a person.

Every (file, backend, device) is one task, and one child process (``mobile-bench run``), so that no
crash takes another task with it, and what a task had finished is in the store. The devices work
side by side, one thread each that only waits; a device that is away, hot or nearly empty is waited
for. What the store has already is not measured again, so a queue that was killed goes on where it
was when the same command is given again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import DeviceError, StoreError, UsageError
from ..system.locks import lock
from .devices import connect
from .devices.device import State
from .jobs import parse_cores
from .measure import wait_until_cool
from .record import Measurement

__all__ = ["Asked", "Patience", "Queue", "Task", "claim", "is_done"]

Event = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """One measurement.

    Attributes:
        sha256: of the file.
        backend: None leaves it to the runner.
        shape: of the input; None for any that the file has.
    """

    file: Path
    sha256: str
    device: str
    backend: str | None = None
    shape: tuple[int, ...] | None = None

    def to_dict(self) -> Event:
        """JSON-ready."""
        facts = {"sha256": self.sha256, "device": self.device, "backend": self.backend}
        return {"file": str(self.file), **facts}


@dataclass(frozen=True)
class Asked:
    """What the options of ``mobile-bench run`` ask for that a record tells.

    Attributes:
        runners: by name; empty leaves it to the format.
        cores: as typed; None leaves them to the device.
        precision: None is that of the file.
        operators: their times are wanted, too.
    """

    runners: tuple[str, ...] = ()
    threads: int = 1
    cores: str | None = None
    precision: str | None = None
    operators: bool = False

    def met_by(self, made: Measurement, runner: str | None) -> bool:
        """Whether ``made`` was measured so, by ``runner``, or by any where that is None."""
        done = made.runner
        lower = done["precision"] == "fp16" and made.artifact["precision"] == "fp32"
        same_type = not lower if self.precision is None else done["precision"] == self.precision
        return (
            runner in (None, done["name"])
            and done["threads"] == self.threads
            and same_type
            and (not self.operators or bool(made.extra.get("operators")))
            and self._same_cores(made)
        )

    def _same_cores(self, made: Measurement) -> bool:
        if self.cores is None:
            return True
        try:
            asked = parse_cores(self.cores, made.device)
        except UsageError:
            return False
        return asked is not None and list(asked) == made.runner["cores"]


def is_done(
    task: Task, measurements: Iterable[Measurement], label: str | None, asked: Asked = Asked()
) -> bool:
    """The store has it: the same file on the same device and backend, whole, under the label, and
    measured as asked, by each of the runners that were."""
    found = [
        made
        for made in measurements
        if made.artifact["sha256"] == task.sha256
        and made.device.spec == task.device
        and task.backend in (None, made.runner["backend"])
        and task.shape in (None, tuple(made.artifact["input_shape"]))
        and made.label == label
        and not {"failed", "interrupted"} & set(made.flags)
    ]
    return all(
        any(asked.met_by(made, runner) for made in found) for runner in asked.runners or (None,)
    )


@contextlib.contextmanager
def claim(store: Path, waits: Callable[[], None]) -> Iterator[int]:
    """Be the only queue at work on ``store``; the descriptor of the lock, for `Queue`.

    The children of a queue inherit the lock: one that is still measuring when its queue was killed
    is waited for, or it would slow down what the next queue measures on the same device.

    Args:
        waits: told before that.

    Raises:
        StoreError: nothing can be written beside the store.
    """
    path = store.with_name(f"{store.name}.queue")
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    except OSError as error:
        raise StoreError(
            f"Cannot write {path}: {error.strerror or error}.",
            hint="Choose another file with --store FILE.",
        ) from error
    try:
        if lock(held, wait=False) is False:
            waits()
            lock(held)
        yield held
        with contextlib.suppress(OSError):
            path.unlink()
    finally:
        os.close(held)


@dataclass(frozen=True)
class Patience:
    """How long a device is waited for.

    Attributes:
        seconds: until it is there, charged and cool; then the task has failed.
        poll: between two looks.
        battery: percent that it must have unless it is on external power.
        tries: of one task, when the device goes away meanwhile.
    """

    seconds: float = 1800.0
    poll: float = 5.0
    battery: float = 20.0
    tries: int = 3


class Queue:
    """The tasks of all devices.

    Args:
        command: the words of the child for a task.
        event: told everything, from any thread, one at a time.
        state: of a device by its spec.
        held: what the children inherit of `claim`.

    Raises (by ``state``):
        DeviceError: the device is not there.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        command: Callable[[Task], list[str]],
        event: Callable[[Event], None],
        patience: Patience = Patience(),
        state: Callable[[str, float], State] | None = None,
        held: int | None = None,
    ) -> None:
        self._tasks, self._command, self._patience = tasks, command, patience
        self._event, self._lock = event, threading.Lock()
        self._state = state or _state_when_cool
        self._inherited = () if held is None or os.name == "nt" else (held,)
        self._stop = threading.Event()
        self._children: set[subprocess.Popen[bytes]] = set()
        self._finished = 0
        self._began = time.monotonic()

    def run(self) -> list[Event]:
        """Do everything; the last event of every task, in the order of the tasks.

        Raises:
            KeyboardInterrupt: after the children had time to keep what they did.
        """
        results: dict[Task, Event] = {}
        threads = [
            threading.Thread(target=self._serve, args=(device, results), daemon=True)
            for device in dict.fromkeys(task.device for task in self._tasks)
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(0.2)
        except KeyboardInterrupt:
            self._stop.set()
            with self._lock:
                for child in self._children:
                    child.terminate()  # it records what it measured, and ends
            for thread in threads:
                thread.join(30)
            raise
        return [results[task] for task in self._tasks]

    def _serve(self, device: str, results: dict[Task, Event]) -> None:
        for task in self._tasks:
            if task.device == device and not self._stop.is_set():
                results[task] = self._do(task)

    def _do(self, task: Task) -> Event:
        """One task with all its tries; its last event."""
        last = {"event": "failed", "error": f"{task.device} was not tried."}
        for number in range(self._patience.tries):
            problem = self._wait(task)
            if problem is not None:
                last = {"event": "failed", "error": problem}
                break
            self._tell(task, {"event": "started", "try": number + 1})
            last = self._child(task)
            if last["event"] == "done" or self._stop.is_set() or self._is_there(task.device):
                break
        with self._lock:
            self._finished += 1
        return self._tell(task, last)

    def _wait(self, task: Task) -> str | None:
        """Wait until the device can be used; why it cannot be, after the limit."""
        end = time.monotonic() + self._patience.seconds
        said = ""
        while not self._stop.is_set():
            left = end - time.monotonic()
            try:
                problem = self._low(self._state(task.device, max(0.0, left)))
            except DeviceError as error:
                problem = error.message
            if problem is None or left <= 0:
                return problem
            if problem != said:
                said = problem
                self._tell(task, {"event": "waiting", "reason": problem})
            self._stop.wait(min(self._patience.poll, left))
        return "stopped by hand"

    def _low(self, state: State) -> str | None:
        percent = state.battery_percent
        if percent is None or state.charging or percent >= self._patience.battery:
            return None
        return f"its battery has {percent:.0f} %"

    def _is_there(self, device: str) -> bool:
        try:
            self._state(device, 0.0)
        except DeviceError:
            return False
        return True

    def _child(self, task: Task) -> Event:
        """Run one child to its end; what it measured, or its last words."""
        child = subprocess.Popen(
            self._command(task),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            pass_fds=self._inherited,
        )
        with self._lock:
            self._children.add(child)
            if self._stop.is_set():  # stopped while it began: nobody has told it yet
                child.terminate()
        stdout, stderr = child.communicate()
        with self._lock:
            self._children.discard(child)
        return read_child(child.returncode, stdout, stderr)

    def _tell(self, task: Task, event: Event) -> Event:
        """Pass an event on, with how far the queue is."""
        with self._lock:
            spent = time.monotonic() - self._began
            left = len(self._tasks) - self._finished
            told = {
                **event,
                **task.to_dict(),
                "finished": self._finished,
                "tasks": len(self._tasks),
                "seconds_left": round(spent / self._finished * left) if self._finished else None,
            }
            self._event(told)
        return told


def read_child(code: int, stdout: bytes, stderr: bytes) -> Event:
    """The event that the output of ``mobile-bench run --json`` stands for."""
    try:
        facts = json.loads(stdout)
        rows, failures = facts["measurements"], facts["failures"]
    except (ValueError, KeyError, TypeError):
        rows, failures = [], []
    failed = [row for row in rows if "failed" in row["flags"]]
    if rows and code in (0, 1) and not failed:
        return {"event": "done", "measurements": rows}
    words = [failure["error"] for failure in failures]
    words += [note for row in failed for note in row["notes"] if note.startswith("failed: ")]
    said = stderr.decode(errors="replace").strip().splitlines()
    last = words[-1] if words else said[-1].strip() if said else f"it ended with exit code {code}"
    return {"event": "failed", "error": last[:500], "measurements": rows}


def _state_when_cool(spec: str, seconds: float) -> State:
    """The state of a device, once it is not hot, or after ``seconds``."""
    device = connect(spec)
    try:
        return wait_until_cool(device, seconds)
    finally:
        device.close()
