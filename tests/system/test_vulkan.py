"""A Vulkan device in software, where there is no GPU and the user named no driver."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from mobile_export.system import vulkan


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without drivers that are named and without a GPU, with SwiftShader."""
    for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(vulkan, "_DEVICES", tmp_path)
    library = tmp_path / "libvk_swiftshader.so"
    library.write_bytes(b"")
    monkeypatch.setattr(vulkan, "_SWIFTSHADER", (tmp_path / "none.so", library))
    return tmp_path


def test_software_stands_in_and_goes_again(bare: Path) -> None:
    with vulkan.vulkan_device():
        driver = Path(os.environ["VK_ICD_FILENAMES"])
        facts = json.loads(driver.read_text())  # as Vulkan's loader wants it
        assert facts["file_format_version"] == "1.0.0"
        assert facts["ICD"]["library_path"] == str(bare / "libvk_swiftshader.so")
    assert "VK_ICD_FILENAMES" not in os.environ
    assert not driver.exists()


def test_it_goes_also_after_an_error(bare: Path) -> None:
    with pytest.raises(KeyError), vulkan.vulkan_device():
        raise KeyError
    assert "VK_ICD_FILENAMES" not in os.environ


@pytest.mark.parametrize("name", ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"])
def test_named_drivers_are_left_alone(
    name: str, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/mine.json")
    before = dict(os.environ)
    with vulkan.vulkan_device():
        assert dict(os.environ) == before


def test_a_machine_with_a_gpu_is_left_alone(bare: Path) -> None:
    (bare / "dri").mkdir()
    (bare / "dri" / "renderD128").write_text("")
    with vulkan.vulkan_device():
        assert "VK_ICD_FILENAMES" not in os.environ


def test_nothing_to_stand_in(bare: Path) -> None:
    (bare / "libvk_swiftshader.so").unlink()
    with vulkan.vulkan_device():
        assert "VK_ICD_FILENAMES" not in os.environ
