"""ONNX files: names, metadata, checker, determinism."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.errors import ExportError
from mobile_export.exporters.onnx.writer import _checked
from mobile_export.graph.capture import trace
from mobile_export.graph.program import Program
from mobile_export.pipeline import ExportReport
from tests.conftest import MultiOutput, make_source, write_file

onnx = pytest.importorskip("onnx")


@pytest.fixture(scope="module")
def model(exported: Callable[..., ExportReport]) -> onnx.ModelProto:
    path = exported("onnx").artifacts[0].path
    assert path is not None
    onnx.checker.check_model(str(path), full_check=True)
    return onnx.load(str(path), load_external_data=False)


def shape_of(value: onnx.ValueInfoProto) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_names_and_static_shapes(model: onnx.ModelProto) -> None:
    assert [(v.name, shape_of(v)) for v in model.graph.input] == [("image", [1, 3, 32, 32])]
    assert [(v.name, shape_of(v)) for v in model.graph.output] == [("logits", [1, 10])]


def test_weights_are_inside(model: onnx.ModelProto) -> None:
    assert model.graph.initializer
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_metadata(model: onnx.ModelProto) -> None:
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert facts["source"] == "TinyNet"
    assert json.loads(facts["mean"]) == [0.0, 0.0, 0.0]
    assert json.loads(facts["std"]) == [1.0, 1.0, 1.0]
    assert facts["channel_order"] == "RGB"


def test_labels_are_in_the_metadata(exported: Callable[..., ExportReport]) -> None:
    labels = tuple(f"class {i}" for i in range(10))
    path = exported("onnx", labels=labels).artifacts[0].path
    facts = {entry.key: entry.value for entry in onnx.load(str(path)).metadata_props}
    assert tuple(json.loads(facts["labels"])) == labels
    assert path is not None
    manifest = json.loads(path.with_name(f"{path.name}.manifest.json").read_text())
    assert tuple(manifest["labels"]) == labels


def test_every_convolution_names_its_module(model: onnx.ModelProto) -> None:
    modules = [
        {p.key: p.value for p in node.metadata_props}.get("module")
        for node in model.graph.node
        if node.op_type == "Conv"
    ]
    assert modules[-1] == "mixer"
    assert modules[0] is not None
    assert modules[0].startswith("stem")


def test_no_path_of_this_machine_is_in_the_file(exported: Callable[..., ExportReport]) -> None:
    path = exported("onnx").artifacts[0].path
    assert path is not None
    content = path.read_bytes()
    assert str(Path(__file__).parent).encode() not in content
    assert b"site-packages" not in content


def test_it_is_simplified(model: onnx.ModelProto) -> None:
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"Identity", "Constant", "Shape", "Dropout", "BatchNormalization"}


def test_twice_the_same_bytes(tmp_path: Path, program: Program) -> None:
    for name in ("a", "b"):
        write_file("onnx", program, tmp_path / name, precision="fp32")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_several_outputs_keep_their_names(tmp_path: Path) -> None:
    program = trace(make_source(MultiOutput()))
    write_file("onnx", program, tmp_path / "a.onnx", precision="fp32")
    graph = onnx.load(str(tmp_path / "a.onnx")).graph
    assert [v.name for v in graph.output] == ["out", "features"]


def test_a_graph_whose_shapes_do_not_fit_is_refused() -> None:
    """torch.onnx has written such ones, of an LSTM with projections."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    values = [helper.make_tensor_value_info(n, kind, s) for n, s in (("a", [2]), ("b", [2, 2]))]
    node = helper.make_node("Concat", ["a", "b"], ["c"], axis=0)
    out = helper.make_tensor_value_info("c", kind, None)
    model = helper.make_model(helper.make_graph([node], "g", values, [out]))
    program = trace(make_source(MultiOutput(), (32, 32)))
    with pytest.raises(
        ExportError, match=r"torch\.onnx cannot convert MultiOutput: ValidationError"
    ):
        _checked(model, program)
