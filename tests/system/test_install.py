"""Commands that install an extra, by where the installation comes from (PEP 610)."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from mobile_export.system import install
from mobile_export.system.install import install_command, missing_extra

METADATA = """Metadata-Version: 2.4
Name: mobile-export
Version: 1.0
Requires-Dist: numpy>=2
Requires-Dist: tomli; python_version < '3'
Requires-Dist: onnx<2,>=1.18; extra == 'onnx'
Requires-Dist: onnxruntime>=1.22; (python_version >= '3') and extra == 'onnx'
Requires-Dist: old; (python_version < '3') and extra == 'onnx'
Requires-Dist: timm>=1; extra == 'timm'
Requires-Dist: mobile-export[onnx,timm]; extra == 'all'
"""


@pytest.fixture
def installed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Writes the metadata of an installation with this ``direct_url.json``."""

    def write(origin: dict[str, Any] | None) -> None:
        folder = tmp_path / "mobile_export-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(METADATA)
        if origin is not None:
            (folder / "direct_url.json").write_text(json.dumps(origin))
        found = metadata.PathDistribution(folder)
        monkeypatch.setattr(metadata, "distribution", lambda name: found)

    return write


@pytest.mark.parametrize(("editable", "option"), [(True, ["-e"]), (False, [])])
def test_a_folder(editable: bool, option: list[str], tmp_path: Path, installed_from: Any) -> None:
    checkout = tmp_path / "my checkout"
    checkout.mkdir()
    installed_from({"url": checkout.as_uri(), "dir_info": {"editable": editable}})
    wanted = ["pip", "install", *option, f"{checkout}[onnx]"]
    assert shlex.split(install_command("onnx")) == wanted


def test_a_wheel_on_disk(tmp_path: Path, installed_from: Any) -> None:
    wheel = tmp_path / "mobile_export-1.0-py3-none-any.whl"
    wheel.touch()
    installed_from({"url": wheel.as_uri(), "archive_info": {}})
    assert shlex.split(install_command("timm")) == ["pip", "install", f"{wheel}[timm]"]


def test_a_repository(installed_from: Any) -> None:
    url, commit = "https://example.org/mobile-export.git", "0" * 40
    installed_from({"url": url, "vcs_info": {"vcs": "git", "commit_id": commit}})
    requirement = Requirement(shlex.split(install_command("onnx"))[2])
    assert requirement.url == f"git+{url}@{commit}"
    assert requirement.extras == {"onnx"}


def test_a_wheel_on_a_server(installed_from: Any) -> None:
    url = "https://example.org/mobile_export-1.0-py3-none-any.whl"
    installed_from({"url": url, "archive_info": {}})
    requirement = Requirement(shlex.split(install_command("onnx"))[2])
    assert (requirement.name, requirement.url) == ("mobile-export", url)


@pytest.mark.parametrize("origin", [None, {"url": "file:///gone/mobile-export", "dir_info": {}}])
def test_otherwise_the_libraries_themselves(
    origin: dict[str, Any] | None, installed_from: Any
) -> None:
    installed_from(origin)
    command = shlex.split(install_command("onnx"))
    assert command == ["pip", "install", "onnx<2,>=1.18", "onnxruntime>=1.22"]
    everything = shlex.split(install_command("all"))
    assert everything == [*command, "timm>=1"]


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", absent)
    assert shlex.split(install_command("onnx"))[2:] == ["-e", f"{install._CHECKOUT}[onnx]"]
    assert (install._CHECKOUT / "pyproject.toml").is_file()


def test_the_error_says_the_command() -> None:
    error = missing_extra("ONNX", "onnx", "onnx")
    assert f"Run: {install_command('onnx')}" in str(error)
