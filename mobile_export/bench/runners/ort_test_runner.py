"""What ``onnx_test_runner`` computes, for ``onnxruntime_perf_test``, which writes no outputs.

Both are built together from onnxruntime's sources. With ``-I`` (onnxruntime 1.22 and later) the
first runs a model on a provider and saves its outputs; see "inference_mode" in
onnxruntime/test/onnx/README.txt. It scans a folder::

    FOLDER/model.onnx
    FOLDER/test_data_set_0/input_0.pb             ours
    FOLDER/test_data_set_0/actual_output_0.pb     what it writes

So what is checked are the kernels of the build and of the provider that is timed, in another
process than the timed one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import RunnerError
from ...system.install import install_command
from ..devices.device import Device
from .runner import Job

__all__ = ["NAME", "outputs"]

NAME = "onnx_test_runner"


def outputs(
    device: Device,
    tool: str,
    files: Sequence[str],
    job: Job,
    name: str,
    fed: np.ndarray,
    count: int,
) -> list[np.ndarray] | None:
    """The outputs of a file, in its order.

    Args:
        tool: on the device; files: of the artifact, there.
        name, fed: of the one input; count: of outputs.

    Returns:
        None where the tool cannot do what is timed: NNAPI in float16, which it has no option for,
        or any of it before onnxruntime 1.22.

    Raises:
        RunnerError: it wrote nothing, or something else than tensors of float32.
    """
    if job.precision == "fp16":
        return None
    root = f"{files[0]}-{job.backend}"
    data = f"{root}/test_data_set_0"
    for command in (["rm", "-rf", root], ["mkdir", "-p", data], ["cp", *files, root]):
        _run(device, command, job)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "input_0.pb"
        file.write_bytes(_tensor(name, fed))
        _run(device, ["cp", device.push(file), f"{data}/input_0.pb"], job)
        command = [tool, "-I", "-c", "1", "-j", "1", "-e", job.backend, root]
        done = device.run(command, timeout=job.timeout)
        said = f"{done.stdout}\n{done.stderr}"
        names = [f"{data}/actual_output_{index}.pb" for index in range(count)]
        there = device.run(["ls", *names], timeout=job.timeout)
        if there.returncode != 0:
            if "[options...]" in said and "-I" not in said:
                return None  # its usage, of a version that has no inference mode
            last = (said.strip().splitlines() or ["nothing at all"])[-1]
            raise RunnerError(
                f"{NAME} on {device.spec} wrote no outputs (exit code {done.returncode}): "
                f"{last[:200]}",
                hint=f"It was started as: {' '.join(command)}. Without it beside "
                "onnxruntime_perf_test the measurement is unchecked.",
            )
        found = []
        for remote in names:
            device.pull(remote, file)
            found.append(_values(file.read_bytes()))
    _run(device, ["rm", "-rf", root], job)
    return found


def _run(device: Device, command: list[str], job: Job) -> None:
    done = device.run(command, timeout=job.timeout)
    if done.returncode != 0:
        raise RunnerError(f"{device.spec} cannot {' '.join(command)}: {done.stderr.strip()[:200]}")


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise RunnerError(
            f"{NAME} takes and gives tensors as ONNX stores them, and onnx is not installed here.",
            hint=f"Run: {install_command('onnx')}",
        ) from error
    return onnx


def _tensor(name: str, value: np.ndarray) -> bytes:
    found: bytes = _onnx().numpy_helper.from_array(value, name).SerializeToString()
    return found


def _values(data: bytes) -> np.ndarray:
    """Of a tensor that a device wrote: no more is read than these bytes."""
    onnx = _onnx()
    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(data)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError("its values lie elsewhere")
        if tensor.data_type != onnx.TensorProto.FLOAT:
            raise ValueError("it is no tensor of float32")
        value: np.ndarray = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # the decoder's own class of protobuf, and NumPy's
        raise RunnerError(f"{NAME} wrote an output that cannot be read: {error}") from error
    return value
