"""The one table of runners: what executes a file on a device."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ...artifacts.names import PROGRAM_FORMAT
from ...errors import UsageError
from ...exporters.table import FORMATS

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["RUNNERS", "RunnerRow", "get_runner", "runners_for"]


@dataclass(frozen=True)
class RunnerRow:
    """One runner.

    Attributes:
        name: on the command line and in the store.
        title: for people.
        module: of ``bench.runners``; its ``create(name)`` gives the `Runner`.
        programs: it executes saved programs instead of files of a format.
        devices: kinds that it runs on, rows of `bench.devices.DEVICES`.
        backends: the default first.
        binary: name of the tool that the user must point at with ``--binary``; None needs none.
        precisions: of the arithmetic, where it has the choice.
        samples: False for a tool that prints a summary and no raw samples.
        any_inputs: it is given every input of a file; others are given one image of float32.
    """

    name: str
    title: str
    module: str
    devices: tuple[str, ...]
    backends: tuple[str, ...] = ("cpu",)
    binary: str | None = None
    precisions: tuple[str, ...] = ()
    samples: bool = True
    programs: bool = False
    any_inputs: bool = False

    @property
    def formats(self) -> tuple[str, ...]:
        """That it executes: those whose row in the table of formats names it."""
        if self.programs:
            return (PROGRAM_FORMAT,)
        return tuple(row.name for row in FORMATS if self.name in row.runners)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        facts = {name: value for name, value in vars(self).items() if name != "programs"}
        return facts | {"formats": self.formats}

    def runner(self) -> Runner:
        """The runner; importing its module imports no vendor library."""
        module = importlib.import_module(f"{__package__}.{self.module}")
        return cast("Runner", module.create(self.name))


_PYTHON_HOSTS = ("local", "ssh")
_SHELLS = ("adb", "local", "ssh")

_UNITS = ("all", "cpu", "gpu", "ne")
_NCNN = ("cpu", "vulkan")
_BOTH = ("fp32", "fp16")
_LITERT = ("cpu", "gpu", "nnapi")
_ORT = ("cpu", "xnnpack", "nnapi")


def _vendor(
    name: str, title: str, backends: tuple[str, ...], binary: str, precisions: tuple[str, ...] = ()
) -> RunnerRow:
    return RunnerRow(name, title, "vendor", _SHELLS, backends, binary, precisions, samples=False)


RUNNERS: tuple[RunnerRow, ...] = (
    RunnerRow("onnxruntime", "onnxruntime", "python", _PYTHON_HOSTS, any_inputs=True),
    RunnerRow("litert", "LiteRT", "python", _PYTHON_HOSTS, ("cpu", "gpu"), any_inputs=True),
    RunnerRow("ncnn", "ncnn", "python", _PYTHON_HOSTS, _NCNN, None, _BOTH, any_inputs=True),
    RunnerRow("ncnn-native", "ncnn, our C++ loop", "ncnn_native", _SHELLS, _NCNN, None, _BOTH),
    RunnerRow(
        "torch",
        "PyTorch, the prepared module",
        "python",
        _PYTHON_HOSTS,
        programs=True,
        any_inputs=True,
    ),
    RunnerRow("torch-eager", "PyTorch, the original module", "python", ("local",), programs=True),
    RunnerRow("coreml", "Core ML, from a Mac", "coreml", ("ios", "local"), _UNITS),
    _vendor("benchmark-model", "LiteRT's own tool", _LITERT, "benchmark_model", _BOTH),
    _vendor("perf-test", "onnxruntime's own tool", _ORT, "onnxruntime_perf_test", _BOTH),
    _vendor("benchncnn", "ncnn's own tool, zero weights", ("cpu", "vulkan"), "benchncnn"),
    _vendor("tnn-test", "TNN's own tool", ("cpu", "opencl"), "TNNTest", _BOTH),
    RunnerRow("arm-onnxruntime", "onnxruntime for aarch64", "counting", ("qemu",)),
    RunnerRow("arm-litert", "LiteRT for aarch64", "counting", ("qemu",)),
    RunnerRow("arm-ncnn", "ncnn for aarch64", "counting", ("qemu",)),
)


def get_runner(name: str) -> RunnerRow:
    """The runner called ``name``.

    Raises:
        UsageError: there is none.
    """
    for row in RUNNERS:
        if row.name == name:
            return row
    names = ", ".join(row.name for row in RUNNERS)
    raise UsageError(f"There is no runner {name!r}.", hint=f"Valid runners: {names}.")


def runners_for(kind: str, artifact_format: str) -> tuple[RunnerRow, ...]:
    """Those that execute ``artifact_format`` on devices of ``kind``, the preferred one first."""
    return tuple(row for row in RUNNERS if kind in row.devices and artifact_format in row.formats)
