"""Which files are worth shipping, by made-up measurements and manifests."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import msgspec
import pytest

from mobile_export.artifacts.manifest import Parity, QualityRecord
from mobile_export.bench.cli.main import app
from mobile_export.bench.files import BenchArtifact, read_artifact
from mobile_export.bench.pareto import candidates, files_of, grid, series
from mobile_export.bench.record import Measurement
from mobile_export.bench.store import append
from mobile_export.errors import UsageError

from .examples import artifact, measurement, write_manifest

FIGURES: Mapping[str, tuple[float | None, float | None]] = {
    "a.onnx": (4.0, 100.0),
    "b.onnx": (2.0, 30.0),
    "c.onnx": (3.0, 25.0),  # slower and further off than b
    "d.onnx": (1.0, 12.0),
    "e.onnx": (None, 90.0),
    "f.onnx": (0.5, None),
}
"""Milliseconds and dB. By the definition of a Pareto front a, b and d are on it: c is beaten by b,
e was not measured, f was not judged."""


def judged(made: BenchArtifact, near: float | None, model: str = "tiny") -> BenchArtifact:
    record = QualityRecord("logits", "SQNR", 10.0, near, passed=True)
    share = QualityRecord("logits", "best class kept", 0.0, 0.9, passed=True)
    parity = Parity(status="passed", passed=True, qualities=() if near is None else (record, share))
    manifest = msgspec.structs.replace(made.manifest, parity=parity, source=model)
    write_manifest(made.path, manifest)
    return read_artifact(made.path)


def measured(made: BenchArtifact, ms: float, **changes: object) -> Measurement:
    given = measurement(median_ms=ms)
    facts = {**given.artifact, "file": made.path.name, "sha256": made.manifest.sha256}
    return msgspec.structs.replace(given, artifact=facts, **changes)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, list[Measurement]]:
    """A folder of files, and what was measured of them."""
    found = []
    for name, (ms, near) in FIGURES.items():
        file = judged(artifact(tmp_path, name=name), near)
        if ms is not None:
            found.append(measured(file, ms))
    return tmp_path, found


def test_the_front_is_what_nothing_beats(made: tuple[Path, list[Measurement]]) -> None:
    folder, found = made
    placed, cost = candidates(files_of([str(folder)]), found, near="sqnr")
    assert cost == "time"
    assert [e.artifact.path.name for e in placed if e.shipped] == ["d.onnx", "b.onnx", "a.onnx"]
    assert [e.artifact.path.name for e in placed][-1] == "e.onnx"
    notes = " ".join(grid(placed, by="sqnr", cost=cost).notes)
    assert f"not measured there: {folder}/e.onnx" in notes
    assert f"no sqnr: {folder}/f.onnx" in notes
    front, others = series(placed, by="sqnr")
    assert [point.accuracy for point in front.points] == [12.0, 30.0, 100.0]
    assert [point.name for point in others.points] == ["c.onnx, fp32"]


def test_equal_files_are_both_on_the_front(tmp_path: Path) -> None:
    files = [judged(artifact(tmp_path, name=f"{name}.onnx"), 20.0) for name in "xy"]
    same = [measured(file, 2.0) for file in files]
    assert [e.shipped for e in candidates(files, same, near="sqnr")[0]] == [True, True]


def test_a_file_without_error_is_nearest(tmp_path: Path) -> None:
    """Infinity is null in a manifest."""
    file = artifact(tmp_path, name="x.onnx")
    manifest = judged(file, 20.0).manifest
    assert manifest.parity is not None
    exact = [msgspec.structs.replace(each, value=None) for each in manifest.parity.qualities]
    parity = msgspec.structs.replace(manifest.parity, qualities=tuple(exact))
    write_manifest(file.path, msgspec.structs.replace(manifest, parity=parity))
    files = [read_artifact(file.path), judged(artifact(tmp_path, name="y.onnx"), 99.0)]
    placed, _ = candidates(files, [measured(e, 2.0) for e in files], near="sqnr")
    by_name = {each.artifact.path.name: each for each in placed}
    assert by_name["x.onnx"].shipped
    assert not by_name["y.onnx"].shipped
    assert by_name["x.onnx"].to_dict()["exact"]


def test_instructions_count_where_nothing_was_timed(made: tuple[Path, list[Measurement]]) -> None:
    folder, found = made
    counted = [msgspec.structs.replace(each, unit="instructions") for each in found]
    files = files_of([str(folder)])
    assert candidates(files, counted, near="sqnr")[1] == "instructions"
    assert candidates(files, [*found[:1], *counted], near="sqnr")[1] == "time"
    placed, cost = candidates(files, [*found, *counted], near="agreement", cost="instructions")
    assert cost == "instructions"
    assert {each.near for each in placed if each.near is not None} == {0.9}


def test_a_flagged_or_foreign_measurement_does_not_count(
    made: tuple[Path, list[Measurement]],
) -> None:
    folder, found = made
    files = files_of([str(folder)])
    wrong = [msgspec.structs.replace(each, flags=("wrong_output",)) for each in found]
    with pytest.raises(UsageError, match="no measurement") as raised:
        candidates(files, wrong, near="sqnr")
    assert "mobile-bench run" in (raised.value.hint or "")
    with pytest.raises(UsageError, match="on adb"):
        candidates(files, found, near="sqnr", device="adb")


def test_a_model_is_its_files_here_and_in_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "int8").mkdir()
    judged(artifact(tmp_path, name="tiny.onnx"), 90.0)
    judged(artifact(tmp_path / "int8", name="tiny.onnx"), 20.0)
    judged(artifact(tmp_path, name="other.onnx"), 20.0, model="other")
    monkeypatch.chdir(tmp_path)
    found = files_of(["tiny", "tiny.onnx"])
    assert [str(each.path) for each in found] == ["tiny.onnx", "int8/tiny.onnx"]


def run(*words: str) -> str:
    said = io.StringIO()
    with redirect_stdout(said):
        app(["pareto", *words], standalone_mode=False)
    return said.getvalue()


def test_the_command_lays_it_out(
    made: tuple[Path, list[Measurement]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    folder, found = made
    store = folder / "store.jsonl"
    for each in found:
        append(store, each)
    words = (str(folder), "--store", str(store))
    assert "worth shipping:" in run(*words)
    ships = {row["file"]: row["ship"] for row in json.loads(run(*words, "--json"))}
    assert [Path(file).name for file, ship in ships.items() if ship] == [
        "d.onnx",
        "b.onnx",
        "a.onnx",
    ]
    assert run(*words, "--as", "markdown").count("| yes |") == 3
    assert run(*words, "--as", "csv").splitlines()[0].endswith("exact,ship")
    page = run(*words, "--as", "html")
    assert "<h1>Files worth shipping</h1>" in page
    assert page.count("<td") > 40
    with pytest.raises(UsageError, match="no --by"):
        run(*words, "--by", "luck")


def test_the_plot_has_its_own_axes(made: tuple[Path, list[Measurement]]) -> None:
    pytest.importorskip("matplotlib")
    folder, found = made
    store, drawn = folder / "store.jsonl", folder / "front.svg"
    for each in found:
        append(store, each)
    run(str(folder), "--store", str(store), "--plot", str(drawn))
    assert "<svg" in drawn.read_text()
    page = run(str(folder), "--store", str(store), "--as", "html")
    assert "SQNR, dB over latency of one inference" in page
