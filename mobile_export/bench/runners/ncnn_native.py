"""Our own runner for ncnn, the static program of ``bench/native``.

It stays loaded between blocks of runs: the program answers commands on its stdin, one JSON line
each (native/ncnn_runner.cpp). Over adb its stdout may carry other people's lines, so what is not a
whole answer is left out, and the end of the stream without one is an error.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import DeviceError, MobileExportError, RunnerError
from ..devices.device import Starter
from ..lines import LineReader, Tail
from ..native.build import find_runner
from .runner import Job, Loaded, NamedOutput, RawResult

if TYPE_CHECKING:
    import numpy as np

    from ..devices.device import Conversation, Device
    from ..files import BenchArtifact

__all__ = ["NativeRunner", "NativeSession", "create"]

_T = TypeVar("_T")
_SCHEMA = 1
_ANSWER = f'{{"ncnn_runner":{_SCHEMA},'
_END = '"end":true}'
_END_SECONDS = 3.0
_SIGNALS = {132: "illegal instruction", 134: "abort", 137: "killed", 139: "segmentation fault"}
_ARCHITECTURES = {
    "arm64": "aarch64",
    "arm64-v8a": "aarch64",
    "armv8l": "aarch64",
    "amd64": "x86_64",
}


def create(name: str) -> NativeRunner:
    """The runner of the row ``name`` of `bench.runners.RUNNERS`."""
    return NativeRunner()


class NativeRunner:
    """Implements `bench.runner.Runner`."""

    def missing(self, device: Device, job: Job) -> str | None:
        """Why it cannot run there, or None."""
        try:
            _program(device, job)
        except MobileExportError as error:
            return str(error)
        return None

    def open(self, device: Device, job: Job) -> NativeSession:
        """Bring program and model there, load the model."""
        if not isinstance(device, Starter):
            raise RunnerError(f"{device.spec} cannot keep a program running.")
        program = device.push(_program(device, job))
        param, weights = _push_model(device, job.artifact)
        name = job.artifact.manifest.input.name
        if re.fullmatch(r"[^\s=]+", name) is None or not name.isprintable():
            raise RunnerError(  # it becomes a word of a command
                f"The manifest of {job.artifact.path} calls the input {name[:80]!r}, which is no "
                "name of ncnn.",
                hint="Export the model again.",
            )
        shape = ",".join(map(str, job.artifact.input_shape[1:]))
        argv = [program, "--param", param, "--bin", weights, "--input", f"{name}={shape}"]
        conversation = device.start([*argv, *_options(job)])
        return NativeSession(device, job, conversation, name)


def _program(device: Device, job: Job) -> Path:
    if job.binary is not None:
        if not job.binary.is_file():
            raise RunnerError(f"{job.binary} is not a file.", hint="Give a runner with --binary.")
        return job.binary
    arch = device.describe().arch
    return find_runner(_ARCHITECTURES.get(arch, arch)).path


def _push_model(device: Device, artifact: BenchArtifact) -> tuple[str, str]:
    """Bring the network and its weights there: the artifact and its one companion."""
    if len(artifact.files) != 2:
        names = ", ".join(file.name for file in artifact.files)
        raise RunnerError(f"An ncnn model is two files, network and weights; this one has {names}.")
    param, weights = artifact.push_to(device)
    return param, weights


def _options(job: Job) -> list[str]:
    options = {
        "--threads": job.threads,
        "--fp16": int((job.precision or job.artifact.precision) == "fp16"),
        "--vulkan": int(job.backend == "vulkan"),
        "--serve": 1,
    }
    if job.cores:
        options["--core-mask"] = sum(1 << core for core in job.cores)
    return [word for option, value in options.items() for word in (option, str(value))]


class NativeSession:
    """Implements `bench.runner.RunnerSession`."""

    def __init__(
        self, device: Device, job: Job, conversation: Conversation, input_name: str
    ) -> None:
        assert conversation.stdin is not None
        assert conversation.stdout is not None
        assert conversation.stderr is not None
        self._device, self._job, self._input = device, job, input_name
        self._conversation = conversation
        self._stdin = conversation.stdin
        self._lines = LineReader(conversation.stdout)
        self._stderr = Tail(conversation.stderr)
        self._said: deque[str] = deque(maxlen=5)
        try:
            self.loaded = _loaded(self._answer())
        except BaseException:
            self._conversation.kill()
            raise

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...]:
        """Outputs for ``image`` (1, C, H, W), in the network's order, without the batch."""
        import numpy as np

        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "input.f32"
            file.write_bytes(np.ascontiguousarray(image[0], dtype="<f4").tobytes())
            remote = self._device.push(file)
            self._ask(f"input {self._input}={remote}")
            prefix = f"{remote}-output"
            described = _outputs_of(self._ask(f"infer {prefix}"))
            return tuple(
                NamedOutput(name, self._pull(f"{prefix}{index}.f32", shape, Path(folder)))
                for index, (name, shape) in enumerate(described)
            )

    def _pull(self, remote: str, shape: Sequence[int], folder: Path) -> np.ndarray:
        import numpy as np

        local = folder / "output.f32"
        self._device.pull(remote, local)
        return np.fromfile(local, dtype="<f4").reshape(shape)

    def run(self, count: int) -> RawResult:
        """``count`` timed runs, back to back."""
        answer = self._ask(f"run {count}")
        return _read(
            answer,
            lambda: RawResult(
                samples=tuple(int(ns) for ns in answer["samples_ns"]),
                peak_memory=int(answer["peak_memory_bytes"]),
                switches=int(answer["switches"]),
                wall_ns=int(answer["wall_ns"]),
                cpu_ns=int(answer["cpu_ns"]),
                waited_ns=answer["waited_ns"],
            ),
        )

    def __enter__(self) -> NativeSession:
        return self

    def __exit__(self, *exception: object) -> None:
        """End the program; its files go with the device's."""
        with contextlib.suppress(OSError):
            self._stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._conversation.wait(_END_SECONDS)
        self._conversation.kill()

    def _ask(self, command: str) -> dict[str, Any]:
        try:
            self._stdin.write(command.encode() + b"\n")
            self._stdin.flush()
        except OSError:
            raise self._died() from None
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        """The next answer; other lines are left out.

        Raises:
            RunnerError: the program reports an error, printed no answer in time, or died.
            DeviceError: the device is gone.
        """
        deadline = time.monotonic() + self._job.timeout
        while True:
            try:
                line = self._lines.read(deadline)
            except TimeoutError:
                self._conversation.kill()
                raise RunnerError(
                    f"The ncnn runner on {self._device.spec} did not answer within "
                    f"{self._job.timeout:g} seconds.{self._last_words()}",
                    hint="Allow more time with --timeout, or use another runner.",
                ) from None
            if line is None:
                raise self._died()
            answer = _parse(line)
            if answer is None:
                self._said.append(line[:200])
            elif "error" in answer:
                error = answer["error"]
                raise RunnerError(f"The ncnn runner on {self._device.spec}: {error['message']}")
            else:
                return answer

    def _died(self) -> MobileExportError:
        """Why there was no answer: the device, or the program."""
        self._device.run(["true"], timeout=self._job.timeout)  # raises when the device is gone
        code = self._conversation.wait(self._job.timeout)
        if code == 0:  # it ends so only with its input: adb's client says so of a lost connection
            return DeviceError(f"The connection to {self._device.spec} was lost and is back.")
        how = _SIGNALS.get(code, f"signal {-code}" if code < 0 else f"exit code {code}")
        return RunnerError(
            f"The ncnn runner on {self._device.spec} ended without an answer "
            f"({how}).{self._last_words()}",
            hint="Export the model again, or try --runner or --threads 1; please report a crash.",
        )

    def _last_words(self) -> str:
        words = [*self._said, *self._stderr.text().splitlines()[-5:]]
        return f" It printed: {' | '.join(words)}" if words else ""


def _parse(line: str) -> dict[str, Any] | None:
    """An answer, or None for a line that is none or is torn."""
    if not (line.startswith(_ANSWER) and line.endswith(_END)):
        return None
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _read(answer: dict[str, Any], read: Callable[[], _T]) -> _T:
    try:
        return read()
    except (KeyError, TypeError, ValueError) as error:
        raise RunnerError(
            f"The ncnn runner's answer cannot be read ({type(error).__name__}: {error}): "
            f"{json.dumps(answer)[:200]}",
            hint="A runner given with --binary must be of this version: mobile-bench build-runner",
        ) from error


def _loaded(answer: dict[str, Any]) -> Loaded:
    def read() -> Loaded:
        features = tuple(map(str, answer["cpu"]["features"]))
        fp16 = answer["options"]["fp16"] and {"asimdhp", "avx512_fp16"} & set(features)
        return Loaded(
            version=f"ncnn {answer['ncnn']}",
            load_ns=int(answer["load_ns"]),
            precision="fp16" if fp16 or answer["options"]["vulkan"] else "fp32",
            features=features,
        )

    return _read(answer, read)


def _outputs_of(answer: dict[str, Any]) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape of every output."""
    return _read(answer, lambda: [(o["name"], tuple(o["shape"])) for o in answer["outputs"]])
