"""The sample app for iOS, as far as Linux can tell.

Its kit is built and tested. Neither Xcode nor Apple's libraries run here.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import mobile_export
from mobile_export.answers.machine import load_file
from mobile_export.apps.snippets import quoted_in_swift
from mobile_export.bench.record import Measurement
from mobile_export.cli.main import app
from mobile_export.errors import MobileExportError
from tests.apps.swift import ROOT, Swift, alone, cache, copy_changed, find

APP = ROOT / "ios_app"
KIT = APP / "MobileExportKit"


@pytest.fixture(scope="module")
def swift() -> Iterator[Swift]:
    found = find()
    if isinstance(found, str):
        pytest.skip(found)
    with alone():
        yield found


def tiny(folder: Path) -> Path:
    """A Core ML package of a small classifier, with its manifest."""
    pytest.importorskip("coremltools")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    )
    torch.manual_seed(0)
    report = mobile_export.export(
        model.eval(), "coreml", folder, name="tiny", size=(24, 20), labels=("cat", "dog", "cow")
    )
    path = report.artifacts[0].path
    assert path is not None
    return path


@pytest.mark.slow
def test_the_kit(swift: Swift) -> None:
    """On the shared vectors and on a package that was written just now; its records of benchmarks
    are those of mobile-bench."""
    files = swift.outside / "files"
    for old in files.glob("*.jsonl"):
        old.unlink()
    files.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(files / "exported", ignore_errors=True)
    package = tiny(files / "exported")
    inside = f"{swift.scratch}/files"
    done = swift.run(
        "swift",
        "test",
        "--package-path",
        f"{swift.home}/ios_app/MobileExportKit",
        "--scratch-path",
        f"{swift.scratch}/kit",
        env={
            "MOBILE_EXPORT_PACKAGE": f"{inside}/exported/{package.name}",
            "MOBILE_EXPORT_RECORDS": inside,
        },
    )
    assert done.returncode == 0, done.stdout[-4000:]
    counts = re.findall(r"Executed (\d+) tests, with 0 failures", done.stdout)
    written = sum(len(re.findall(r"func test", f.read_text())) for f in KIT.glob("Tests/*/*.swift"))
    assert int(counts[-1]) == written, done.stdout[-4000:]
    assert "skipped" not in done.stdout
    records = [line for file in files.glob("*.jsonl") for line in file.read_bytes().splitlines()]
    assert len(records) == 3
    read = [Measurement.from_json(line) for line in records]
    assert {each.device.kind for each in read} == {"app"}
    assert sorted(len(each.samples) for each in read) == [0, 60, 60]
    assert {"failed", "unchecked", "unsettled"} in [set(each.flags) for each in read]
    assert [each.check.passed for each in read if each.check is not None] == [True, True]


def test_the_sources_are_formatted(swift: Swift) -> None:
    done = swift.run(
        "swift", "format", "lint", "--strict", "--recursive", "--parallel", f"{swift.home}/ios_app"
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.slow
def test_the_app_agrees_with_stubs_of_apples_libraries(swift: Swift) -> None:
    """Parsed, and type-checked against tests/apps/stubs, which have what the app uses and were
    written from Apple's documentation. That proves agreement with them, not with the SDK."""
    script = f"{swift.home}/tests/apps/typecheck.sh"
    done = swift.run("sh", script, f"{swift.scratch}/modules")
    assert done.returncode == 0, done.stdout[-4000:]


def test_a_copy_keeps_the_time_of_what_has_not_changed(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "a").mkdir(parents=True)
    (source / "a" / "same").write_text("same")
    (source / "a" / "new").write_text("old")
    (source / "gone").write_text("gone")
    copy_changed(source, target)
    before = (target / "a" / "same").stat().st_mtime_ns
    (source / "a" / "same").write_text("same")
    (source / "a" / "new").write_text("new")
    (source / "gone").unlink()
    copy_changed(source, target)
    assert (target / "a" / "same").stat().st_mtime_ns == before
    assert (target / "a" / "new").read_text() == "new"
    assert not (target / "gone").exists()


PROJECT = APP / "MobileExport.xcodeproj" / "project.pbxproj"


def test_every_identifier_of_the_project_is_one_object() -> None:
    text = PROJECT.read_text()
    made = re.findall(r"^\t\t(4D45[0-9A-F]{20})\b[^=]*= \{", text, re.M)
    assert len(made) == len(set(made)) == 20
    used = re.findall(r"\b4D45[0-9A-F]{20}\b", text)
    assert set(used) == set(made), set(used) ^ set(made)
    assert all(used.count(each) >= 2 for each in made), "an object that nothing refers to"


def test_every_file_is_in_the_project() -> None:
    """Xcode 16 takes what lies in App/ (a synchronised folder); the kit is a local package, Models/
    is copied as it is."""
    text = PROJECT.read_text()
    group = re.search(r"isa = PBXFileSystemSynchronizedRootGroup;\s+path = (\w+);", text)
    assert group is not None
    assert group[1] == "App"
    assert "exceptions" not in text
    assert re.search(r"fileSystemSynchronizedGroups = \(\s+4D450{19}6 ", text)
    assert "relativePath = MobileExportKit;" in text
    assert "lastKnownFileType = folder; path = Models;" in text
    listed = {"App", "Models", "MobileExportKit", "MobileExport.xcodeproj", ".swift-format"}
    assert {path.name for path in APP.iterdir()} <= listed
    assert (KIT / "Package.swift").is_file()
    sources = [path.relative_to(APP).as_posix() for path in APP.rglob("*.swift")]
    assert all(path.startswith(("App/", "MobileExportKit/")) for path in sources)


def test_pbxproj_reads_the_project() -> None:
    pbxproj = pytest.importorskip("pbxproj", reason="pip install pbxproj")
    project = pbxproj.XcodeProject.load(str(PROJECT))
    target = project.objects.get_targets()[0]
    phases = [project.objects[each].isa for each in target.buildPhases]
    kinds = ("Sources", "Frameworks", "Resources")
    assert phases == [f"PBX{kind}BuildPhase" for kind in kinds]
    every = [project.objects[each] for each in project.objects.get_keys()]
    rows = [each.buildSettings for each in every if each.isa == "XCBuildConfiguration"]
    assert len(rows) == 4
    assert {row["IPHONEOS_DEPLOYMENT_TARGET"] for row in rows[:2]} == {"16.0"}
    assert len({row["PRODUCT_BUNDLE_IDENTIFIER"] for row in rows[2:]}) == 1
    assert all("NSCameraUsageDescription" in " ".join(row.get_keys()) for row in rows[2:])


def test_kin_reads_the_project() -> None:
    kin = pytest.importorskip("kin.kin", reason="pip install kin")
    assert not kin.check_errors(str(PROJECT))


def test_npms_xcode_reads_the_project() -> None:
    modules = cache() / "npm" / "node_modules"
    if not shutil.which("node") or not (modules / "xcode").is_dir():
        pytest.skip(f"needs node; npm install --prefix {cache() / 'npm'} xcode@3")
    script = (
        f"const p = require('xcode').project({json.dumps(str(PROJECT))}); p.parseSync();"
        "const sections = Object.keys(p.hash.project.objects);"
        "console.log(p.getFirstTarget().firstTarget.name, sections.length)"
    )
    done = subprocess.run(
        ["node", "-e", script],
        env={"NODE_PATH": str(modules), "PATH": "/usr/bin:/bin:/usr/local/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == ["MobileExport", "13"], done.stderr


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny(tmp_path_factory.mktemp("package"))


def call(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_an_app_has_the_packages_its_name_and_its_identifier(package: Path, tmp_path: Path) -> None:
    out = tmp_path / "demo"
    words = ("app", "ios", package, "-o", out, "--json", "--id", "org.example.my-cats")
    done = call(*words, "--name", 'Cats "\\ & Söhne')
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["models"] == ["tiny.mlpackage"]
    copied = load_file(out / "Models" / "tiny.mlpackage")  # refuses another SHA-256
    assert copied.labels == ("cat", "dog", "cow")
    text = (out / "MobileExport.xcodeproj" / "project.pbxproj").read_text()
    assert text.count('DisplayName = "Cats \\"\\\\ & Söhne";') == 2
    assert text.count('IDENTIFIER = "org.example.my-cats";') == 2
    assert text.count("\n") == PROJECT.read_text().count("\n")
    assert "testTarget" not in (out / "MobileExportKit" / "Package.swift").read_text()
    assert not (out / "MobileExportKit" / "Tests").exists()
    wanted = {path.relative_to(APP) for path in APP.rglob("*.swift") if "Tests" not in path.parts}
    assert {path.relative_to(out) for path in out.rglob("*.swift")} == wanted
    again = call(*words)
    assert "not empty" in str(again.exception)
    assert call(*words, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{package}", "{package}"), "Two files are called tiny.mlpackage"),
        (("{package}", "--id", "demo"), "no identifier"),
        (("{package}", "--name", "$(HOME)"), "a $ begins the name of a setting"),
        (("emo_1m", "--name", "a$b"), "a $ begins the name of a setting"),  # before the export
        (("emo_1m", "--id", "org.$x.b"), "no identifier"),
        (("{package}", "--name", ""), "no name for an app"),
        (("{other}",), "cannot run"),
        (("{lone}",), "has no manifest"),
    ],
)
def test_bad_requests_write_nothing(
    package: Path, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    lone, other = tmp_path / "lone.mlpackage", tmp_path / "other.onnx"
    lone.mkdir()
    other.write_bytes(b"x")
    names = {"package": package, "lone": lone, "other": other}
    done = call("app", "ios", *(word.format(**names) for word in words), "-o", tmp_path / "out")
    assert isinstance(done.exception, MobileExportError), done.output
    assert done.exception.exit_code == 2
    assert said in str(done.exception)
    assert {path.name for path in tmp_path.iterdir()} == {"lone.mlpackage", "other.onnx"}


def test_names_are_texts_of_swift() -> None:
    assert quoted_in_swift('a"\\(b)\n é') == '"a\\"\\\\(b)\\u{a} é"'


@pytest.mark.slow
def test_a_program_of_snippet_agrees_with_the_stubs(swift: Swift, package: Path) -> None:
    done = call("snippet", package, "--for", "swift")
    assert done.exit_code == 0, done.output
    assert '"tiny.mlpackage"' in done.stdout
    (swift.outside / "Snippet.swift").write_text(done.stdout)
    modules, source = f"{swift.scratch}/modules", f"{swift.scratch}/Snippet.swift"
    style = f"{swift.home}/ios_app/.swift-format"
    checks = (
        ("sh", f"{swift.home}/tests/apps/typecheck.sh", modules, source),
        ("swift", "format", "lint", "--strict", "--configuration", style, source),
    )
    for check in checks:
        found = swift.run(*check)
        assert found.returncode == 0, found.stdout[-3000:]
