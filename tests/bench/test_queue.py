"""Hours without a person: devices that go, are hot or empty, and runs that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.bench.devices.device import State
from mobile_export.bench.queue import Asked, Patience, Queue, Task, claim, is_done, read_child
from mobile_export.errors import DeviceError
from tests.bench.examples import measurement

QUICK = Patience(seconds=5.0, poll=0.02)
ROW = {"flags": [], "notes": [], "median_ms": 1.5}
DEAD = ROW | {"flags": ["failed"], "notes": ["failed: died"]}
GOOD = json.dumps({"measurements": [ROW], "failures": []})


def task(name: str, device: str = "a", backend: str | None = None) -> Task:
    return Task(Path(name), name * 4, device, backend)


def says(text: str, code: int = 0, error: str = "") -> Callable[[Task], list[str]]:
    """A child that prints ``text``."""
    script = f"import sys; print({text!r}); print({error!r}, file=sys.stderr); sys.exit({code})"
    return lambda task: [sys.executable, "-S", "-c", script]


def run(
    tasks: list[Task],
    command: Callable[[Task], list[str]],
    state: Callable[[str, float], State] = lambda spec, seconds: State(),
    patience: Patience = QUICK,
) -> tuple[list[dict[str, object]], list[dict[str, object]]]:
    events: list[dict[str, object]] = []
    return Queue(tasks, command, events.append, patience, state).run(), events


def test_every_task_is_done_and_said() -> None:
    results, events = run([task("x"), task("y")], says(GOOD))
    assert [result["event"] for result in results] == ["done", "done"]
    assert [(e["event"], e["file"]) for e in events] == [
        ("started", "x"), ("done", "x"), ("started", "y"), ("done", "y"),
    ]  # fmt: skip
    assert events[-1]["finished"] == events[-1]["tasks"] == 2
    assert isinstance(events[2]["seconds_left"], int)


def test_the_child_of_a_queue_that_was_killed_is_waited_for(tmp_path: Path) -> None:
    """It measures on the device that the next queue wants."""
    store, began, ended = (tmp_path / name for name in ("s.jsonl", "began", "ended"))
    child = f"touch {began}; sleep 1; touch {ended}"
    script = (
        "import os, sys; from pathlib import Path\n"
        "from mobile_export.bench.devices.device import State\n"
        "from mobile_export.bench.queue import Queue, Patience, Task, claim\n"
        f"with claim(Path({str(store)!r}), sys.exit) as held:\n"
        f"    words = lambda task: ['sh', '-c', {child!r}]\n"
        "    Queue([Task(Path('x'), 'x', 'a')], words, print, Patience(), lambda *_: State(), held)"
        ".run()\n"
    )
    first = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while not began.exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    first.kill()
    first.wait()
    waited: list[bool] = []
    with claim(store, lambda: waited.append(ended.exists())):
        assert ended.exists()
    assert waited == [False]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["began", "ended"]


def test_devices_work_side_by_side() -> None:
    """Each child waits for the file of the other, so one after the other would never end."""
    meeting = threading.Barrier(2, timeout=20)

    def command(one: Task) -> list[str]:
        meeting.wait()
        return says(GOOD)(one)

    results, _ = run([task("x", "a"), task("x", "b")], command)
    assert [result["event"] for result in results] == ["done", "done"]


def test_a_cable_that_is_out_is_waited_for() -> None:
    back = time.monotonic() + 0.3

    def state(spec: str, seconds: float) -> State:
        if time.monotonic() < back:
            raise DeviceError("No Android device is connected.")
        return State()

    results, events = run([task("x")], says(GOOD), state)
    assert results[0]["event"] == "done"
    assert [event["event"] for event in events] == ["waiting", "started", "done"]


def test_a_device_that_never_comes_is_a_row_too() -> None:
    def state(spec: str, seconds: float) -> State:
        if spec == "gone":
            raise DeviceError("adb:gone is no longer connected.")
        return State()

    patience = Patience(seconds=0.1, poll=0.02)
    results, _ = run([task("x", "gone"), task("x", "here")], says(GOOD), state, patience)
    assert [result["event"] for result in results] == ["failed", "done"]
    assert results[0]["error"] == "adb:gone is no longer connected."


def test_an_empty_battery_is_waited_for() -> None:
    percents = iter([10.0, 15.0, 30.0])

    def state(spec: str, seconds: float) -> State:
        return State(battery_percent=next(percents, 30.0), charging=False)

    _, events = run([task("x")], says(GOOD), state)
    assert [event["event"] for event in events] == ["waiting", "waiting", "started", "done"]
    assert events[0]["reason"] == "its battery has 10 %"


def test_a_failure_is_a_row_with_the_last_words_and_stops_nothing() -> None:
    def command(one: Task) -> list[str]:
        if one.file.name == "x":
            return says("", code=2, error="Segmentation fault")(one)
        return says(GOOD)(one)

    results, _ = run([task("x"), task("y")], command)
    assert [result["event"] for result in results] == ["failed", "done"]
    assert results[0]["error"] == "Segmentation fault"


def test_a_task_is_tried_again_when_the_device_had_gone() -> None:
    tries: list[str] = []

    def command(one: Task) -> list[str]:
        tries.append("try")
        return says(GOOD)(one) if len(tries) == 2 else says("", code=2, error="gone")(one)

    def state(spec: str, seconds: float) -> State:
        if len(tries) == 1 and seconds == 0.0:
            raise DeviceError("away for a moment")
        return State()

    results, _ = run([task("x")], command, state)
    assert results[0]["event"] == "done"
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"measurements": [], "failures": [{"error": "cannot load"}]}, "cannot load"),
        (
            {
                "measurements": [ROW | {"flags": ["failed"], "notes": ["failed: died"]}],
                "failures": [],
            },
            "failed: died",
        ),
    ],
)
def test_the_words_of_a_child(facts: dict[str, object], said: str) -> None:
    event = read_child(2, json.dumps(facts).encode(), b"noise")
    assert (event["event"], event["error"]) == ("failed", said)


def test_what_the_store_has_is_not_measured_again() -> None:
    made = measurement()
    again = Task(Path("emo_2m.onnx"), "0" * 64, "local", "cpu")
    assert is_done(again, [made], None)
    assert not is_done(again, [made], "other label")
    assert not is_done(again, [measurement(flags=("interrupted",))], None)
    assert not is_done(Task(again.file, "1" * 64, "local"), [made], None)
    assert not is_done(Task(again.file, "0" * 64, "adb:1"), [made], None)
    assert not is_done(Task(again.file, "0" * 64, "local", "gpu"), [made], None)
    assert is_done(Task(again.file, "0" * 64, "local", None, (1, 3, 224, 224)), [made], None)
    assert not is_done(Task(again.file, "0" * 64, "local", None, (1, 3, 192, 192)), [made], None)


@pytest.mark.parametrize(
    ("asked", "done"),
    [
        (Asked(), True),
        (Asked(runners=("onnxruntime",)), True),
        (Asked(runners=("onnxruntime", "perf-test")), False),
        (Asked(threads=4), False),
        (Asked(cores="4-7"), False),
        (Asked(precision="fp32"), True),
        (Asked(precision="fp16"), False),
        (Asked(operators=True), False),
    ],
)
def test_what_was_measured_otherwise_is_measured(asked: Asked, done: bool) -> None:
    """A figure of one thread does not answer for four."""
    task = Task(Path("emo_2m.onnx"), "0" * 64, "local")
    assert is_done(task, [measurement()], None, asked) is done


def test_a_file_in_float16_arithmetic_is_not_the_file_as_it_is() -> None:
    made = measurement()
    made = measurement(runner=made.runner | {"precision": "fp16"})
    task = Task(Path("emo_2m.onnx"), "0" * 64, "local")
    assert not is_done(task, [made], None)
    assert is_done(task, [made], None, Asked(precision="fp16"))


def test_a_child_that_began_while_the_queue_was_stopped_is_told() -> None:
    """Ctrl-C between the start of a process and its entry in the list of those to end."""
    waiting = [sys.executable, "-c", "import time; time.sleep(60)"]
    queue = Queue([task("x")], lambda _: waiting, lambda event: None, QUICK, lambda *_: State())
    queue._stop.set()
    began = time.monotonic()
    assert queue._child(task("x"))["event"] == "failed"
    assert time.monotonic() - began < 30
