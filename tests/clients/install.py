"""The clients that tests need and that this project does not: each in a folder of the user's cache.

`python -m tests.clients.install [NAME…]` installs them, or those that are named. What is there
already is left as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

NPM = (
    "onnxruntime-web@1.30.0",
    "@litertjs/core@2.5.3",
    "@tensorflow/tfjs-tflite@0.0.1-alpha.10",
    "@tensorflow/tfjs-core@4.9.0",
    "@tensorflow/tfjs-backend-cpu@4.9.0",
)
DONE = ".installed"
"""Written last into the folder of a client."""


def place(name: str) -> Path:
    """Where a client is, or would be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "mobile-export" / "clients" / name


def _run(*words: str | Path) -> None:
    subprocess.run(list(map(str, words)), check=True, stdout=sys.stderr, timeout=900)


def _npm(folder: Path) -> None:
    _run("npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", folder, *NPM)


def _netron(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    _run(*pip, "netron==9.3.3")
    # node reads .js files as modules where the folder says so.
    (folder / "netron" / "package.json").write_text(json.dumps({"type": "module"}))


def _environment(*packages: str) -> Callable[[Path], None]:
    """Installs packages in a virtual environment, which holds nothing else."""

    def install(folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        _run(folder / "bin" / "python", "-m", "pip", "install", "-q", "--no-compile", *packages)

    return install


CLIENTS: dict[str, Callable[[Path], None]] = {
    "npm": _npm,
    "netron": _netron,
    "ncnn": _environment("ncnn==1.0.20261020", "numpy"),
    "tensorflow": _environment("tensorflow-cpu==2.21.0"),
}


def installed(name: str) -> bool:
    """Whether a client is there, and whole: what was killed while it was installed is not."""
    return (place(name) / DONE).is_file()


def install(name: str) -> None:
    """Put a client in its place.

    Raises:
        OSError: a program that installs it is not here.
        subprocess.SubprocessError: it failed.
    """
    if installed(name):
        return
    # Scripts of a virtual environment name the folder that it was made in: nothing is moved.
    shutil.rmtree(place(name), ignore_errors=True)
    place(name).mkdir(parents=True)
    CLIENTS[name](place(name))
    (place(name) / DONE).touch()


def main(names: list[str]) -> int:
    """Install clients; 1 when one could not be."""
    failed = 0
    for name in names or list(CLIENTS):
        try:
            install(name)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: not installed: {error}", file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
