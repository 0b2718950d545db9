"""The one table of accelerators: what says here which part of a file each of them takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import UsageError
from ..exporters.table import get_format

__all__ = ["ACCELERATORS", "Accelerator", "accelerators_for"]


@dataclass(frozen=True)
class Accelerator:
    """One way from a file to an accelerator.

    Attributes:
        name: on the command line and in JSON.
        title: for people.
        format: of the files, a row of the table of formats.
        said_by: whose software says what is taken.
        runner: of `bench.runners`, which executes the file on it (``backend``); "" where nothing
            here does, and ``module`` reads the vendor's own table of operators instead.
        backend: of the runner.
        module: of this package, run in a child process with ``name`` and the file.
    """

    name: str
    title: str
    format: str
    said_by: str
    runner: str = ""
    backend: str = ""
    module: str = ""


ACCELERATORS: tuple[Accelerator, ...] = (
    Accelerator(
        "nnapi", "NNAPI, by onnxruntime", "onnx", "onnxruntime's own checker", module="providers"
    ),
    Accelerator(
        "coreml", "Core ML, by onnxruntime", "onnx", "onnxruntime's own checker", module="providers"
    ),
    Accelerator("gpu", "GPU, by LiteRT", "tflite", "LiteRT on Vulkan", "litert", "gpu"),
    Accelerator("vulkan", "GPU, by ncnn", "ncnn", "ncnn on Vulkan", "ncnn", "vulkan"),
)
_ELSEWHERE = {
    "coreml": "Core ML says it on a Mac or an iPhone only: the sample app for iOS shows "
    "MLComputePlan (docs/ios.md).",
    "tnn": "TNN's GPU code needs OpenCL or Metal, and its source is built nowhere here.",
}
"""Formats of whose accelerators nothing runs here, and why."""


def accelerators_for(format_name: str, names: Sequence[str] = ()) -> tuple[Accelerator, ...]:
    """Those that take files of a format.

    Args:
        names: only these; all by default.

    Raises:
        UsageError: there is none of a name, or none for the format.
    """
    valid = [each.name for each in ACCELERATORS]
    unknown = [name for name in names if name not in valid]
    if unknown:
        raise UsageError(
            f"There is no accelerator {unknown[0]!r}.",
            hint=f"Valid accelerators: {', '.join(valid)}.",
        )
    able = [each for each in ACCELERATORS if each.format == format_name]
    if not able:
        files = ", ".join(dict.fromkeys(get_format(each.format).title for each in ACCELERATORS))
        raise UsageError(
            f"What accelerators take of a {get_format(format_name).title} file cannot be found out "
            "here.",
            hint=f"{_ELSEWHERE[format_name]} Valid files: {files}.",
        )
    found = tuple(each for each in able if not names or each.name in names)
    if not found:
        raise UsageError(
            f"{get_format(format_name).title} files do not reach the accelerator {names[0]!r}.",
            hint=f"Valid for them: {', '.join(each.name for each in able)}.",
        )
    return found
