"""One runtime with one file loaded inside the guest, as a process that answers commands."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

from ...errors import RunnerError
from . import worker
from .counts import ArmCount, read_marks
from .prepare import Prepared

if TYPE_CHECKING:
    import numpy as np

__all__ = ["CPU", "Guest", "command"]

CPU = "cortex-a76"
"""What qemu emulates: ARMv8.2 with half precision and dot products, as in phones since 2019."""

WARM_UPS = 2
"""Inferences before the first count; afterwards onnxruntime, LiteRT and ncnn repeat exactly."""


def command(prepared: Prepared, argv: Sequence[str], plugin_file: Path | None = None) -> list[str]:
    """The command line that runs ``argv`` in the guest, counting into ``plugin_file``."""
    plugin = [] if plugin_file is None else ["-plugin", f"{prepared.plugin},out={plugin_file}"]
    return [str(prepared.qemu), *plugin, "-cpu", CPU, "-L", str(prepared.root), *argv]


class Guest:
    """A file loaded by a runtime in the guest.

    Args:
        runtime: a key of `worker.ENGINES`.
        precision: of the arithmetic, where the runtime has the choice.
        files: the artifact and its companions.
        timeout: seconds after which a step that does not answer is given up.

    Attributes:
        version: of the runtime, with its name.

    Raises:
        RunnerError: from every method, when the runtime refuses or dies.
    """

    def __init__(
        self,
        prepared: Prepared,
        runtime: str,
        files: Sequence[Path],
        *,
        precision: str = "fp32",
        timeout: float = 3600.0,
    ) -> None:
        self._timeout = timeout
        self._scratch = tempfile.TemporaryDirectory(prefix="mobile-bench-")
        self._folder = Path(self._scratch.name)
        self._what = f"{runtime} in the guest with {files[0].name}"
        self._errors: IO[bytes] = (self._folder / "stderr").open("w+b")
        guest_argv = [str(prepared.python), "-B", str(Path(worker.__file__)), runtime, precision]
        self._process = subprocess.Popen(
            command(prepared, guest_argv + [str(file.resolve()) for file in files], self._counts),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=_environment(prepared),
            cwd=self._folder,
        )
        try:
            self.version = str(self._answer()["version"])
        except BaseException:
            self.close()
            raise

    @property
    def _counts(self) -> Path:
        return self._folder / "counts"

    def outputs(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Run once on ``image``, float32 (1, C, H, W); later counts use the same image."""
        import numpy as np

        given, taken = self._folder / "image.npy", self._folder / "outputs.npz"
        np.save(given, image)
        self._ask({"image": str(given), "outputs": str(taken)})
        with np.load(taken) as arrays:
            return dict(arrays)

    def count(self, runs: int) -> list[ArmCount]:
        """What each of ``runs`` inferences did; `outputs` comes first."""
        self._ask({"count": runs})
        with self._counts.open(encoding="utf-8") as stream:
            marks = read_marks(stream)[-2 * runs :]
        if len(marks) != 2 * runs:
            raise RunnerError(f"{self._what} made {len(marks)} of {2 * runs} marks.")
        return [
            end.total - begin.total for begin, end in zip(marks[::2], marks[1::2], strict=True)
        ]

    def _ask(self, question: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(question).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._died() from error
        self._answer()

    def _answer(self) -> dict[str, Any]:
        """The next line of JSON; whatever else a runtime prints on stdout is passed over."""
        assert self._process.stdout is not None
        end = time.monotonic() + self._timeout
        while True:
            ready, _, _ = select.select([self._process.stdout], [], [], end - time.monotonic())
            if not ready:
                raise RunnerError(f"{self._what} did not answer for {self._timeout:.0f} s.")
            line = self._process.stdout.readline()
            if not line:
                raise self._died()
            if line.startswith(b"{"):
                answer: dict[str, Any] = json.loads(line)
                return answer

    def _died(self) -> RunnerError:
        code = self._process.wait(timeout=60)
        self._errors.seek(0)
        text = self._errors.read().decode("utf-8", "replace").strip()
        last = text.splitlines()[-1][:300] if text else "it printed nothing"
        return RunnerError(f"{self._what} ended with code {code}: {last}")

    def close(self) -> None:
        """End the process and remove its files."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
        self._scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _environment(prepared: Prepared) -> dict[str, str]:
    """All of it: what the user's shell has would change the stack, and so the caches.

    onnxruntime would send telemetry from threads of its own, which change the count.
    """
    return {
        "HOME": "/nonexistent",
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(prepared.site),
    }
