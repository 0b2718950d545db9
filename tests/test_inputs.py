"""Models of several inputs, or of one that is no image of float32, through the whole line.

Expected are float64 runs of the eager modules; files are executed by the vendors' runtimes without
our sessions. The module tests `mobile_export/sources/inputs.py` and `calls.py` from end to end.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.expected import expected_inputs
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.errors import LoweringError, SourceError, UsageError
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.sources.request import ModelRequest
from mobile_export.sources.table import load_source


class Siamese(nn.Module):
    """Two images, one trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Linear(16, 5)

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        a, b = (self.trunk(image).mean((2, 3)) for image in (first, second))
        return self.head(torch.cat([a - b, a * b], 1))


class TwoTowers(nn.Module):
    """As CLIP: an image, and whole numbers that an embedding looks up."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 16, 8, 8)
        self.words = nn.Embedding(50, 16)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        pixel_values: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        assert pixel_values is not None
        assert input_ids is not None
        image = self.image(pixel_values).flatten(2).mean(2)
        text = torch.tanh(self.words(input_ids)).mean(1)
        return {"logits_per_image": image @ text.T, "text_embeds": text}


class Recurrent(nn.Module):
    """An image, and what the model returned the last time."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 8, 3, 2, 1)
        self.keep = nn.GRUCell(8, 8)

    def forward(self, frame: torch.Tensor, hidden: torch.Tensor) -> tuple[torch.Tensor, ...]:
        hidden = self.keep(torch.relu(self.look(frame)).mean((2, 3)), hidden)
        return hidden * 2, hidden


class Bytes(nn.Module):
    """Pixels as bytes, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 8, 3, 2, 1)

    def forward(self, frame: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.look(frame.permute(0, 3, 1, 2).float() / 255)).mean((2, 3))


class Batch(nn.Module):
    """A dictionary of an image and a mask of booleans."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 3, 3, 1, 1)

    def forward(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        image = batch["image"]
        return {"filled": torch.where(batch["mask"], self.look(image), image)}


class Video(nn.Module):
    """A clip of five axes."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv3d(3, 8, 3, (1, 2, 2), 1)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.look(clip)).mean((2, 3, 4))


INPUTS: dict[type[nn.Module], dict[str, Any]] = {
    Siamese: {"first": (1, 3, 16, 16), "second": (1, 3, 16, 16)},
    TwoTowers: {"input_ids": ((1, 7), "int64"), "pixel_values": (1, 3, 16, 16)},
    Recurrent: {"frame": (1, 3, 16, 16), "hidden": (1, 8)},
    Bytes: {"frame": ((1, 16, 16, 3), "uint8")},
    Batch: {"batch.image": (1, 3, 8, 8), "batch.mask": ((1, 1, 8, 8), "bool")},
    Video: {"clip": (1, 3, 4, 8, 8)},
}


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def drawn(kind: type[nn.Module], seed: int = 7) -> dict[str, torch.Tensor]:
    """Values of our own for every input, by its name in a file."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, said in INPUTS[kind].items():
        shape, dtype = said if isinstance(said[1], str) else (said, "float32")
        highest = {"int64": 50, "uint8": 256, "bool": 2}.get(dtype)
        value = torch.randn(shape, generator=generator)
        if highest is not None:
            value = torch.randint(0, highest, shape, generator=generator)
        values[name.replace(".", "_")] = value.to(getattr(torch, dtype))
    return values


def eager(kind: type[nn.Module], given: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """The module in float64, called as its author does."""
    module = double_copy(made(kind))

    def call(*tensors: torch.Tensor) -> Any:
        named = dict(zip(given, tensors, strict=True))
        if kind is Batch:
            return module({"image": named["batch_image"], "mask": named["batch_mask"]})
        return module(**named)

    result = run_float64(call, *given.values())
    found = list(result.values()) if isinstance(result, dict) else result
    found = found if isinstance(found, list | tuple) else [found]
    return [each.detach().numpy() for each in found]


def exported(kind: type[nn.Module], format_: str, folder: Path) -> Path:
    report = mobile_export.export(made(kind), format_, out_dir=folder, input=INPUTS[kind])
    assert report.exit_code == 0
    assert report.artifacts[0].parity.status == "passed"
    assert report.artifacts[0].path is not None
    return report.artifacts[0].path


@pytest.mark.parametrize("kind", INPUTS, ids=lambda kind: kind.__name__)
def test_onnx_files_take_what_the_model_takes(kind: type[nn.Module], tmp_path: Path) -> None:
    import onnxruntime

    given = drawn(kind)
    session = onnxruntime.InferenceSession(str(exported(kind, "onnx", tmp_path)))
    got = session.run(None, {name: value.numpy() for name, value in given.items()})
    for a, b in zip(got, eager(kind, given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_tflite_file_has_them_by_name_and_images_with_channels_last(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    given = drawn(TwoTowers)
    path = exported(TwoTowers, "tflite", tmp_path)
    fed = {name: value.numpy() for name, value in given.items()}
    fed["input_ids"] = fed["input_ids"].astype(np.int32)
    fed["pixel_values"] = np.ascontiguousarray(fed["pixel_values"].transpose(0, 2, 3, 1))
    got = Interpreter(str(path)).get_signature_runner()(**fed)
    exact = dict(zip(("logits_per_image", "text_embeds"), eager(TwoTowers, given), strict=True))
    for name, value in exact.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, atol=1e-6)


def test_an_ncnn_file_has_an_input_for_each(tmp_path: Path) -> None:
    import ncnn

    path = exported(Recurrent, "ncnn", tmp_path)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    given = drawn(Recurrent)
    extractor = net.create_extractor()
    for name, value in given.items():
        extractor.input(name, ncnn.Mat(np.ascontiguousarray(value[0].numpy())).clone())
    for name, exact in zip(("output_0", "output_1"), eager(Recurrent, given), strict=True):
        got = np.array(extractor.extract(name)[1])
        np.testing.assert_allclose(got.reshape(-1), exact[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("format_", ["coreml", "tnn"])
def test_other_formats_take_a_state_beside_the_image(format_: str, tmp_path: Path) -> None:
    manifest = read_manifest(exported(Recurrent, format_, tmp_path))
    assert manifest.interface is not None
    assert [each.source for each in manifest.interface.inputs] == ["frame", "hidden"]


def test_core_ml_takes_whole_numbers_as_int32(tmp_path: Path) -> None:
    manifest = read_manifest(exported(TwoTowers, "coreml", tmp_path))
    assert manifest.interface is not None
    dtypes = {each.name: each.dtype for each in manifest.interface.inputs}
    assert dtypes == {"pixel_values": "float32", "input_ids": "int32"}


@pytest.mark.parametrize("format_", ["ncnn", "tnn"])
def test_a_format_that_cannot_take_a_dtype_names_it(format_: str, tmp_path: Path) -> None:
    with pytest.raises(LoweringError, match=r"input_ids .* is of int64; ncnn and TNN"):
        mobile_export.export(made(TwoTowers), format_, out_dir=tmp_path, input=INPUTS[TwoTowers])
    assert not list(tmp_path.iterdir())


def test_a_manifest_says_every_input_and_how_to_draw_it(tmp_path: Path) -> None:
    path = exported(TwoTowers, "onnx", tmp_path)
    facts = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
    assert facts["schema"] == 2
    manifest = read_manifest(path)
    said = [(each.name, each.role, each.dtype, each.highest) for each in manifest.inputs]
    assert said == [
        ("pixel_values", "image", "float32", None),
        ("input_ids", "indices", "int64", 49),
    ]
    image, ids = expected_inputs(manifest.expected, manifest.inputs)
    exact = eager(TwoTowers, {"pixel_values": torch.tensor(image), "input_ids": torch.tensor(ids)})
    for output, value in zip(manifest.expected.outputs, exact, strict=True):
        stored = np.frombuffer(output.values, "<f4").reshape(output.shape)
        np.testing.assert_allclose(stored, value, rtol=1e-6, atol=1e-7)


def test_a_file_is_verified_with_its_inputs_and_not_without(tmp_path: Path) -> None:
    path = exported(Siamese, "onnx", tmp_path)
    report = mobile_export.verify(path, made(Siamese), input=INPUTS[Siamese])
    assert report.parity.status == "passed"
    with pytest.raises(SourceError, match="first, second"):
        mobile_export.verify(path, made(Siamese))


def test_pixels_are_not_given_to_what_takes_words() -> None:
    with pytest.raises(SourceError, match="input_ids, pixel_values") as problem:
        load_source(ModelRequest.of(made(TwoTowers)))
    assert "input_ids=1x77:int64" in str(problem.value.hint)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"first": (1, 3, 8, 8)}, "does not name second"),
        ({"first": (1, 3, 8, 8), "second": (1, 3, 8, 8), "third": (1,)}, "names third"),
    ],
)
def test_names_are_those_of_forward(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as problem:
        load_source(ModelRequest.of(made(Siamese), input=given))
    assert "(first, second)" in problem.value.message


def test_an_input_that_nothing_reads_is_refused(tmp_path: Path) -> None:
    class Deaf(nn.Module):
        def forward(self, image: torch.Tensor, unused: torch.Tensor) -> torch.Tensor:
            unused.sum()
            return image * 2

    given = {"image": (1, 3, 8, 8), "unused": (1, 2)}
    with pytest.raises(SourceError, match="computes nothing from its input unused"):
        mobile_export.export(Deaf(), "onnx", out_dir=tmp_path, input=given)


class Reader(nn.Module):
    """EasyOCR's: the text is for another decoder, which this model has not."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, text: torch.Tensor, image: torch.Tensor, options: Any = None) -> torch.Tensor:
        return self.conv(image).mean(2).transpose(1, 2)


def test_an_input_that_forward_never_looks_at_is_left_out() -> None:
    given = {"image": (1, 1, 8, 12), "text": ((1, 6), "int64")}
    source = load_source(ModelRequest.of(made(Reader), input=given))
    assert [each.name for each in source.inputs] == ["image"]
    assert "never looks at text" in " ".join(source.weights.notes)
    image = torch.rand(1, 1, 8, 12)
    net = made(Reader)
    torch.testing.assert_close(source.module(image), net(torch.zeros(1, 6), image))


def test_inputs_that_are_passed_through_or_in_containers_stay() -> None:
    class Through(nn.Module):
        def forward(self, image: torch.Tensor, more: Any) -> Any:
            return {"image": image * 2, "state": more["state"], "sum": more["maps"][0] + 1}

    given = {"image": (1, 3, 8, 8), "more.state": (1, 4), "more.maps.0": (1, 5)}
    source = load_source(ModelRequest.of(Through(), input=given))
    assert [each.name for each in source.inputs] == ["image", "more_state", "more_maps_0"]


@pytest.mark.parametrize(
    "example",
    [
        (torch.zeros(1, 3, 16, 16), torch.zeros(1, 8)),
        {"frame": torch.zeros(1, 3, 16, 16), "hidden": torch.zeros(1, 8)},
        ((torch.zeros(1, 3, 16, 16),), {"hidden": torch.zeros(1, 8)}),
    ],
    ids=["by position", "by name", "both"],
)
def test_inputs_by_an_example(example: Any) -> None:
    source = load_source(ModelRequest.of(made(Recurrent), example_inputs=example))
    assert [(each.name, each.role) for each in source.inputs] == [
        ("frame", "image"),
        ("hidden", "state"),
    ]


def test_a_function_beside_the_factory_gives_the_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_inputs.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def forward(self, image, scale, *, flip=False):\n"
        "        return image.mean((2, 3)) * scale\n"
        "build = Net\n"
        "def example_inputs():\n"
        "    return {'image': torch.zeros(1, 3, 8, 8), 'scale': torch.ones(())}\n"
    )
    monkeypatch.chdir(tmp_path)
    source = load_source(ModelRequest.of("own_inputs:build"))
    assert [(each.name, each.shape) for each in source.inputs] == [
        ("image", (1, 3, 8, 8)),
        ("scale", ()),
    ]


def test_a_saved_program_has_its_own_inputs(tmp_path: Path) -> None:
    given = drawn(TwoTowers)
    program = torch.export.export(made(TwoTowers), (), dict(given))
    torch.export.save(program, tmp_path / "towers.pt2")
    source = load_source(ModelRequest.of(str(tmp_path / "towers.pt2")))
    taken = {each.name: each for each in source.inputs}
    assert {name: each.shape for name, each in taken.items()} == {
        name: tuple(value.shape) for name, value in given.items()
    }
    got = source.module(*[given[each.name] for each in source.inputs])
    for a, b in zip(got.values(), eager(TwoTowers, given), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b, rtol=1e-5, atol=1e-6)


def test_run_says_what_a_file_takes(tmp_path: Path) -> None:
    from mobile_export.answers.machine import load_file

    with pytest.raises(UsageError, match=r"first \(1, 3, 16, 16\) float32 \(image\), second"):
        load_file(exported(Siamese, "onnx", tmp_path))


@pytest.mark.parametrize("format_", ["onnx", "ncnn"])
def test_bench_feeds_every_input_and_checks_what_comes_out(format_: str, tmp_path: Path) -> None:
    from mobile_export.bench.check import check_outputs
    from mobile_export.bench.devices import connect
    from mobile_export.bench.files import find_artifacts
    from mobile_export.bench.jobs import RunOptions, make_jobs

    path = str(exported(Recurrent, format_, tmp_path))
    (job,), _ = make_jobs(connect("local"), [path], RunOptions())
    with job.runner.open(connect("local"), job.job) as session:
        found = check_outputs(session, find_artifacts([path], [format_])[0])
    assert found is not None
    assert found.passed
    assert found.compared == 16


def test_a_tool_that_feeds_one_image_says_so(tmp_path: Path) -> None:
    from mobile_export.bench.devices import connect
    from mobile_export.bench.jobs import RunOptions, make_jobs
    from mobile_export.errors import RunnerError

    path = str(exported(Recurrent, "onnx", tmp_path))
    asked = RunOptions(runners=("perf-test",))
    with pytest.raises(RunnerError, match=r"hidden \(1, 8\) .* these feed all: onnxruntime"):
        make_jobs(connect("local"), [path], asked)


def test_only_pixels_as_floats_have_a_note_on_their_normalisation() -> None:
    def notes(model: nn.Module, *inputs: str) -> str:
        return " ".join(load_source(ModelRequest.of(model, input=inputs)).weights.notes)

    assert "normalised" in notes(Siamese(), "first=1x3x8x8", "second=1x3x8x8")
    assert "normalised" not in notes(Bytes(), "frame=1x8x8x3:uint8")


def test_a_pair_of_a_row_and_a_dictionary_may_be_two_arguments() -> None:
    class Pair(nn.Module):
        def forward(self, images: Any, words: Any) -> torch.Tensor:
            return images[0].mean() * words["ids"].mean()

    example = ((torch.zeros(1, 3, 8, 8),), {"ids": torch.zeros(1, 8)})
    source = load_source(ModelRequest.of(Pair(), example_inputs=example))
    assert [each.name for each in source.inputs] == ["images_0", "words_ids"]
