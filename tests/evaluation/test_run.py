"""`mobile-export evaluate`: files beside their models, on data whose figures are computed here."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import mobile_export
from mobile_export.answers.machine import Machine, load_file, machine_of
from mobile_export.cli.main import app
from mobile_export.errors import MobileExportError, UsageError
from mobile_export.evaluation.judge import Item
from mobile_export.evaluation.run import Runner, kind_of_all, spread
from mobile_export.graph.specs import InputSpec, OutputSpec
from mobile_export.sources.table import ModelRequest, Source, load_source
from tests.conftest import need

Image = pytest.importorskip("PIL.Image")

MODEL, SIZE, CLASSES = "timm/test_resnet", 32, 10


def evaluate(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], catch_exceptions=True)


def result(*words: object, code: int = 0) -> dict[str, Any]:
    done = evaluate(*words, "--json")
    assert done.exit_code == code, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def refused(*words: object) -> str:
    done = evaluate(*words)
    assert isinstance(done.exception, MobileExportError), done.output
    return f"{done.exception.message} {done.exception.hint}"


@pytest.fixture(autouse=True, scope="module")
def built_once() -> Iterator[None]:
    """A module is traced once for all runs, and a file loaded once."""
    pytest.importorskip("timm")
    sources = cache(lambda text: load_source(requests[text]))
    machines = cache(lambda text: machine_of(sources(text)))
    requests: dict[str, ModelRequest] = {}

    def load(request: ModelRequest) -> Source:
        requests[repr(request)] = request
        return sources(repr(request))

    def trace_once(source: Source) -> Machine:
        return machines(next(text for text in requests if sources(text) is source))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mobile_export.sources.table.load_source", load)
        patch.setattr("mobile_export.evaluation.run.machine_of", trace_once)
        patch.setattr("mobile_export.evaluation.run.load_file", cache(load_file))
        yield


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of a small model of ten classes, with random weights."""
    need("onnx")
    folder = tmp_path_factory.mktemp("net")
    mobile_export.export(MODEL, "onnx", folder, name="net", size=SIZE, num_classes=CLASSES)
    return folder / "net.onnx"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of noise, in the folders 1, 3 and 9."""
    root = tmp_path_factory.mktemp("data")
    generator = np.random.Generator(np.random.PCG64(11))
    for name in ("1", "3", "9"):
        (root / name).mkdir()
        for k in range(4):
            values = generator.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
            Image.fromarray(values).save(root / name / f"{k}.png")
    return root


def by_hand(pictures: Path) -> tuple[float, float]:
    """Top-1 and top-5 in percent: the module in float64, on pictures prepared by torchvision."""
    transforms = pytest.importorskip("torchvision.transforms")
    source = load_source(ModelRequest(MODEL, size=(SIZE, SIZE), num_classes=CLASSES))
    assert source.recipe is not None
    prepare = transforms.Compose(
        [
            transforms.Resize(
                int(SIZE / source.recipe.crop_pct),
                transforms.InterpolationMode(source.recipe.interpolation),
            ),
            transforms.CenterCrop(SIZE),
            transforms.ToTensor(),
            transforms.Normalize(source.input.mean, source.input.std),
        ]
    )
    module = copy.deepcopy(source.module).double()
    hits = torch.zeros(2)
    paths = sorted(pictures.glob("*/*.png"))
    for path in paths:
        with Image.open(path) as image, torch.no_grad():
            scores = module(prepare(image.convert("RGB")).double()[None])[0]
        best = scores.topk(5).indices.tolist()
        truth = int(path.parent.name)
        hits += torch.tensor([truth == best[0], truth in best])
    return tuple((100 * hits / len(paths)).tolist())  # type: ignore[return-value]


def test_a_file_beside_its_model(file: Path, pictures: Path, tmp_path: Path) -> None:
    found = result(file, "--data", pictures, "-o", tmp_path / "e.jsonl")
    model, exported = found["rows"]
    assert (model["name"], model["is_model"]) == (MODEL, True)
    assert (exported["name"], exported["is_model"]) == (str(file), False)
    wanted = by_hand(pictures)
    assert wanted[0] < wanted[1]
    for row in found["rows"]:
        assert [each["name"] for each in row["figures"]] == ["top-1", "top-5"]
        assert [each["value"] for each in row["figures"]] == pytest.approx(wanted)
    assert exported["differences"] == []
    assert model["differences"] is None
    assert found["pictures"] == 12
    assert any("indices of the model's classes" in note for note in found["notes"])
    for name in (MODEL, file):
        assert f"{name}: random weights (seed 0): the answers mean nothing." in found["notes"]


def test_words_for_people(file: Path, pictures: Path, tmp_path: Path) -> None:
    done = evaluate(file, "--data", pictures, "-o", tmp_path / "e.jsonl")
    assert done.exit_code == 0
    assert "0 of 12" in done.stdout
    assert "in brackets 95 % intervals" in done.stdout
    assert "onnxruntime" in done.stdout


def test_a_run_that_was_killed_goes_on(
    file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "e.jsonl"
    asked = []
    answer = Machine.answer_image

    def counted(self: Machine, *words: Any) -> Any:
        asked.append(words[-1])
        if len(asked) == 9:
            raise KeyboardInterrupt
        return answer(self, *words)

    monkeypatch.setattr(Machine, "answer_image", counted)
    evaluate(file, "--data", pictures, "-o", out)
    assert len(out.read_text().splitlines()) == 1 + 8
    again = result(file, "--data", pictures, "-o", out)
    assert len(asked) == 9 + 24 - 8, "what was answered was not asked again"
    assert again == result(file, "--data", pictures, "-o", tmp_path / "other.jsonl")
    asked.clear()
    assert again == result(file, "--data", pictures, "-o", out)
    assert result(file, "--data", pictures, "-o", out, "--limit", 3)["pictures"] == 3
    assert asked == []


def test_a_picture_that_cannot_be_read_is_left_out_and_said(
    file: Path, pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    for path in pictures.glob("*/*.png"):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        (data / path.parent.name / path.name).write_bytes(path.read_bytes())
    (data / "3" / "1.png").write_bytes(b"\x89PNG broken")
    found = result(file, "--data", data, "-o", tmp_path / "e.jsonl", code=1)
    assert found["pictures"] == 11
    (left,) = found["left_out"]
    assert left["picture"] == "3/1.png"
    assert "no picture that can be read" in left["reason"]
    for path in data.glob("*/*.png"):
        path.write_bytes(b"broken")
    assert "None of the 12 pictures" in refused(file, "--data", data, "-o", tmp_path / "f.jsonl")


def test_what_a_file_says_differently(file: Path, pictures: Path, tmp_path: Path) -> None:
    """Beside a model of other weights."""
    words = (file, "--data", pictures, "-o", tmp_path / "e.jsonl", "--seed", 5)
    found = result(*words)
    _, row = found["rows"]
    assert row["differences"]
    assert any(
        "the weights" in note and "not what the manifest names" in note for note in found["notes"]
    )
    first = row["differences"][0]
    assert first["item"].split("/")[0] == first["said"].rsplit("it is ", 1)[1]
    assert "differs from its model on" in evaluate(*words).stdout


def test_a_file_alone_and_a_model_alone(file: Path, pictures: Path, tmp_path: Path) -> None:
    (row,) = result(file, "--no-model", "--data", pictures, "-o", tmp_path / "e.jsonl")["rows"]
    assert row["name"] == str(file)
    assert row["differences"] is None
    words = (MODEL, "--size", SIZE, "--num-classes", CLASSES, "--data", pictures)
    (model,) = result(*words, "-o", tmp_path / "e.jsonl")["rows"]
    assert model["figures"] == row["figures"]


def test_code_that_a_manifest_names_is_only_shown(
    file: Path, pictures: Path, tmp_path: Path
) -> None:
    other = tmp_path / "net.onnx"
    other.write_bytes(file.read_bytes())
    manifest = Path(f"{file}.manifest.json")
    facts = {**json.loads(manifest.read_text()), "source": "os:abort"}
    Path(f"{other}.manifest.json").write_text(json.dumps(facts))
    said = refused(other, "--data", pictures, "-o", tmp_path / "e.jsonl")
    assert "none runs because a manifest names it" in said
    assert f"mobile-export evaluate {other} --data FOLDER --model os:abort" in said
    found = result(
        *(other, "--model", MODEL, "--num-classes", CLASSES),
        *("--data", pictures, "-o", tmp_path / "e.jsonl"),
    )
    assert [row["name"] for row in found["rows"]] == [MODEL, str(other)]


def test_bad_input(file: Path, pictures: Path, tmp_path: Path) -> None:
    out = ("-o", tmp_path / "e.jsonl")
    assert "There is no folder" in refused(file, "--data", tmp_path / "none", *out)
    assert "not a .jsonl" in refused(file, "--data", pictures, "-o", tmp_path / "e.json")
    (tmp_path / "empty").mkdir()
    assert "no pictures in folders" in refused(file, "--data", tmp_path / "empty", *out)
    assert "exclude each other" in refused(
        file, "--no-model", "--model", MODEL, "--data", pictures, *out
    )
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    assert "2 labels do not fit the 10 classes" in refused(
        file, "--data", pictures, *out, "--labels", labels
    )
    assert not (tmp_path / "e.jsonl").exists()
    (tmp_path / "e.jsonl").write_text("precious")
    assert "not the result" in refused(file, "--data", pictures, *out, "--force")
    assert (tmp_path / "e.jsonl").read_text() == "precious"


def machine(name: str, **shapes: tuple[int, ...]) -> Runner:
    """One whose outputs mean what they are called."""
    spec = InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3)
    outputs = tuple(OutputSpec(key, shape, cast("Any", key)) for key, shape in shapes.items())
    return Runner(Machine(name, "", spec, outputs, None, None, lambda sample: ([], None)), name)


@pytest.mark.parametrize(
    ("outputs", "wanted"),
    [
        ({"logits": (1, 10)}, "classes"),
        ({"probabilities": (1, 10)}, "classes"),
        ({"logits": (1, 21, 8, 8)}, "masks"),
        ({"labels": (1, 8, 8)}, "masks"),
        ({"boxes": (1, 9, 4), "scores": (1, 9, 3)}, "boxes"),
        ({"upscaled": (1, 3, 16, 16)}, "pairs"),
        ({"probabilities": (1, 1, 8, 8)}, None),
        ({"logits": (1, 9, 3), "deltas": (1, 9, 4)}, None),
        ({"depth": (1, 1, 8, 8)}, None),
    ],
)
def test_what_judges_a_model(outputs: dict[str, tuple[int, ...]], wanted: str | None) -> None:
    if wanted is not None:
        assert kind_of_all([machine("net", **outputs)]) == wanted
        return
    with pytest.raises(UsageError, match="net cannot be evaluated: its outputs are"):
        kind_of_all([machine("net", **outputs)])


def test_models_of_different_kinds_are_not_judged_together() -> None:
    runners = [machine("a", logits=(1, 10)), machine("b", upscaled=(1, 3, 16, 16))]
    with pytest.raises(UsageError, match="a needs classes, b needs pairs"):
        kind_of_all(runners)


def test_a_limit_is_spread_over_the_classes() -> None:
    items = [Item(str(k), Path(str(k)), None, ()) for k in range(10)]
    assert [item.name for item in spread(items, 4)] == ["0", "2", "5", "7"]
    assert len(spread(items, 99)) == 10
    with pytest.raises(UsageError, match="--limit is 0"):
        CliRunner().invoke(
            app, ["evaluate", "x.onnx", "--data", ".", "--limit", "0"], catch_exceptions=False
        )
