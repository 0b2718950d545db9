"""A Vulkan device for this process: the machine's own, or a program that computes as one would."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["WAYS", "vulkan_device"]

_NAMED = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES")
"""Variables by which Vulkan's loader is told the drivers."""
_DEVICES = Path("/dev")
_HARDWARE = ("dri/renderD*", "nvidia[0-9]*", "kgsl-3d0", "mali0")
"""Where Linux shows a GPU. Drivers alone tell nothing: Mesa's come with one for the CPU, which
LiteRT refuses."""
_SWIFTSHADER = (
    Path("/usr/lib/chromium/libvk_swiftshader.so"),
    Path("/usr/lib/chromium-browser/libvk_swiftshader.so"),
    Path("/opt/google/chrome/libvk_swiftshader.so"),
)
WAYS = (
    "Install a Vulkan driver; or, to compute on the CPU as a GPU would, Chromium's SwiftShader: "
    "apt-get install libvulkan1 chromium"
)
"""What gives a machine a Vulkan device, for hints."""


@contextlib.contextmanager
def vulkan_device() -> Iterator[None]:
    """Let processes that are started inside find SwiftShader, where there is no GPU.

    Nothing is done when the user named drivers, or the machine has a GPU.
    """
    named = any(os.environ.get(name) for name in _NAMED)
    hardware = any(any(_DEVICES.glob(pattern)) for pattern in _HARDWARE)
    library = next((path for path in _SWIFTSHADER if path.is_file()), None)
    if named or hardware or library is None:
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        driver = Path(folder) / "swiftshader.json"
        facts = {"library_path": str(library), "api_version": "1.3.0"}
        driver.write_text(json.dumps({"file_format_version": "1.0.0", "ICD": facts}))
        os.environ[_NAMED[1]] = str(driver)
        try:
            yield
        finally:
            del os.environ[_NAMED[1]]
