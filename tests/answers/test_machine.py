"""`mobile-export run`: files of every format and models answer as PyTorch does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mobile_export
from mobile_export.answers.draw import ink_on
from mobile_export.answers.machine import load_file, load_model
from mobile_export.artifacts.names import manifest_path
from mobile_export.cli.main import app
from mobile_export.errors import ArtifactError, UsageError
from mobile_export.exporters.table import FORMATS
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import ModelRequest, Source
from tests.conftest import TinyNet, need

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (40, 60, 3))
    path = tmp_path / "photo.png"
    Image.fromarray(values.astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A network with three names, and its ONNX file."""
    need("onnx")
    torch.manual_seed(3)
    module = TinyNet(3).eval()
    folder = tmp_path_factory.mktemp("classifier")
    labels = ("cat", "dog", "bird")
    mobile_export.export(module, "onnx", folder, name="net", size=32, labels=labels)
    return module, folder / "net.onnx"


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["run", *map(str, words)])


def answers(*words: object) -> list[dict[str, Any]]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", [row.name for row in FORMATS])
def test_a_file_computes_what_the_model_does(
    name: str, exported: Callable[..., ExportReport], source: Source, picture: Path
) -> None:
    need(name)
    (artifact,) = exported(name).artifacts
    assert artifact.path is not None
    answer, prepared = load_file(artifact.path).answer(picture)
    with torch.no_grad():
        wanted = source.module(prepared.sample.image).numpy()
    (result,) = answer.results
    assert result.value.shape == wanted.shape
    assert np.abs(result.value - wanted).max() <= 1e-2 * np.abs(wanted).max()


@pytest.mark.parametrize("name", [row.name for row in FORMATS if row.sizes])
def test_a_file_of_several_sizes_answers_at_the_nearest(name: str, tmp_path: Path) -> None:
    need(name)
    torch.manual_seed(3)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.ReLU()).eval()
    (file,) = mobile_export.export(
        module, name, tmp_path, name="net", size=[(16, 16), (32, 48), (48, 32)]
    ).artifacts
    assert file.path is not None
    machine = load_file(file.path)
    for size, nearest in (((40, 60), (32, 48)), ((90, 50), (48, 32)), ((9, 10), (16, 16))):
        values = np.random.Generator(np.random.PCG64(7)).integers(0, 256, (*size, 3))
        image = Image.fromarray(values.astype(np.uint8))
        ((answer, prepared),) = machine.answer_images([(image, "noise")])
        assert prepared.sample.image.shape == (1, 3, *nearest)
        assert f"stretched to {nearest[1]}x{nearest[0]} " in prepared.rule
        with torch.no_grad():
            wanted = module(prepared.sample.image).numpy()
        (result,) = answer.results
        assert result.value.shape == wanted.shape
        assert np.abs(result.value - wanted).max() <= 1e-2 * np.abs(wanted).max()


def test_the_names_and_probabilities_of_a_classifier(classifier: Any, picture: Path) -> None:
    module, file = classifier
    (machine,) = answers(file, picture)
    (found,) = machine["answers"]
    with Image.open(picture) as image:
        small = image.resize((32, 32), Image.Resampling.BILINEAR)
    values = (np.asarray(small) / 255).transpose(2, 0, 1)[None]  # no mean and std were given
    with torch.no_grad():
        wanted = module.double()(torch.from_numpy(values)).softmax(1)[0]
    module.float()
    names = ("cat", "dog", "bird")
    assert [each["name"] for each in found["classes"]] == [
        names[k] for k in wanted.argsort(descending=True)
    ]
    scores = [each["score"] for each in found["classes"]]
    assert scores == pytest.approx(sorted(wanted.tolist(), reverse=True), abs=1e-5)


def test_words_for_people(classifier: Any, picture: Path) -> None:
    done = run(classifier[1], picture)
    assert done.exit_code == 0
    assert "dog" in done.stdout
    assert "stretched to 32x32 (no rule is known)" in done.stdout
    assert "onnxruntime" in done.stdout


def test_a_file_beside_its_model(picture: Path, tmp_path: Path) -> None:
    need("onnx")
    mobile_export.export("espcn_x2", "onnx", tmp_path, size=16, name="up")
    found = answers(tmp_path / "up.onnx", picture, "--compare", "-o", tmp_path / "up.png")
    assert [each["model"] for each in found] == [str(tmp_path / "up.onnx"), "espcn_x2"]
    outputs = [each["answers"][0]["outputs"][0] for each in found]
    assert [each["meaning"] for each in outputs] == ["upscaled", "upscaled"]
    for end in ("min", "max"):
        assert outputs[0][end] == pytest.approx(outputs[1][end], abs=1e-5)
    run(tmp_path / "up.onnx", picture, "-o", tmp_path / "file.png")
    run("espcn_x2", picture, "--size", "16", "-o", tmp_path / "model.png")
    both, file, model = (
        np.asarray(Image.open(tmp_path / f"{name}.png").convert("RGB"))
        for name in ("up", "file", "model")
    )
    assert file.shape == model.shape == (32, 32, 3)
    assert (both[:32, :32] == file).all()
    gap = both.shape[1] // 2 + 2  # of two as wide, 4 pixels apart
    assert (both[:32, gap : gap + 32] == model).all()
    assert len(both) > 32  # the titles


def test_what_a_reader_has_to_know_of_the_weights(
    classifier: Any, picture: Path, tmp_path: Path
) -> None:
    need("onnx")
    mobile_export.export("espcn_x2", "onnx", tmp_path, size=16, name="up")
    file = tmp_path / "up.onnx"
    note = "random weights (seed 0): the answers mean nothing"
    assert [each["notes"] for each in answers(file, picture, "--compare")] == [[note], [note]]
    assert run(file, picture, "--compare").stderr == f"note: {file}, espcn_x2: {note}\n"
    mine, other = answers(file, picture, "--compare", "--seed", "1")
    assert mine["notes"] == [note]
    assert other["notes"][0] == note.replace("0", "1")
    assert "(seed 1): this file predicts nothing) are not what the manifest" in other["notes"][1]
    assert answers(classifier[1], picture)[0]["notes"] == [], "weights of the user's own"


def test_a_model_without_a_file_is_as_its_authors_prepare_it(picture: Path) -> None:
    (found,) = answers("emo_1m", picture, "--size", "64")
    (answer,) = found["answers"]
    assert found["runtime"].startswith("PyTorch")
    assert "bicubic" in answer["prepared"]
    assert len(answer["classes"]) == 5
    machine = load_model(ModelRequest("emo_1m", size=(64, 64)))
    assert machine.labels is not None
    assert {each["name"] for each in answer["classes"]} <= set(machine.labels)


@pytest.mark.parametrize(
    ("colour", "white"),
    [((255, 255, 0), False), ((128, 128, 128), False), ((90, 90, 90), True), ((0, 0, 200), True)],
)
def test_names_can_be_read_on_every_colour(colour: tuple[int, int, int], white: bool) -> None:
    """White has the better contrast below a luminance of 0.179: a grey of 117 (WCAG)."""
    assert ink_on(colour) == ((255, 255, 255) if white else (0, 0, 0))


@pytest.mark.parametrize("there", [True, False])
def test_drawings_of_several_pictures(
    there: bool, classifier: Any, picture: Path, tmp_path: Path
) -> None:
    """In a folder, which is made where it is not there."""
    other, out = tmp_path / "other.jpg", tmp_path / "out"
    Image.new("RGB", (50, 50), (200, 0, 0)).save(other)
    if there:
        out.mkdir()
    assert run(classifier[1], picture, other, "-o", out).exit_code == 0
    assert {path.name for path in out.iterdir()} == {"photo.answer.png", "other.answer.png"}
    with Image.open(out / "photo.answer.png") as image:
        assert image.size[0] >= 60
        assert image.size[1] > 40, "with the names below"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-o", "there.png"], "exists already"),
        (["-o", "no/such.png"], "folder does not exist"),
        (["-o", "no/such"], "folder does not exist"),
        (["-o", "x.gif"], "neither a .png file nor a folder"),
        (["photo.png", "-o", "new.png"], "one file for 2 pictures"),
        (["broken.png"], r"no picture that can be read: (?!\w+Error)"),
        (["text.png"], "no picture that can be read: it does not begin as a PNG"),
        (["nothing.png"], "nothing.png"),
    ],
)
def test_what_cannot_be_is_said_before_a_file_is_written(
    words: list[str],
    said: str,
    classifier: Any,
    picture: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.png").write_text("precious")
    Path("broken.png").write_bytes(picture.read_bytes()[:99])
    Path("text.png").write_text("a text")
    before = sorted(Path().iterdir())
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(
            app, ["run", str(classifier[1]), "photo.png", *words], catch_exceptions=False
        )
    assert sorted(Path().iterdir()) == before
    assert Path("there.png").read_text() == "precious"


def test_a_file_that_was_exchanged_is_refused(classifier: Any, tmp_path: Path) -> None:
    _, file = classifier
    copied = tmp_path / "net.onnx"
    copied.write_bytes(file.read_bytes())
    with pytest.raises(ArtifactError, match="has no manifest"):
        load_file(copied)
    facts = json.loads(manifest_path(file).read_text())
    facts["sha256"] = "0" * 64
    manifest_path(copied).write_text(json.dumps(facts))
    with pytest.raises(ArtifactError, match="not the file that its manifest is of"):
        load_file(copied)


def test_an_output_of_another_shape_than_the_manifest_says_is_refused(
    classifier: Any, picture: Path
) -> None:
    machine = load_file(classifier[1])
    other = replace(machine, outputs=(replace(machine.outputs[0], shape=(1, 4)),))
    with pytest.raises(
        ArtifactError, match=r"logits of shape \[1, 3\]; its manifest says \[1, 4\]"
    ):
        other.answer(picture)


def test_compare_never_runs_code_that_a_manifest_names(classifier: Any, picture: Path) -> None:
    with pytest.raises(UsageError, match="made in Python"):
        CliRunner().invoke(
            app, ["run", str(classifier[1]), str(picture), "--compare"], catch_exceptions=False
        )


def test_options_of_a_model_are_refused_where_none_is_built(classifier: Any, picture: Path) -> None:
    with pytest.raises(UsageError, match=r"`--num-classes`, `--size` would build") as caught:
        CliRunner().invoke(
            app,
            ["run", str(classifier[1]), str(picture), "--num-classes", "7", "--size", "64"],
            catch_exceptions=False,
        )
    assert "--compare" in str(caught.value.hint)


def test_only_a_file_is_compared(picture: Path) -> None:
    with pytest.raises(UsageError, match="is a model"):
        CliRunner().invoke(
            app, ["run", "emo_1m", str(picture), "--compare"], catch_exceptions=False
        )
