"""Core ML, from a Mac: on the Mac itself, or on an iPhone through coremltools' ModelRunner app.

Written against coremltools 9.0 (`MLModelBenchmarker`, `remote_device`); not exercised with a device
(docs/bench.md). The durations are those that Core ML's caller on the device measures around
``prediction``; each prediction there is a round trip of its own, so runs are never back to back.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self

import numpy as np

from ...errors import RunnerError, summary
from ...system.install import install_command
from ..devices.device import Device
from .runner import Job, Loaded, NamedOutput, RawResult

__all__ = ["create"]

_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ne": "CPU_AND_NE"}


class _Session:
    def __init__(self, device: Device, job: Job) -> None:
        self._job = job
        self._loop = asyncio.new_event_loop()
        self._folder = tempfile.TemporaryDirectory(prefix="mobile-bench-")
        try:
            self._open(device)
        except BaseException:
            self.__exit__()
            raise

    def _open(self, device: Device) -> None:
        import coremltools
        from coremltools.models.ml_program.experimental.perf_utils import MLModelBenchmarker

        handle = getattr(device, "handle", None)
        if handle is not None:
            folder = Path(self._folder.name)
            handle = self._do(handle.prepare_for_model_debugging(working_directory=folder))
        units = getattr(coremltools.ComputeUnit, _UNITS[self._job.backend])
        path = str(self._job.artifact.path)
        self._model = coremltools.models.MLModel(path, compute_units=units, skip_model_load=True)
        self._handle = handle
        self._benchmarker = MLModelBenchmarker(self._model, device=handle)
        loaded = self._do(self._benchmarker.benchmark_load(iterations=1))
        self.loaded = Loaded(
            version=f"Core ML (coremltools {coremltools.__version__}, {self._job.backend})",
            load_ns=round(loaded.samples[0] * 1e6),
            precision=self._job.artifact.precision,
        )

    def outputs(self, image: np.ndarray, **others: np.ndarray) -> tuple[NamedOutput, ...]:
        from coremltools.models.ml_program.experimental.async_wrapper import MLModelAsyncWrapper

        self._inputs = {self._job.artifact.manifest.input.name: self._as_input(image)}
        wrapper = MLModelAsyncWrapper.from_spec_or_path(
            spec_or_path=self._model.get_spec(),
            weights_dir=self._model.weights_dir,
            compute_units=self._model.compute_unit,
            device=self._handle,
        )
        self._do(wrapper.load())
        found = self._do(wrapper.predict(self._inputs))
        self._do(wrapper.unload())
        return tuple(NamedOutput(name, np.asarray(value)) for name, value in found.items())

    def run(self, count: int) -> RawResult:
        measured = self._do(self._benchmarker.benchmark_predict(self._inputs, iterations=count))
        return RawResult(tuple(round(ms * 1e6) for ms in measured.samples))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.close()
        self._folder.cleanup()

    def _as_input(self, image: np.ndarray) -> Any:
        if not self._job.artifact.manifest.expected.sample.startswith("pixel"):
            return image
        from PIL import Image

        return Image.fromarray(image[0].transpose(1, 2, 0).astype(np.uint8))

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, self._job.timeout))
        except Exception as error:  # Xcode, devicectl and Core ML each raise their own
            raise RunnerError(
                f"Core ML did not do it: {summary(error)}",
                hint="An iPhone must be unlocked, in developer mode, and known to Xcode with a "
                "development team.",
            ) from error


class CoreMLRunner:
    """The only one of its kind."""

    def missing(self, device: Device, job: Job) -> str | None:
        if sys.platform != "darwin":
            return (
                f"Core ML on {device.spec} is measured from a Mac, where coremltools builds and "
                "signs the app that runs the model"
            )
        if importlib.util.find_spec("coremltools") is None:
            return f"coremltools is not installed; run: {install_command('coreml')}"
        return None

    def open(self, device: Device, job: Job) -> _Session:
        return _Session(device, job)


def create(name: str) -> CoreMLRunner:
    """The runner."""
    return CoreMLRunner()
