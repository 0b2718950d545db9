"""`mobile-export app android` and `mobile-export snippet`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import mobile_export
from mobile_export.answers.machine import load_file
from mobile_export.apps.template import programs
from mobile_export.cli.main import app
from mobile_export.errors import MobileExportError
from tests.apps.conftest import APP, need_programs
from tests.conftest import TinyNet, need

SAMPLE = APP / "app" / "src" / "main" / "assets" / "sample.jpg"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of three classes in the formats that the app runs, and one that it does not."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(3)
    module = TinyNet(3).eval()
    for name in ("onnx", "tflite", "ncnn"):
        need(name)
        labels = ("cat", 'do"g', "bird")
        mobile_export.export(module, name, folder, name="net", size=32, labels=labels)
    return folder


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_an_app_has_the_files_its_name_and_its_identifier(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    words = ("app", "android", files / "net.onnx", files / "net.tflite", "-o", out, "--json")
    done = call(*words, "--name", "Cats & <dogs>", "--id", "org.example.cats")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["models"] == ["net.onnx", "net.tflite"]
    assert facts["apk"] is None
    main = out / "app" / "src" / "main"
    assert sorted(path.name for path in (main / "assets" / "models").iterdir()) == [
        "net.onnx",
        "net.onnx.manifest.json",
        "net.tflite",
        "net.tflite.manifest.json",
    ]
    assert "Cats &amp; &lt;dogs&gt;" in (main / "res" / "values" / "app.xml").read_text()
    assert 'applicationId = "org.example.cats"' in (out / "app" / "build.gradle.kts").read_text()
    sources = {path.relative_to(APP) for path in (APP / "app" / "src" / "main").rglob("*.kt")}
    assert all((out / path).is_file() for path in sources)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{net}.ncnn.param", "-o", "{out}"), "cannot run"),
        (("{net}.onnx", "{net}.onnx", "-o", "{out}"), "Two files are called net.onnx"),
        (("{net}.onnx", "-o", "{out}", "--id", "Demo"), "no identifier"),
        (("{net}.onnx", "-o", "{out}", "--id", "org.$x.b"), "no identifier"),
        (("{net}.onnx", "-o", "{out}", "--name", "a\nb"), "no name for an app"),
        (("{net}.onnx", "-o", "{full}"), "not empty"),
        (("{net}.onnx", "-o", "{full}", "--force"), "it is kept"),
        (("emo_1m", "-o", "{out}", "--format", "ncnn"), "none of the app's"),
        (("{lone}", "-o", "{out}"), "has no manifest"),
        (("no_such_model", "-o", "{out}"), "no_such_model"),
        # before anything is exported
        (("emo_1m", "{lone}", "-o", "{out}"), "has no manifest"),
        (("emo_1m", "emo_1m", "-o", "{out}"), "emo_1m is named twice"),
    ],
)
def test_bad_requests_write_nothing(
    files: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    full, lone = tmp_path / "full", tmp_path / "lone.onnx"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    lone.write_bytes((files / "net.onnx").read_bytes())
    names = {"net": files / "net", "out": tmp_path / "out", "full": full, "lone": lone}
    done = call("app", "android", *(word.format(**names) for word in words))
    assert isinstance(done.exception, MobileExportError), done.output
    assert done.exception.exit_code == 2
    assert said in str(done.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "lone.onnx"]
    assert (full / "mine.txt").read_text() == "mine"


def test_force_replaces_an_app_only(files: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    assert call("app", "android", files / "net.onnx", "-o", out).exit_code == 0
    again = ("app", "android", files / "net.tflite", "-o", out)
    assert call(*again).exit_code != 0
    assert call(*again, "--force").exit_code == 0
    assert not (out / "app" / "src" / "main" / "assets" / "models" / "net.onnx").exists()


def test_build_makes_an_apk(fetched: None, files: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = call(
        "app",
        "android",
        files / "net.tflite",
        "-o",
        out,
        "--build",
        "--id",
        "org.a.b",
        "--name",
        "$5 ? it's",
    )
    assert done.exit_code == 0, done.output + str(done.exception)
    words = ["aapt2", "dump", "badging", str(out / "app-debug.apk")]
    badging = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    assert "package: name='org.a.b'" in badging
    assert re.search(r"launchable-activity: name='\S+'  label='\$5 \? it.s' icon='res/", badging)
    assert (
        subprocess.run(["apksigner", "verify", str(out / "app-debug.apk")], check=False).returncode
        == 0
    )


def test_doctor_names_the_programs() -> None:
    facts = json.loads(call("doctor", "--json").stdout)
    assert [each["name"] for each in facts["apps"]] == [each.name for each in programs()]
    assert all(each["package"] for each in facts["apps"])


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite", "net.ncnn.param"])
def test_a_python_program_answers_as_we_do(files: Path, tmp_path: Path, name: str) -> None:
    done = call("snippet", files / name, "--for", "python")
    assert done.exit_code == 0, done.output
    program = tmp_path / "program.py"
    program.write_text(done.stdout)
    ran = subprocess.run(
        [sys.executable, str(program), str(SAMPLE)],
        cwd=files,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    rows = [line.rsplit(" ", 1) for line in ran.stdout.splitlines()]
    truth = load_file(files / name).answer(SAMPLE)[0].classes
    assert [row[0] for row in rows] == [f"{each.index} {each.name}" for each in truth]
    assert [float(row[1]) for row in rows] == pytest.approx(
        [each.score for each in truth], abs=2e-4
    )


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite"])
def test_a_kotlin_program_names_what_the_file_has(files: Path, name: str) -> None:
    done = call("snippet", files / name, "--for", "kotlin")
    assert done.exit_code == 0, done.output
    manifest = json.loads((files / f"{name}.manifest.json").read_text())
    assert json.dumps(name) in done.stdout
    assert json.dumps(manifest["interface"]["inputs"][0]["name"]) in done.stdout
    assert not re.search("@(file|input|outputs)@", done.stdout)


def test_no_program_is_a_sentence(files: Path) -> None:
    for words in (("net.onnx", "--for", "cobol"), ("net.ncnn.param", "--for", "kotlin")):
        done = call("snippet", files / words[0], *words[1:])
        assert isinstance(done.exception, MobileExportError)
        assert done.exception.exit_code == 2


def test_programs_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="doctor"):
        need_programs()
