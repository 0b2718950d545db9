"""The C++ that `mobile-export snippet` prints: compiled, run, and its answers compared with ours.

ncnn's library is what `mobile-bench build-runner` keeps in the user's cache; that for aarch64 runs
under qemu. Each answer has another rule of preparing pictures.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.answers.machine import load_file
from mobile_export.apps.cpp import quoted_in_cpp
from mobile_export.apps.snippets import make_snippet
from mobile_export.bench.native.build import cache_folder
from tests.apps.conftest import APP, Grid
from tests.conftest import TinyNet, need

SAMPLE = APP / "app" / "src" / "main" / "assets" / "sample.jpg"
MACHINES = {183: "aarch64", 62: "x86_64"}
"""Of e_machine in an ELF file."""


@dataclass(frozen=True)
class Compiler:
    """Compiles a program against ncnn, and what runs it here."""

    command: tuple[str, ...]
    library: Path
    emulator: tuple[str, ...]

    def run(self, source: Path, *words: object) -> str:
        """What the compiled program prints; it is compiled without warnings."""
        program = source.with_suffix("")
        headers = f"-I{self.library / 'include' / 'ncnn'}"
        archive = self.library / "lib" / "libncnn.a"
        compile_ = [*self.command, "-std=c++17", "-O0", "-Wall", "-Wextra", "-Wno-unused-function"]
        compile_ += ["-isystem", "/usr/include/stb", headers, source, archive, "-fopenmp"]
        done = call([*compile_, "-static", "-o", program], source.parent)
        assert done.returncode == 0, done.stderr[-4000:]
        assert f"{source.name}:" not in done.stderr, done.stderr[:4000]
        ran = call([*self.emulator, program, *words], source.parent)
        assert ran.returncode == 0, ran.stderr[-2000:]
        return ran.stdout


def call(words: list[Any], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(word) for word in words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def compiler() -> Compiler:
    if not Path("/usr/include/stb/stb_image.h").is_file():
        pytest.skip("stb_image.h is not installed: apt-get install libstb-dev")
    for archive in sorted(cache_folder().glob("ncnn-*/lib/libncnn.a")):
        start = archive.read_bytes()[: 1 << 20]
        elf = start.index(b"\x7fELF")
        arch = MACHINES[int.from_bytes(start[elf + 18 : elf + 20], "little")]
        own = arch == platform.machine()
        compiler = shutil.which("g++" if own else f"{arch}-linux-gnu-g++")
        emulator = "" if own else shutil.which(f"qemu-{arch}")
        if compiler and emulator is not None:
            return Compiler((compiler,), archive.parents[1], (emulator,) if emulator else ())
    pytest.skip("there is no ncnn library with a compiler for it: run mobile-bench build-runner")


class Segmenter(torch.nn.Module):
    """Five classes at a quarter of the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 5, 4, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"values": self.conv(x) * 4}


class Upscaler(torch.nn.Module):
    """A grey picture of twice the size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"values": torch.nn.functional.pixel_shuffle(self.conv(x), 2)}


def written(
    folder: Path,
    module: torch.nn.Module,
    size: int,
    rule: tuple[str, str, float] | None,
    *meanings: str,
    channels: int = 3,
    labels: tuple[str, ...] = ('a "b"', "?? é\\", "c"),
) -> Path:
    """An ncnn file whose manifest has a rule (crop, filter, share) and the outputs' meanings."""
    need("ncnn")
    torch.manual_seed(3)
    report = mobile_export.export(
        module.eval(), "ncnn", folder, name="net", size=size, channels=channels
    )
    path = report.artifacts[0].path
    assert path is not None
    place = path.with_name(path.name + ".manifest.json")
    manifest = json.loads(place.read_text())
    manifest["labels"] = labels
    for output, meaning in zip(manifest["interface"]["outputs"], meanings, strict=True):
        output["meaning"] = meaning
        if meaning == "boxes":
            output["box"] = {"order": ["left", "top", "right", "bottom"], "unit": "pixels"}
    if rule is not None:
        crop, word, share = rule
        manifest["preprocessing"] = {
            "resize": [int(size / share)] * 2,
            "crop_mode": crop,
            "crop_pct": share,
            "interpolation": word,
            "source": "a test \\",
        }
    place.write_text(json.dumps(manifest))
    return path


def answered(compiler: Compiler, path: Path) -> tuple[list[list[str]], Any]:
    """Lines of the program's answer, and Python's answer, on a PNG."""
    library = pytest.importorskip("PIL.Image")
    photo = path.parent / "photo.png"
    library.open(SAMPLE).resize((201, 77)).save(photo)
    source = path.parent / "program.cpp"
    source.write_text(make_snippet(path, "cpp"))
    lines = compiler.run(source, photo).splitlines()
    return [line.rsplit(" ", 1) for line in lines], load_file(path).answer(photo)[0]


def test_classes(compiler: Compiler, tmp_path: Path) -> None:
    """The middle of the picture; the names are those of the manifest, whatever is in them."""
    path = written(tmp_path, TinyNet(3), 32, ("center", "bicubic", 0.9), "logits")
    rows, truth = answered(compiler, path)
    assert [row[0] for row in rows] == [f"{each.index} {each.name}" for each in truth.classes]
    scores = [each.score for each in truth.classes]
    assert [float(row[1]) for row in rows] == pytest.approx(scores, abs=2e-5)


def test_objects(compiler: Compiler, tmp_path: Path) -> None:
    """Borders are filled up; boxes come back to the photo."""
    rule = ("border", "lanczos", 0.8)
    rows, truth = answered(compiler, written(tmp_path, Grid(), 64, rule, "boxes", "scores"))
    found = [" ".join(row).split(" ") for row in rows]
    assert len(found) == len(truth.objects) > 5
    for row, each in zip(found, truth.objects, strict=True):
        assert int(row[0]) == each.index
        assert float(row[-5]) == pytest.approx(each.score, abs=2e-5)
        assert [float(edge) for edge in row[-4:]] == pytest.approx(each.box, abs=0.05)


@pytest.mark.parametrize("labels", [("a", "b", "c", "?? é", "e"), ("too", "few")])
def test_regions(compiler: Compiler, tmp_path: Path, labels: tuple[str, ...]) -> None:
    """Names are shown where there is one for each of the five classes."""
    rule = ("squash", "hamming", 0.75)
    path = written(tmp_path, Segmenter(), 48, rule, "logits", labels=labels)
    rows, truth = answered(compiler, path)
    assert len(rows) == len(truth.regions) > 2
    assert {bool(each.name) for each in truth.regions} == {len(labels) == 5}
    names = [f"{each.index} {each.name or ''}" for each in truth.regions]
    assert [row[0] for row in rows] == names
    shares = [each.share for each in truth.regions]
    assert [float(row[1]) for row in rows] == pytest.approx(shares, abs=1e-3)


def test_a_picture(compiler: Compiler, tmp_path: Path) -> None:
    """In grey, stretched, for nobody said how to prepare it."""
    path = written(tmp_path, Upscaler(), 40, None, "upscaled", channels=1)
    rows, truth = answered(compiler, path)
    assert rows[0][0].startswith("answer.ppm")
    got = np.asarray(pytest.importorskip("PIL.Image").open(tmp_path / "answer.ppm"), np.int64)
    assert got.shape == truth.image.shape == (80, 80, 3)
    assert np.abs(got - truth.image).max() <= 1


def test_texts_are_literals() -> None:
    assert quoted_in_cpp('a"\\??\n é\ud800') == '"a\\"\\\\\\?\\?\\012 é\\355\\240\\200"'
