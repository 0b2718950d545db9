"""Runtimes that have a Python interface, on every device that has Python: local and ssh.

The measuring itself is in `bench.worker`, one process per model, here as there. This module starts
a worker on the device and talks to it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import numpy as np

from ...errors import DeviceError, MobileExportError, RunnerError
from .. import worker
from ..devices.device import Device, Interactive
from .runner import Job, Loaded, NamedOutput, RawResult

__all__ = ["PythonRunner", "create"]

_T = TypeVar("_T")
_ASK_SECONDS = 60.0
_LOST = 255
"""How ssh's client ends when the connection does."""
_TAIL = 2000
_FROM_CODE = frozenset({"torch-eager"})
"""Runners that build the model from its code instead of reading a file."""
_WHY = {"mobile_export": ", and nothing else reads a saved program without trusting it"}
"""Why a module is needed, where that is not plain."""


class _Worker:
    """A worker process on a device, with a time limit for each answer."""

    def __init__(self, device: Device) -> None:
        host = cast(Interactive, device)
        self._device = device
        self._process = host.start([host.python, "-u", device.push(Path(worker.__file__))])
        assert self._process.stdin is not None
        self._lines: queue.Queue[bytes] = queue.Queue()
        self._errors: list[bytes] = []
        self._readers = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def ask(self, command: Mapping[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to one command.

        Raises:
            RunnerError: the worker reports a failure, died, is silent, or answers nonsense.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            self.close()
            raise RunnerError(
                f"The worker on {self._device.spec} did not answer within {timeout:g} s.",
                hint="Allow more time with --timeout SECONDS.",
            ) from None
        except OSError:  # a broken pipe
            line = b""
        if not line.endswith(b"\n"):
            raise self._died()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self.close()
            raise RunnerError(f"The worker on {self._device.spec} answered {line[:80]!r}.")
        if "error" in answer:
            raise RunnerError(f"{answer.get('type')}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it, gently if it listens."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # a broken pipe: it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)
        for reader in self._readers:
            reader.join(timeout=2)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)
            del self._errors[:-40]

    def _died(self) -> MobileExportError:
        self.close()
        code = self._process.poll()
        if code == _LOST:
            return DeviceError(f"The connection to {self._device.spec} was lost.")
        said = b"".join(self._errors).decode(errors="replace").strip()[-_TAIL:]
        return RunnerError(
            f"The worker on {self._device.spec} died (exit code {code})"
            + (f"; it said last: {said.splitlines()[-1]}" if said else "; it said nothing."),
            hint="A crash of the runtime itself is not ours; does the file run in its own tool?",
        )


def _sent(array: np.ndarray) -> dict[str, Any]:
    """An array as the worker reads it."""
    plain = np.ascontiguousarray(array)
    plain = plain.astype(plain.dtype.newbyteorder("<"))
    data = base64.b64encode(plain.tobytes()).decode("ascii")
    return {"shape": array.shape, "dtype": plain.dtype.str, "data": data}


def _nodes(found: Sequence[int] | None) -> tuple[int, int] | None:
    """Of the graph: nodes that an accelerator does, of how many."""
    if found is None:
        return None
    done, everything = found
    return int(done), int(everything)


class _Session:
    def __init__(self, device: Device, job: Job, name: str) -> None:
        self._job, self._device = job, device
        self._worker = _Worker(device)
        try:
            answer = self._worker.ask(
                {
                    "do": "load",
                    "runner": name,
                    "files": job.artifact.push_to(device),
                    "threads": job.threads,
                    "cores": job.cores,
                    "backend": job.backend,
                    "precision": job.precision or job.artifact.precision,
                    "model": _model_of(job) if name in _FROM_CODE else None,
                },
                job.timeout,
            )
        except RunnerError as error:
            self._worker.close()
            raise RunnerError(
                f"{name} on {device.spec} cannot load {job.artifact.path.name}: {error.message}",
                hint=error.hint,
            ) from error
        except BaseException:
            self._worker.close()
            raise
        self.loaded = self._read(
            lambda: Loaded(
                version=answer["version"],
                load_ns=answer["load_ns"],
                precision=answer["precision"],
                features=tuple(answer["features"]),
                nodes=_nodes(answer.get("nodes")),
                left={str(name): int(count) for name, count in answer.get("left", {}).items()},
                device=str(answer.get("device", "")),
            )
        )
        done = self.loaded.nodes
        self._extra = {} if done is None else {"delegated_nodes": done[0], "nodes": done[1]}

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...]:
        first = _sent(image)
        command = {
            "do": "outputs",
            "shape": first["shape"],
            "dtype": first["dtype"],
            "image": first["data"],
            "others": [{"name": name, **_sent(array)} for name, array in others.items()],
        }
        answer = self._worker.ask(command, self._job.timeout)
        return self._read(
            lambda: tuple(
                NamedOutput(
                    item["name"],
                    np.frombuffer(base64.b64decode(item["data"]), item["dtype"]).reshape(
                        item["shape"]
                    ),
                    nhwc=answer["nhwc"],
                )
                for item in answer["outputs"]
            )
        )

    def run(self, count: int) -> RawResult:
        answer = self._worker.ask({"do": "run", "count": count}, self._job.timeout)
        return self._read(
            lambda: RawResult(
                samples=tuple(answer["samples"]),
                peak_memory=answer["peak_memory"],
                switches=answer["switches"],
                wall_ns=answer["wall_ns"],
                cpu_ns=answer["cpu_ns"],
                waited_ns=answer["waited_ns"],
                extra=self._extra,
            )
        )

    def _read(self, read: Callable[[], _T]) -> _T:
        """What an answer says.

        Raises:
            RunnerError: a part of it is missing or of another kind.
        """
        try:
            return read()
        except (KeyError, TypeError, ValueError) as error:
            self._worker.close()
            raise RunnerError(
                f"The worker on {self._device.spec} gave an answer that cannot be read "
                f"({type(error).__name__}: {error})."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._worker.close()


class PythonRunner:
    """One runtime of `worker.RUNTIMES`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._hello: dict[str, dict[str, Any]] = {}

    def missing(self, device: Device, job: Job) -> str | None:
        if self.name in _FROM_CODE and (problem := _named_model(job)) is not None:
            return problem
        facts = self._facts(device)
        module, distribution = worker.MODULES[self.name]
        python = cast(Interactive, device).python
        if not facts["numpy"]:
            return f"{python} on {device.spec} has no NumPy; run: {python} -m pip install numpy"
        if self.name not in facts["modules"]:
            why = _WHY.get(module, "")
            return (
                f"{python} on {device.spec} has no module {module}{why}; "
                f"run: {python} -m pip install {distribution}"
            )
        return None

    def open(self, device: Device, job: Job) -> _Session:
        return _Session(device, job, self.name)

    def _facts(self, device: Device) -> dict[str, Any]:
        if device.spec not in self._hello:
            asked = _Worker(device)
            try:
                self._hello[device.spec] = asked.ask({"do": "hello"}, _ASK_SECONDS)
            except RunnerError as error:
                raise DeviceError(
                    f"Python does not run on {device.spec}: {error.message}", hint=error.hint
                ) from error
            finally:
                asked.close()
        return self._hello[device.spec]


def create(name: str) -> PythonRunner:
    """The runner of that name."""
    return PythonRunner(name)


def _named_model(job: Job) -> str | None:
    """Why the model cannot be built from its code, or None.

    Its code is what the user names on the command line. A manifest travels with the file and says
    only whether that is the same model.
    """
    file, source = job.artifact.path.name, job.artifact.model
    if job.model is None:
        return (
            "a model is built only from the code that you name yourself: --model MODEL, the one "
            f"that {file} was exported from (its manifest says {source!r}, which may be a lie)"
        )
    if job.model != source:
        return f"it was made from {source!r}, and --model names {job.model!r}"
    weights = job.artifact.manifest.weights
    kind = None if weights is None else weights.kind
    if kind == "checkpoint" and job.weights is None:
        return "its weights came from a checkpoint; name it with --weights FILE"
    if kind != "checkpoint" and job.weights is not None:
        return f"its weights came from no checkpoint, and --weights names {job.weights}"
    return None


def _model_of(job: Job) -> dict[str, Any]:
    """Arguments of `mobile_export.create_model`: code from the user, figures from the manifest."""
    weights = job.artifact.manifest.weights
    return {
        "name": job.model,
        "weights": None if job.weights is None else str(job.weights.resolve()),
        "pretrained": weights is not None and weights.kind == "pretrained",
        "seed": (weights.seed if weights is not None else None) or 0,
        "size": list(job.artifact.input_shape[-2:]),
    }
