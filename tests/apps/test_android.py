"""The sample app for Android: its own tests, and its answers against ours on the same picture."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_export.answers.machine import load_file
from mobile_export.apps.snippets import make_snippet
from mobile_export.bench.importing import import_records
from tests.apps.conftest import APP, Run, need_programs, tool

SAMPLE = APP / "app" / "src" / "main" / "assets" / "sample.jpg"
NAMES = (
    "emo_1m.onnx",
    "small.tflite",
    "emo_1m_ssdlite.onnx",
    "seaformer_tiny_seg.onnx",
    "espcn_x2.tflite",
    "lite_mono_tiny.onnx",
    "u2netp.onnx",
    "tensors.onnx",
    "pixels.onnx",
    "grid.onnx",
    "grid.tflite",
)
KEPT = (
    "models",
    "emo_1m.onnx",
    "seaformer_tiny_seg.onnx",
    "espcn_x2.tflite",
    "lite_mono_tiny.onnx",
    "u2netp.onnx",
    "tensors.onnx",
    "grid.onnx",
)
"""Screens: the list, and one of each task; the boxes of `Grid` are few and far from each other."""


def test_the_tests_of_kit_and_app_pass(run: Run) -> None:
    assert re.search(r"OK \(\d+ tests\)", run.said), run.said[-6000:]


@pytest.mark.parametrize("name", NAMES)
def test_every_task_is_answered_as_python_does(run: Run, name: str) -> None:
    """The app decodes the JPEG with Android's decoder, so the last digits are its own."""
    got = json.loads((run.screens / f"{name}.json").read_text())
    truth, prepared = load_file(run.models / name).answer(SAMPLE)
    del prepared
    if truth.classes:
        assert [row[0] for row in got["classes"]] == [each.index for each in truth.classes]
        for row, each in zip(got["classes"], truth.classes, strict=True):
            assert row[1] == each.name
            assert row[2] == pytest.approx(each.score, abs=1e-3)
            assert each.name is not None
            assert each.name in got["screen"]
    elif truth.objects or name.startswith(("emo_1m_ssdlite", "grid")):
        same_objects(got["objects"], truth.objects)
    elif truth.regions:
        mine = {each.index: each.share for each in truth.regions}
        theirs = {row[0]: row[2] for row in got["regions"]}
        for index in mine.keys() | theirs.keys():
            assert theirs.get(index, 0) == pytest.approx(mine.get(index, 0), abs=0.02)
    elif truth.image is not None:
        assert got["image"] == list(truth.image.shape[:2])
        assert got["sum"] == pytest.approx(float(truth.image.astype(np.int64).sum()), rel=0.01)
    elif truth.map is not None:
        assert got["map"] == list(truth.map.shape)
        assert got["mean"] == pytest.approx(float(truth.map.mean()), abs=0.02)
    else:
        for row, each in zip(got["numbers"], truth.results, strict=True):
            assert row[:2] == [each.name, list(each.value.shape)]
            assert each.range is not None
            assert row[2:] == pytest.approx(each.range, rel=0.02, abs=0.02)


def same_objects(got: list[list[float]], truth: Any) -> None:
    """As many, and the surest where it should be: the scores of random weights are near each other,
    so the order of others may differ."""
    assert len(got) == pytest.approx(len(truth), rel=0.1, abs=2)
    best = sorted((each.score for each in truth), reverse=True)[:20]
    assert [row[1] for row in got[:20]] == pytest.approx(best, abs=5e-3)
    boxes = np.array([each.box for each in truth])
    for row in got[:5]:
        assert np.abs(boxes - np.array(row[2:])).max(1).min() < 8


@pytest.mark.parametrize("name", NAMES)
def test_every_file_passes_its_check_on_the_app(run: Run, name: str) -> None:
    said = (run.screens / f"{name}.check.txt").read_text()
    wanted = "This file ends with detections" if "grid" in name else "Passed: the largest error is "
    assert said.startswith(wanted), said


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        ("one.png", " ms"),
        ("cmyk.jpg", " ms"),
        ("grey.jpg", " ms"),
        ("portrait.jpg", " ms"),
        ("huge.jpg", "12000x9000 pixels was read at 1/4 of its sides"),
        ("phone.heic", "no decoder for HEIC"),
        ("text.jpg", "no picture that can be read"),
    ],
)
def test_bad_pictures_are_sentences(run: Run, picture: str, words: str) -> None:
    assert words in (run.screens / f"picture-{picture}.txt").read_text()


@pytest.mark.parametrize("name", KEPT)
def test_screens_are_those_that_are_kept(run: Run, name: str, pytestconfig: pytest.Config) -> None:
    """``pytest tests/apps --write-screens`` keeps new ones: look at them before you commit."""
    screens = pytest.importorskip("tests.apps.screens", reason="needs Pillow")
    if pytestconfig.getoption("--write-screens"):
        screens.keep(run.screens / f"{name}.png")
    assert screens.difference(run.screens / f"{name}.png", name) <= screens.ALLOWED


@pytest.mark.parametrize(
    "name", ["emo_1m.onnx", "grid.onnx", "seaformer_tiny_seg.onnx", "u2netp.onnx"]
)
def test_a_wrong_name_box_or_mask_would_be_told(run: Run, name: str) -> None:
    screens = pytest.importorskip("tests.apps.screens", reason="needs Pillow")
    found = screens.difference(run.screens / f"wrong-{name}.png", name)
    assert found > 2 * screens.ALLOWED


def test_its_benchmark_is_read_into_a_store(run: Run, tmp_path: Path) -> None:
    file, store = run.screens / "bench.jsonl", tmp_path / "store.jsonl"
    done = import_records(file, store)
    assert done.added
    assert done.known == 0
    for each in done.added:
        assert each.check is not None
        assert each.check.passed
        assert len(each.samples) == sum(each.blocks) == 60
        assert each.trusted
    again = import_records(file, store)
    assert (again.added, again.known) == ((), len(done.added))


def test_versions_are_written_once() -> None:
    """Gradle and ci/build.py read one catalog; nothing else names a version of theirs."""
    catalog = tomllib.loads((APP / "gradle" / "libs.versions.toml").read_text())
    script = (APP / "app" / "build.gradle.kts").read_text() + (APP / "build.gradle.kts").read_text()
    used = re.findall(r"(?:implementation|testImplementation|alias)\(libs\.([\w.]+)\)", script)
    known = {key.replace("-", ".") for key in catalog["libraries"]}
    known |= {"plugins." + key.replace("-", ".") for key in catalog["plugins"]}
    assert set(used) == known
    for row in [*catalog["libraries"].values(), *catalog["plugins"].values()]:
        assert row["version"]["ref"] in catalog["versions"]
    tools = tomllib.loads((APP / "ci" / "tools.toml").read_text())
    named = {part for row in tools.values() for a in row.get("artifacts", []) for part in [a]}
    for artifact in named:
        group, module, version = artifact.split(":")[:3]
        same = [r for r in catalog["libraries"].values() if r["module"] == f"{group}:{module}"]
        if same:
            assert version == "{" + same[0]["version"]["ref"] + "}"
    compiled = re.search(r":android-all:(\d+)-", " ".join(named))
    assert compiled is not None
    assert int(compiled[1]) == int(catalog["versions"]["compileSdk"]) - 20  # Android 14 is API 34


@pytest.fixture(scope="module")
def apk(fetched: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("apk") / "app.apk"
    done = tool("apk", "-o", path)
    assert done.returncode == 0, done.stderr
    return path


def test_the_apk_is_aligned_signed_and_for_android_8(apk: Path) -> None:
    def said(*words: object) -> str:
        return subprocess.run(
            [str(word) for word in words], capture_output=True, text=True, check=True
        ).stdout

    said("zipalign", "-c", "-p", 4, apk)
    verified = said("apksigner", "verify", "-v", apk)
    assert "v2 scheme (APK Signature Scheme v2): true" in verified
    badging = said("aapt2", "dump", "badging", apk)
    assert "package: name='dev.mobileexport.sample'" in badging
    assert "sdkVersion:'26'" in badging
    launched = "launchable-activity: name='dev.mobileexport.sample.MainActivity'  "
    assert launched + "label='mobile-export' icon='res/drawable/icon.xml'" in badging
    assert "native-code: 'arm64-v8a' 'x86_64'" in badging
    with zipfile.ZipFile(apk) as archive:
        native = [info for info in archive.infolist() if info.filename.endswith(".so")]
        assert native
        assert all(info.compress_type == zipfile.ZIP_STORED for info in native)


MAIN = """
fun main(words: Array<String>) {
    val image = javax.imageio.ImageIO.read(java.io.File(words[1]))
    val argb = image.getRGB(0, 0, image.width, image.height, null, 0, image.width)
    val photo = dev.mobileexport.kit.Pixels.ofArgb(image.width, image.height, argb)
    val found = answer(java.io.File(words[0]), photo) as dev.mobileexport.kit.Answer.Classes
    found.classes.forEach { println("${it.index} ${it.name} ${it.probability}") }
}
"""


@pytest.mark.parametrize("name", ["emo_1m.onnx", "small.tflite"])
def test_a_kotlin_program_answers_as_we_do(
    fetched: None, models: Path, tmp_path: Path, name: str
) -> None:
    """The program that `mobile-export snippet` prints, compiled and run in a JVM."""
    need_programs("gcc", "patchelf")
    (tmp_path / "Program.kt").write_text(make_snippet(models / name, "kotlin") + MAIN)
    photo = tmp_path / "photo.png"
    pytest.importorskip("PIL.Image").open(SAMPLE).save(photo)
    words = ("program", "--sources", tmp_path / "Program.kt", "--words", models, photo)
    done = tool(*words)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = [line.rsplit(" ", 1) for line in done.stdout.splitlines() if line]
    truth = load_file(models / name).answer(photo)[0].classes
    assert [row[0] for row in rows] == [f"{each.index} {each.name}" for each in truth]
    scores = [each.score for each in truth]
    assert [float(row[1]) for row in rows] == pytest.approx(scores, abs=1e-6)


def test_the_sources_compile_against_android_8(fetched: None) -> None:
    """minSdk: nothing newer is called without a look at the version of Android."""
    done = tool("compile-min")
    assert done.returncode == 0, done.stderr[-4000:]


def test_a_screen_is_kept_where_ci_looks(run: Run) -> None:
    assert shutil.which("java")
    assert (APP.parent / "build" / "screens" / "models.png").is_file()
