"""Files of two models for the clients that people have, and the clients themselves."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.artifacts.interface import Interface
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.pipeline import ExportReport
from tests.clients.install import installed, place
from tests.conftest import make_source

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
SECONDS = 180
LABELS = tuple(f"class {number}" for number in range(10))


@dataclass(frozen=True)
class Files:
    """A model in float64 and files of it.

    Attributes:
        image: (1, 3, H, W) float32: what every client is given.
        expected: of eager PyTorch in float64, flat.
        path: the file of a format, exported when it is first asked for.
    """

    image: np.ndarray
    expected: np.ndarray
    path: Callable[[str], Path]

    @staticmethod
    def of(module: torch.nn.Module, size: int, path: Callable[[str], Path]) -> Files:
        """Files of a module, which is made one of float64."""
        image = np.random.default_rng(15).standard_normal((1, 3, size, size), np.float32)
        with torch.no_grad():
            expected = module.double()(torch.from_numpy(image).double())
        return Files(image, expected.numpy().ravel(), path)

    def interface(self, name: str) -> Interface:
        """What the manifest says of a file."""
        return read_manifest(self.path(name)).interface

    def input(self, name: str, folder: Path) -> Path:
        """The image in the layout of a format, as bytes in a file."""
        (taken,) = self.interface(name).inputs
        image = self.image.transpose(0, 2, 3, 1) if taken.layout == "NHWC" else self.image
        path = folder / "input.bin"
        path.write_bytes(np.ascontiguousarray(image, "<f4").tobytes())
        return path


@pytest.fixture(scope="session")
def emo(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """EMO-1M at 64 pixels: windows, attention, depthwise convolutions."""
    folder = tmp_path_factory.mktemp("emo")

    @functools.cache
    def path(name: str) -> Path:
        (artifact,) = mobile_export.export("emo_1m", (name,), folder, size=64).artifacts
        assert artifact.path is not None
        return artifact.path

    return Files.of(mobile_export.create_model("emo_1m", size=64), 64, path)


@pytest.fixture(scope="session")
def tiny(exported: Callable[..., ExportReport]) -> Files:
    """The network of other tests, with names for its ten classes."""

    def path(name: str) -> Path:
        (artifact,) = exported(name, labels=LABELS).artifacts
        assert artifact.path is not None
        return artifact.path

    return Files.of(make_source().module, 32, path)


@pytest.fixture(params=["emo", "tiny"])
def files(request: pytest.FixtureRequest) -> Files:
    """Each of the two models."""
    found: Files = request.getfixturevalue(request.param)
    return found


def client(name: str) -> Path:
    """Where a client was installed; the test is skipped when it was not."""
    if not installed(name):
        pytest.skip(f"not installed: python -m tests.clients.install {name}")
    return place(name)


def program(*names: str) -> str:
    """The first of some programs that is here."""
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no {' or '.join(names)} here")
    return found


def answer(*words: str | Path) -> dict[str, Any]:
    """What a program prints in JSON on its last line."""
    done = subprocess.run(
        list(map(str, words)), capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


class Browser:
    """Opens `page.html` in a browser without a window, and waits for what it posts."""

    def __init__(self, folder: Path, modules: Path) -> None:
        self.folder = folder
        self._program = program(*BROWSERS)
        self._answered = threading.Event()
        self._answer: dict[str, Any] = {}
        roots = {"npm": modules, "files": folder}
        outer = self

        class Handler(http.server.SimpleHTTPRequestHandler):
            def translate_path(self, path: str) -> str:
                _, root, *rest = urlsplit(path).path.split("/")
                return str(roots[root].joinpath(*rest) if root in roots else HERE / root)

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                outer._answer = json.loads(self.rfile.read(length))
                self.send_response(204)
                self.end_headers()
                outer._answered.set()

            def log_message(self, *arguments: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def ask(self, name: str, path: Path, shape: tuple[int, ...]) -> dict[str, Any]:
        """What a client makes of a file; its input is ``input.bin`` in the folder."""
        shutil.copyfile(path, self.folder / path.name)
        self._answered.clear()
        query = urlencode({"client": name, "model": path.name, "shape": ",".join(map(str, shape))})
        words = [
            self._program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            f"--user-data-dir={self.folder / 'profile'}", "--remote-debugging-port=0",
            f"http://127.0.0.1:{self.server.server_port}/page.html?{query}",
        ]  # fmt: skip
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            assert self._answered.wait(SECONDS), "the page did not answer"
        finally:
            process.kill()
            process.wait()
        assert "error" not in self._answer, self._answer["error"]
        return self._answer


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    """A browser with the clients of npm."""
    found = Browser(tmp_path, client("npm") / "node_modules")
    yield found
    found.server.shutdown()
    found.server.server_close()
