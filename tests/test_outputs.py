"""Outputs as models return them: inputs passed through, constants, indices, features, containers.

Expected are the eager modules in float64, what they store, and what a file was given; files are
executed by the vendors' runtimes without our sessions where these run here.
"""

from __future__ import annotations

import collections
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.errors import ExportError
from mobile_export.pipeline import ExportReport

FORMATS = ("onnx", "coreml", "tflite", "ncnn", "tnn")


class Around(nn.Module):
    """What it computes, its input, and everything that is the same for every input."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 4, 3, padding=1)
        self.scale = nn.Parameter(torch.tensor([0.5, 2.0, 4.0]))
        self.register_buffer("anchors", torch.arange(20.0).reshape(5, 4) / 8)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {
            "map": self.look(x).relu(),
            "given": x,
            "anchors": self.anchors,
            "scale": self.scale,
            "powers": self.scale**2,
            "places": torch.arange(7),
            "level": torch.tensor(3.0),
        }


CONSTANTS = {
    "anchors": np.arange(20.0).reshape(5, 4) / 8,
    "scale": np.array([0.5, 2.0, 4.0]),
    "powers": np.array([0.25, 4.0, 16.0]),
    "places": np.arange(7),
    "level": np.array(3.0),
}


def made(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def written(kind: type[nn.Module], format_: str, folder: Path, **options: Any) -> Path:
    report = mobile_export.export(made(kind), format_, out_dir=folder, **{"size": 8, **options})
    assert report.artifacts[0].parity.status == "passed"
    assert report.artifacts[0].path is not None
    return report.artifacts[0].path


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal(shape or (1, 3, 8, 8)).astype(np.float32)


def by_onnxruntime(path: Path, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, given), strict=True))


def check(got: dict[str, np.ndarray], x: np.ndarray) -> None:
    exact = made(Around).double()(torch.from_numpy(x).double())["map"].detach().numpy()
    np.testing.assert_allclose(got["map"].reshape(exact.shape), exact, atol=1e-5)
    np.testing.assert_array_equal(got["given"].reshape(x.shape), x)
    for name, value in CONSTANTS.items():
        np.testing.assert_allclose(got[name].reshape(value.shape), value, rtol=1e-6)


def test_onnx_has_inputs_and_constants_as_outputs(tmp_path: Path) -> None:
    x = image()
    got = by_onnxruntime(written(Around, "onnx", tmp_path), {"image": x})
    check(got, x)
    assert got["places"].dtype == np.int64


def test_tflite_has_them(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    x, path = image(), written(Around, "tflite", tmp_path)
    runner = Interpreter(str(path)).get_signature_runner()
    got = dict(runner(image=np.ascontiguousarray(x.transpose(0, 2, 3, 1))))
    for name in ("map", "given"):
        got[name] = got[name].transpose(0, 3, 1, 2)
    check(got, x)


def test_ncnn_has_them(tmp_path: Path) -> None:
    import ncnn

    x, path = image(), written(Around, "ncnn", tmp_path)
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    assert net.load_param(str(path)) == 0
    assert net.load_model(str(path.with_suffix(".bin"))) == 0
    extractor = net.create_extractor()
    extractor.input("image", ncnn.Mat(x[0]).clone())
    names = ("map", "given", *CONSTANTS)
    check({name: np.array(extractor.extract(name)[1]) for name in names}, x)


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_core_ml_has_them(precision: str, tmp_path: Path) -> None:
    import coremltools

    path = written(Around, "coreml", tmp_path, precision=precision)
    spec = coremltools.models.MLModel(str(path), skip_model_load=True).get_spec()
    assert [each.name for each in spec.description.input] == ["image"]
    assert {each.name for each in spec.description.output} == {"map", "given", *CONSTANTS}


def test_tnn_has_them(tmp_path: Path) -> None:
    text = written(Around, "tnn", tmp_path).read_text()
    for name in ("map", "given", *CONSTANTS):
        assert f" {name} " in text


@pytest.mark.parametrize("format_", ["onnx", "coreml", "tflite"])
@pytest.mark.parametrize("options", [{"batch": 3}, {"size": [(8, 8), (16, 16)]}])
def test_they_are_in_files_of_batches_and_sizes(
    format_: str, options: dict[str, Any], tmp_path: Path
) -> None:
    written(Around, format_, tmp_path, **options)


class Several(nn.Module):
    """Its inputs come back beside the answer, as those of a decoder that is called again."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 4, 1)
        self.words = nn.Embedding(7, 4)

    def forward(
        self, image: torch.Tensor, ids: torch.Tensor, memory: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        y = self.look(image).mean((2, 3)) + self.words(ids).mean(1) + memory
        return {"y": y, "ids_again": ids, "memory_again": memory, "best": y.argmax(1)}


INPUTS = {"image": (1, 3, 8, 8), "ids": ((1, 5), "int64"), "memory": (1, 4)}


@pytest.mark.parametrize("format_", ["onnx", "coreml", "tflite"])
def test_several_inputs_are_passed_through(format_: str, tmp_path: Path) -> None:
    path = written(Several, format_, tmp_path, size=None, input=INPUTS)
    if format_ != "onnx":
        return
    ids = np.array([[0, 6, 3, 3, 1]])
    given = {"image": image(), "ids": ids, "memory": image(1, 4)}
    got = by_onnxruntime(path, given)
    np.testing.assert_array_equal(got["ids_again"], ids)
    np.testing.assert_array_equal(got["memory_again"], given["memory"])
    tensors = [torch.from_numpy(value) for value in given.values()]
    exact = made(Several)(*tensors)["best"].numpy()
    np.testing.assert_array_equal(got["best"], exact)


class CallsItState(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"state": x.mean((2, 3))}


def test_a_word_of_core_mls_language_is_no_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="called state, which is a word of Core ML's"):
        mobile_export.export(CallsItState().eval(), "coreml", out_dir=tmp_path, size=8)
    assert not list(tmp_path.iterdir())


class Indices(nn.Module):
    """A classifier that decides, and a mask of labels."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Conv2d(3, 9, 3, padding=1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        y = self.look(x)
        scores, order = y.mean((2, 3)).topk(4, 1)
        return {"scores": scores, "order": order, "labels": y.argmax(1)}


@pytest.mark.parametrize("format_", FORMATS)
def test_indices_are_those_of_the_model(format_: str, tmp_path: Path) -> None:
    path = written(Indices, format_, tmp_path, precision="fp32")
    if format_ != "onnx":
        return
    x = image()
    got = by_onnxruntime(path, {"image": x})
    exact = made(Indices).double()(torch.from_numpy(x).double())
    for name in ("order", "labels"):
        assert got[name].dtype == np.int64
        np.testing.assert_array_equal(got[name], exact[name].numpy())


@dataclasses.dataclass
class Decoded:
    boxes: torch.Tensor
    classes: torch.Tensor


class ModelOutput(collections.OrderedDict[str, Any]):
    """As transformers': a mapping whose items are attributes, too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError as error:
            raise AttributeError(name) from error


class Nested(nn.Module):
    """A dataclass in a dict, in a mapping of transformers' kind, beside a list of features."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(3, 2 + n, 3, 2**n, 1) for n in range(3))

    def forward(self, x: torch.Tensor) -> ModelOutput:
        features = [level(x) for level in self.levels]
        found = Decoded(features[0].mean((2, 3)), features[1].amax((2, 3)))
        return ModelOutput(
            heads={"coarse": found, "fine": {"mask": features[0].sigmoid()}},
            hidden_states=tuple(features),
            loss=None,
        )


NESTED = [
    *("heads_coarse_boxes", "heads_coarse_classes", "heads_fine_mask"),
    *("hidden_states_0", "hidden_states_1", "hidden_states_2"),
]


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("nested")
    return mobile_export.export(made(Nested), FORMATS, out_dir=folder, size=8, precision="fp32")


def test_containers_are_names_in_every_format(nested: ExportReport) -> None:
    assert [each.parity.status for each in nested.artifacts] == ["passed"] * len(FORMATS)
    for artifact in nested.artifacts:
        assert artifact.path is not None
        interface = read_manifest(artifact.path).interface
        assert interface is not None
        assert sorted(str(each.source) for each in interface.outputs) == sorted(NESTED)


def test_values_stand_under_their_names(nested: ExportReport) -> None:
    x = image()
    path = nested.artifacts[0].path
    assert path is not None
    got = by_onnxruntime(path, {"image": x})
    exact = made(Nested).double()(torch.from_numpy(x).double())
    coarse, fine = exact["heads"]["coarse"], exact["heads"]["fine"]
    values = [coarse.boxes, coarse.classes, fine["mask"], *exact["hidden_states"]]
    for name, value in zip(NESTED, values, strict=True):
        np.testing.assert_allclose(got[name], value.detach().numpy(), atol=1e-5)
