"""iPhones that are not here: pymobiledevice3 and coremltools, made up after their documentation.

The made-up classes have the signatures of coremltools 9.0 (`perf_utils`, `async_wrapper`,
`remote_device`), which the last test compares with the installed ones.
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mobile_export.bench.check import check_outputs
from mobile_export.bench.devices import connect, ios
from mobile_export.bench.runners import get_runner
from mobile_export.bench.runners.runner import Job
from mobile_export.errors import DeviceError
from tests.bench.examples import answer, artifact

USBMUX = [
    {
        "BuildVersion": "22F76", "ConnectionType": "USB", "DeviceClass": "iPhone",
        "DeviceName": "Ann's iPhone", "Identifier": "00008110-000A", "ProductType": "iPhone14,7",
        "ProductVersion": "18.5", "UniqueDeviceID": "00008110-000A",
    },
]  # fmt: skip
BATTERY = {"CurrentCapacity": 83, "IsCharging": True, "Temperature": 3120}


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ``pymobiledevice3`` that prints what is said here."""
    recorded = tmp_path / "recorded"
    recorded.mkdir()
    (recorded / "usbmux").write_text(json.dumps(USBMUX))
    (recorded / "diagnostics").write_text(json.dumps(BATTERY))
    script = tmp_path / "pymobiledevice3"
    script.write_text(f'#!/bin/sh\ncat "{recorded}/$1"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(sys, "platform", "linux")
    return recorded


def test_a_phone_from_linux(tool: Path) -> None:
    (found,) = ios.find()
    assert found.spec == "ios:00008110-000A"
    device = connect("ios")
    info = device.describe()
    assert (info.name, info.os) == ("Ann's iPhone (iPhone14,7)", "iOS 18.5")
    state = device.state()
    assert (state.battery_percent, state.charging) == (83.0, True)
    assert state.extra == {"battery_temperature_c": 31.2}


def test_which_phone(tool: Path) -> None:
    (tool / "usbmux").write_text(json.dumps([*USBMUX, USBMUX[0] | {"Identifier": "2"}]))
    with pytest.raises(DeviceError, match=r"(?s)There are 2.*ios:00008110-000A, ios:2"):
        connect("ios")
    assert connect("ios:2").spec == "ios:2"
    with pytest.raises(DeviceError, match="There is no iPhone or iPad 3"):
        connect("ios:3")


@pytest.mark.parametrize("text", ["", "Traceback", "{}", '"x"'])
def test_a_tool_that_prints_something_else(tool: Path, text: str) -> None:
    (tool / "usbmux").write_text(text)
    with pytest.raises(DeviceError, match="printed no"):
        connect("ios")
    assert ios.find()[0].problem is not None


def test_without_any_tool(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ios.find() == []
    with pytest.raises(DeviceError, match=r"(?s)Nothing on this machine.*pymobiledevice3"):
        connect("ios")


def test_core_ml_is_measured_from_a_mac(tool: Path, tmp_path: Path) -> None:
    made = artifact(tmp_path, name="net.coreml")
    problem = get_runner("coreml").runner().missing(connect("ios"), Job(made, backend="all"))
    assert problem is not None
    assert "from a Mac" in problem


class MadeUpBenchmarker:
    def __init__(self, model: Any, device: Any = None) -> None:
        self.device = device

    async def benchmark_load(self, iterations: int = 1) -> Any:
        return SimpleNamespace(samples=[120.5])

    async def benchmark_predict(
        self, inputs: Any = None, iterations: int = 1, warmup: bool = False
    ) -> Any:
        assert self.device == "prepared"
        assert list(inputs) == ["image"]
        return SimpleNamespace(samples=[4.9] * iterations)


class MadeUpWrapper:
    @staticmethod
    def from_spec_or_path(**options: Any) -> MadeUpWrapper:
        return MadeUpWrapper()

    async def load(self) -> None: ...

    async def unload(self) -> None: ...

    async def predict(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"logits": answer(inputs["image"]).astype(np.float32)}


class MadeUpHandle:
    udid, name, os_version = "7", "iPhone", "18.5"

    async def prepare_for_model_debugging(self, working_directory: Path) -> str:
        assert working_directory.is_dir()
        return "prepared"


def test_a_phone_from_a_mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("coremltools")
    import coremltools
    from coremltools.models.ml_program.experimental import async_wrapper, perf_utils

    model = SimpleNamespace(get_spec=lambda: None, weights_dir=None, compute_unit=None)
    monkeypatch.setattr(coremltools.models, "MLModel", lambda path, **options: model)
    monkeypatch.setattr(perf_utils, "MLModelBenchmarker", MadeUpBenchmarker)
    monkeypatch.setattr(async_wrapper, "MLModelAsyncWrapper", MadeUpWrapper)
    made = artifact(tmp_path, name="net.coreml")
    device = ios.IosDevice({"udid": "7", "name": "iPhone", "version": "18.5"}, MadeUpHandle())
    with get_runner("coreml").runner().open(device, Job(made, backend="ne")) as session:
        assert session.loaded.load_ns == 120_500_000
        check = check_outputs(session, made)
        assert check is not None
        assert check.passed
        assert session.run(3).samples == (4_900_000,) * 3


def test_what_we_call_is_what_coremltools_has() -> None:
    pytest.importorskip("coremltools")
    from coremltools.models.ml_program.experimental import (
        async_wrapper,
        perf_utils,
        remote_device,
    )

    def names(function: Any) -> set[str]:
        return set(inspect.signature(function).parameters)

    assert {"model", "device"} <= names(perf_utils.MLModelBenchmarker)
    assert {"iterations"} <= names(perf_utils.MLModelBenchmarker.benchmark_load)
    assert {"inputs", "iterations"} <= names(perf_utils.MLModelBenchmarker.benchmark_predict)
    wrapper = async_wrapper.MLModelAsyncWrapper
    wanted = {"spec_or_path", "weights_dir", "compute_units", "device"}
    assert wanted <= names(wrapper.from_spec_or_path)
    assert {"working_directory"} <= names(remote_device.Device.prepare_for_model_debugging)
    assert {"device_type"} <= names(remote_device.Device.get_connected_devices)
    assert remote_device.DeviceType.IPHONE
