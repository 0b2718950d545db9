"""``file.pt2`` as input from strangers: hidden expressions, operators, sizes, zips, special files.

Tests `mobile_export.sources.pt2` (archive, arguments, build, memory, names, nesting, operators,
schema) and `mobile_export.sources.zips`; good programs and the other
attacks are in test_pt2.py.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sympy
import torch
from torch import nn

import mobile_export
from mobile_export.errors import SourceError
from mobile_export.sources.pt2.load import read_program
from mobile_export.sources.pt2.memory import peak_bytes
from mobile_export.sources.pt2.operators import ALLOWED
from mobile_export.system.torch_private import FakeTensorMode
from tests.conftest import load_source
from tests.pt2_files import (
    CONSTANTS,
    MODEL,
    SAMPLE_INPUTS,
    WEIGHTS,
    Small,
    edited,
    json_edit,
    save_program,
)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    return save_program(tmp_path_factory.mktemp("pt2") / "good.pt2", Small().eval())


# ---------------------------------------------------------------- expressions

HIDING = ["metadata", "message", "as_string", "torch_version", "in_spec", "out_spec"]
"""Names of fields that hold free text; a tensor can be called so too."""


def expression(proof: Path, value: int = 8) -> dict[str, Any]:
    text = f"__import__('os').system('touch {proof}') + {value}"
    return {"as_expr": {"expr_str": text, "hint": {"as_int": value}}}


def renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, dict):
        return {new if k == old else k: renamed(v, old, new) for k, v in value.items()}
    if isinstance(value, list):
        return [renamed(item, old, new) for item in value]
    return new if value == old else value


@pytest.mark.parametrize("field", ["sizes", "strides", "storage_offset"])
@pytest.mark.parametrize("name", HIDING)
def test_an_expression_in_a_tensor_of_any_name_is_not_evaluated(
    good: Path, tmp_path: Path, name: str, field: str
) -> None:
    proof = tmp_path / "pwned"

    def change(content: bytes) -> bytes:
        program = renamed(json.loads(content), "conv2d", name)
        meta = program["graph_module"]["graph"]["tensor_values"][name]
        if field == "storage_offset":
            meta[field] = expression(proof, 0)
        else:
            meta[field][2] = expression(proof)
        return json.dumps(program).encode()

    path = edited(good, {MODEL: change}, "expression.pt2")
    with pytest.raises(SourceError, match="symbolic sizes") as caught:
        load_source(str(path))
    assert not proof.exists()
    assert "static shapes" in str(caught.value)
    if field != "storage_offset":
        with contextlib.suppress(Exception):
            torch.export.load(path)
        assert proof.exists(), "torch.export.load evaluates it, so its absence means something"


@pytest.mark.parametrize("how", ["beside the integer", "of a tensor that no node computes"])
def test_an_expression_that_nothing_reads_is_refused(good: Path, tmp_path: Path, how: str) -> None:
    proof = tmp_path / "pwned"

    def change(program: Any) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        if how == "beside the integer":
            values["conv2d"]["sizes"][2].update(expression(proof))
        else:
            values["metadata"] = {**values["conv2d"], "sizes": [expression(proof)] * 4}

    with pytest.raises(SourceError, match="symbolic sizes"):
        load_source(str(edited(good, {MODEL: json_edit(change)}, "expression.pt2")))
    assert not proof.exists()


@pytest.mark.parametrize("field", ["sizes", "strides", "storage_offset"])
@pytest.mark.parametrize("config", [WEIGHTS, CONSTANTS])
def test_expressions_in_the_tables_of_tensors(
    good: Path, tmp_path: Path, config: str, field: str
) -> None:
    proof = tmp_path / "pwned"

    def change(table: Any) -> None:
        meta = next(iter(table["config"].values()))["tensor_meta"]
        meta[field] = expression(proof, 0) if field == "storage_offset" else [expression(proof)]

    with pytest.raises(SourceError):
        load_source(str(edited(good, {config: json_edit(change)}, "table.pt2")))
    assert not proof.exists()


def test_expressions_everywhere_else(good: Path, tmp_path: Path) -> None:
    proof = tmp_path / "pwned"
    harm = expression(proof)
    text = harm["as_expr"]["expr_str"]

    def node(program: Any) -> Any:
        return program["graph_module"]["graph"]["nodes"][0]

    def root(program: Any) -> Any:
        return program["graph_module"]["module_call_graph"][0]["signature"]

    edits = {
        "range": lambda p: p["range_constraints"].update({"s0": {"min_val": harm, "max_val": 2}}),
        "range of text": lambda p: p["range_constraints"].update({text: {"min_val": 1}}),
        "guards": lambda p: p["guards_code"].append(text),
        "guards of another type": lambda p: p.update(guards_code={"as_expr": harm}),
        "torch_version": lambda p: p.update(torch_version=harm),
        "metadata": lambda p: node(p)["metadata"].update(nn_module_stack=harm),
        "symbols": lambda p: p["graph_module"]["graph"]["sym_int_values"].update({"s": harm}),
        "argument": lambda p: node(p)["inputs"][0].update(arg={"as_sym_int": {"as_name": text}}),
        "argument list": lambda p: node(p)["inputs"][0].update(arg={"as_sym_ints": [harm]}),
        "operator": lambda p: node(p)["inputs"][0].update(arg={"as_operator": "torch.os.system"}),
        "in_spec": lambda p: root(p).update(in_spec=harm),
        "in_spec of text": lambda p: root(p).update(in_spec=text),
        "argument names": lambda p: root(p).update(forward_arg_names=[text]),
        "verifier": lambda p: p.update(verifiers=[text]),
        "unknown field": lambda p: p.update(extra=harm),
        "unknown field inside": lambda p: node(p).update(extra=harm),
        "node name": lambda p: node(p).update(name=text),
        "two kinds": lambda p: node(p)["inputs"][0]["arg"].update(as_int=1),
        "named tuples": lambda p: p["graph_module"].update(treespec_namedtuple_fields={"a": harm}),
        "input name": lambda p: p["graph_module"]["graph"]["inputs"][0].update(
            as_tensor={"name": f"x=({text})"}
        ),
    }
    for label, edit in edits.items():
        path = edited(good, {MODEL: json_edit(edit)}, "elsewhere.pt2")
        with pytest.raises(SourceError) as caught:
            load_source(str(path))
        assert caught.value.hint, label
        assert not proof.exists(), label


def test_text_for_people_is_dropped(good: Path, tmp_path: Path) -> None:
    """What PyTorch writes for readers may hold anything; it is not parsed, shown or kept."""
    proof = tmp_path / "pwned"
    text = f"\x1b]0;owned\x07 __import__('os').system('touch {proof}')"

    def change(program: Any) -> None:
        program["graph_module"]["metadata"] = {"custom": text}
        program["torch_version"] = text
        for node in program["graph_module"]["graph"]["nodes"]:
            for key in ("stack_trace", "source_fn_stack", "torch_fn", "from_node", "custom"):
                node["metadata"][key] = text
            node["metadata"]["nn_module_stack"] = f"{text},{text},{text}"

    source = load_source(str(edited(good, {MODEL: json_edit(change)}, "text.pt2")))
    assert source.exported is not None
    kept = str([node.meta for node in source.exported.graph.nodes])
    assert "owned" not in kept
    assert "\x1b" not in kept
    source.module(torch.zeros(1, 3, 8, 12))
    assert not proof.exists()


def test_pytorch_deserialises_nothing(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("called")

    from torch._export.serde import serialize

    monkeypatch.setattr(serialize.GraphModuleDeserializer, "deserialize", never)
    monkeypatch.setattr(serialize.ExportedProgramDeserializer, "deserialize", never)
    monkeypatch.setattr(sympy, "sympify", never)
    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(torch.export, "load", never)
    assert load_source(str(good)).input.shape == (1, 3, 8, 12)


# ---------------------------------------------------------------- operators


def calling(target: str, inputs: list[Any] | None = None) -> Any:
    def change(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        if inputs is not None:
            node["inputs"] = inputs

    return json_edit(change)


@pytest.mark.parametrize(
    "name",
    [
        "sparse_coo_tensor.size",
        "_sparse_coo_tensor_unsafe.default",
        "_sparse_csr_tensor_unsafe.default",
        "set_.source_Tensor_storage_offset",
        "resize_.default",
        "as_strided_.default",
        "empty.memory_format",
        "_embedding_bag.default",
        "quantize_per_tensor.default",
        "mkldnn_convolution.default",
        "conv2d.out",
        "relu.__class__",
    ],
)
def test_operators_that_are_not_on_the_list(good: Path, name: str) -> None:
    path = edited(good, {MODEL: calling(f"torch.ops.aten.{name}")}, "op.pt2")
    with pytest.raises(SourceError, match=rf"torch\.ops\.aten\.{name}'.*not an ATen op that a"):
        load_source(str(path))


def test_a_custom_library_is_named(good: Path) -> None:
    for target in ("torch.ops.torchvision.nms.default", "torch.ops.prims.add.default"):
        with pytest.raises(SourceError, match=target):
            load_source(str(edited(good, {MODEL: calling(target)}, "op.pt2")))


def test_the_list_names_operators_of_this_pytorch() -> None:
    assert not [name for name in ALLOWED if not hasattr(torch.ops.aten, name)]
    wrong = ("sparse", "unsafe_tensor", "from_file", "set", "resize", "quantize", "cudnn", "save")
    allowed = {"unsafe_split", "unsafe_chunk"}
    assert not [n for n in ALLOWED - allowed if any(part in n.split("_") for part in wrong)]


class Strided(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.as_strided(x, (1, 3, 4, 4), (192, 64, 8, 1), 1) * 2


def test_as_strided_stays_inside_its_tensor(tmp_path: Path) -> None:
    path = save_program(tmp_path / "strided.pt2", Strided(), 1, 3, 8, 8)
    x = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(load_source(str(path)).module(x), Strided()(x))
    for change in ({"as_int": 150}, {"as_int": -1}):

        def beyond(program: Any, change: Any = change) -> None:
            node = program["graph_module"]["graph"]["nodes"][0]
            (offset,) = [i for i in node["inputs"] if i["name"] == "storage_offset"]
            offset["arg"] = change

        with pytest.raises(SourceError, match="as_strided"):
            load_source(str(edited(path, {MODEL: json_edit(beyond)}, "beyond.pt2")))


def test_a_norm_whose_statistics_are_too_short(good: Path) -> None:
    """The kernel reads as many statistics as there are channels."""

    def shorter(meta: Any) -> None:
        meta["sizes"] = [{"as_int": 1}]

    def program(value: Any) -> None:
        values = value["graph_module"]["graph"]["tensor_values"]
        shorter(values["b_norm_running_mean"])

    def table(value: Any) -> None:
        shorter(value["config"]["norm.running_mean"]["tensor_meta"])

    path = edited(good, {MODEL: json_edit(program), WEIGHTS: json_edit(table)}, "norm.pt2")
    with pytest.raises(SourceError, match="running_mean of shape"):
        load_source(str(path))


def test_arguments_have_the_types_of_the_operator(good: Path) -> None:
    def argument(name: str, value: Any) -> Any:
        def change(program: Any) -> None:
            node = program["graph_module"]["graph"]["nodes"][0]
            assert node["target"] == "torch.ops.aten.conv2d.default"
            node["inputs"] = [i for i in node["inputs"] if i["name"] != name]
            if value is not None:
                node["inputs"].append({"name": name, "arg": value, "kind": 1})

        return json_edit(change)

    cases = {
        "takes no 'x' as 'weight'": argument("weight", {"as_string": "x"}),
        "lacks its argument 'weight'": argument("weight", None),
        "no argument 'unknown'": argument("unknown", {"as_int": 1}),
        "as 'groups'": argument("groups", {"as_int": 0}),
        r"as 'stride'": argument("stride", {"as_ints": [0, 1]}),
        r"as 'padding'": argument("padding", {"as_floats": [1.0, 1.0]}),
        "before it is computed": argument("bias", {"as_tensor": {"name": "gelu"}}),
        "device": argument("bias", {"as_device": {"type": "cuda", "index": 0}}),
    }
    for message, edit in cases.items():
        with pytest.raises(SourceError, match=message):
            load_source(str(edited(good, {MODEL: edit}, "argument.pt2")))


# ---------------------------------------------------------------- sizes


def test_declared_shapes_are_those_that_the_operators_give(good: Path) -> None:
    def change(program: Any) -> None:
        program["graph_module"]["graph"]["tensor_values"]["conv2d"]["sizes"][1] = {"as_int": 5}

    with pytest.raises(SourceError, match=r"'conv2d' is \[1, 4, 8, 12\].*the file says \[1, 5"):
        load_source(str(edited(good, {MODEL: json_edit(change)}, "shape.pt2")))


class Repeated(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.repeat(1, 1, 1, 2).mean((2, 3))


def test_shapes_are_bounded_before_anything_is_allocated(good: Path, tmp_path: Path) -> None:
    def wide(program: Any) -> None:
        sizes = program["graph_module"]["graph"]["tensor_values"]["x"]["sizes"]
        sizes[2] = sizes[3] = {"as_int": 1_000_000}

    with pytest.raises(SourceError, match="3,000,000,000,000 elements"):
        load_source(str(edited(good, {MODEL: json_edit(wide)}, "wide.pt2")))

    path = save_program(tmp_path / "repeat.pt2", Repeated(), 1, 3, 8, 8)

    def often(program: Any) -> None:
        graph = program["graph_module"]["graph"]
        node = graph["nodes"][0]
        node["inputs"][1]["arg"]["as_ints"][3] = 10**9
        name = node["outputs"][0]["as_tensor"]["name"]
        graph["tensor_values"][name]["sizes"][3] = {"as_int": 8 * 10**9}

    with pytest.raises(SourceError, match=r"elements"):
        load_source(str(edited(path, {MODEL: json_edit(often)}, "often.pt2")))


class Cut(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat(x.flatten(1).split(64, 1), 1)


class Trap(nn.Module):
    """Calls that PyTorch accepts by their shapes, and whose kernels crash."""

    def __init__(self, call: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.call(x)


aten = torch.ops.aten
TRAPS: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "scale": ("with the scale 1e-12", lambda x: aten._upsample_bilinear2d_aa.default(
        x, [16, 16], False, 1e-12, 1e-12)),
    "scale of nan": ("with the scale nan", lambda x: aten.upsample_nearest2d.default(
        x, [16, 16], math.nan, None)),
    "scale of one axis": ("with the scale 1e-18", lambda x: aten.upsample_nearest1d.default(
        x[0], [16], 1e-18)),
    "attention": ("is given tensors of the shapes", lambda x:
        aten._scaled_dot_product_flash_attention_for_cpu.default(*[x[:, :, :0]] * 3)[0]),
    "attention beyond the keys": ("is given tensors of the shapes", lambda x:
        aten._scaled_dot_product_flash_attention_for_cpu.default(
            x, x[:, :, :1], x.repeat(1, 1, 64, 1))[0]),
    "attention beyond the heads": ("is given tensors of the shapes", lambda x:
        aten._scaled_dot_product_flash_attention_for_cpu.default(
            x, x[:, :1], x[:, :1])[0]),
    "attention beyond the mask": ("is given a mask of shape", lambda x:
        aten._scaled_dot_product_flash_attention_for_cpu.default(
            x, x, x, attn_mask=x[:, :, :2, :2])[0]),
    "division": ("may be -1", lambda x: aten.div.Tensor_mode(
        x.to(torch.int32), x.to(torch.int64), rounding_mode="trunc")),
    "division by a number": ("by -1", lambda x: aten.div.Scalar_mode(
        x.to(torch.int32), -1, rounding_mode="trunc")),
    "strides": ("reads element", lambda x: aten._reshape_alias.default(
        x * 2, [3, 96], [2**20, 1])),
    "strides of what is expanded": ("reads element", lambda x: aten.as_strided.default(
        x[:, :, :1, :1].expand(1, 3, 64, 64), [4096], [1], 0)),
    "average by -1": ("takes no -1 as 'divisor_override'", lambda x: aten.avg_pool2d.default(
        x, [1, 1], [], [0, 0], False, True, -1)),
    "average of integers": ("is given integers", lambda x: aten.avg_pool2d.default(
        x.to(torch.int64), [1, 1])),
    "memory": ("GiB at once", lambda x: sum(
        x.mean() + aten.full.default([2**30], i).sum() for i in range(30))),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_calls_that_crash_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobile_export.sources.pt2.build.memory_here", lambda: 2**36)
    said, call = TRAPS[name]
    with pytest.raises(SourceError, match=said):
        read_program(save_program(tmp_path / "trap.pt2", Trap(call)))


def test_calls_that_only_look_like_it(tmp_path: Path) -> None:
    """Scales that made the size, floats that are truncated, and one large value after another."""

    def call(x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.interpolate(x, scale_factor=(1.7, 0.6), mode="bilinear")
        attention = aten._scaled_dot_product_flash_attention_for_cpu.default
        mask = torch.zeros(x.shape[2], x.shape[2])
        y = y + attention(x, x * 2, x, attn_mask=mask)[0].mean()
        y = torch.div(y, -1, rounding_mode="trunc") + torch.div(y.long(), 2, rounding_mode="trunc")
        return y.repeat(1, 100, 1, 1).mean((1, 2, 3)) + y.repeat(1, 100, 1, 1).mean((1, 2, 3))

    path = save_program(tmp_path / "fine.pt2", Trap(call))
    x = torch.randn(1, 3, 8, 12)
    torch.testing.assert_close(load_source(str(path)).module(x), call(x))


@pytest.mark.parametrize("views", [1, 50])
def test_memory_is_counted_once_for_all_views(views: int) -> None:
    """Of float32 values of 8 and 4 numbers: the input and its double, then both sums of halves."""
    graph = torch.fx.Graph()
    values: dict[torch.fx.Node, torch.Tensor] = {}
    with FakeTensorMode():
        x = graph.placeholder("x")
        values[x] = torch.zeros(8)
        y = graph.call_function(aten.mul.Scalar, (x, 2))
        values[y] = values[x] * 2
        for _ in range(views):
            view = graph.call_function(aten.slice.Tensor, (y, 0, 0, 4))
            values[view] = values[y][:4]
        z = graph.call_function(aten.add.Scalar, (view, 1))
        values[z] = values[view] + 1
        graph.output((z,))
    assert peak_bytes(graph, values, [x]) == (8 + 8) * 8
    assert peak_bytes(graph, values, []) == (8 + 8 + 4) * 8  # constants stay


def test_calls_that_would_give_countless_tensors(tmp_path: Path) -> None:
    path = save_program(tmp_path / "cut.pt2", Cut(), 1, 3, 128, 128)
    assert load_source(str(path)).input.shape == (1, 3, 128, 128)

    def fine(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][1]
        node["inputs"][1]["arg"] = {"as_int": 1}

    with pytest.raises(SourceError, match="49,152 tensors"):
        load_source(str(edited(path, {MODEL: json_edit(fine)}, "fine.pt2")))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("storage_offset", {"as_int": 1}),
        ("sizes", [{"as_int": 5}, {"as_int": 3}, {"as_int": 3}, {"as_int": 3}]),
        ("strides", [{"as_int": 28}, {"as_int": 9}, {"as_int": 3}, {"as_int": 1}]),
        ("strides", [{"as_int": 27}, {"as_int": 9}, {"as_int": 3}, {"as_int": -1}]),
        ("strides", [{"as_int": 1}]),
        ("dtype", 8),
    ],
)
def test_tensors_lie_in_their_bytes(good: Path, field: str, value: Any) -> None:
    def change(table: Any) -> None:
        table["config"]["conv.weight"]["tensor_meta"][field] = value

    with pytest.raises(SourceError, match="damaged"):
        load_source(str(edited(good, {WEIGHTS: json_edit(change)}, "bytes.pt2")))


def test_a_tensor_that_unfolds_from_few_bytes(good: Path) -> None:
    def change(table: Any) -> None:
        meta = table["config"]["conv.weight"]["tensor_meta"]
        meta["sizes"] = [{"as_int": 2**20}] * 4
        meta["strides"] = [{"as_int": 0}] * 4

    with pytest.raises(SourceError, match="larger than their bytes"):
        load_source(str(edited(good, {WEIGHTS: json_edit(change)}, "unfold.pt2")))


@pytest.mark.parametrize("name", ["__class__", "forward", "_parameters.x", "a..b", "training", ""])
def test_names_of_tensors_that_a_module_has_already(good: Path, name: str) -> None:
    def program(value: Any) -> None:
        spec = value["graph_module"]["signature"]["input_specs"][0]["parameter"]
        spec["parameter_name"] = name

    def table(value: Any) -> None:
        value["config"][name] = value["config"].pop("conv.weight")

    path = edited(good, {MODEL: json_edit(program), WEIGHTS: json_edit(table)}, "named.pt2")
    with pytest.raises(SourceError, match="damaged"):
        load_source(str(path))


# ---------------------------------------------------------------- zip archives


def rezipped(path: Path, name: str, method: int) -> Path:
    target = path.with_name(name)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", method) as copy:
        for member in source.namelist():
            copy.writestr(member, source.read(member))
    return target


def test_a_deflated_archive_has_the_same_weights(good: Path) -> None:
    x = torch.randn(1, 3, 8, 12)
    expected = torch.export.load(good).module()(x)
    path = rezipped(good, "deflated.pt2", zipfile.ZIP_DEFLATED)
    torch.testing.assert_close(load_source(str(path)).module(x), expected, rtol=0, atol=0)
    with pytest.raises(SourceError, match="not packed with deflate"):
        load_source(str(rezipped(good, "lzma.pt2", zipfile.ZIP_LZMA)))


def test_a_changed_byte_shows_in_the_checksum(good: Path) -> None:
    content = bytearray(good.read_bytes())
    with zipfile.ZipFile(good) as archive:
        weights = next(i for i in archive.infolist() if i.filename.endswith("weight_0"))
        whole = archive.read(weights)
    place = bytes(content).index(whole)
    content[place + 3] ^= 0x40
    path = good.with_name("flipped.pt2")
    path.write_bytes(content)
    with pytest.raises(SourceError, match="CRC"):
        load_source(str(path))


def test_archives_that_unpack_to_gigabytes(good: Path, tmp_path: Path) -> None:
    blank = b" " * (160 * 2**20)
    path = tmp_path / "blank.pt2"
    with zipfile.ZipFile(good) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as copy:
        for member in source.namelist():
            content = source.read(member)
            copy.writestr(member, blank + content if member.endswith(MODEL) else content)
    assert path.stat().st_size < 2**20
    with pytest.raises(SourceError, match="unpack to"):
        load_source(str(path))


def test_a_member_twice_and_a_second_folder(good: Path) -> None:
    for other in ("{top}/models/model.json", "other/models/model.json"):
        path = good.with_name("twice.pt2")
        path.write_bytes(good.read_bytes())
        with (
            zipfile.ZipFile(path, "a") as archive,
            pytest.warns() if "{" in other else (contextlib.nullcontext()),
        ):
            top = archive.namelist()[0].partition("/")[0]
            archive.writestr(other.format(top=top), "{}")
        with pytest.raises(SourceError, match="damaged"):
            load_source(str(path))


def test_sample_inputs_are_not_unpickled(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = edited(good, {SAMPLE_INPUTS: b"not even a pickle"}, "sample.pt2")
    with pytest.raises(SourceError, match="sample inputs"):
        load_source(str(path))
    assert load_source(str(edited(good, {SAMPLE_INPUTS: b""}, "none.pt2"))).exported is not None


@pytest.mark.parametrize("kind", ["pipe", "endless", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.pt2"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "endless":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(SourceError, match=r"cannot be read: it is a"):
        load_source(str(path))
    with pytest.raises(SourceError, match=r"cannot be read: it is a"):
        read_program(path)


# ---------------------------------------------------------------- random edits


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield (*path, key)
        if isinstance(item, (dict, list)):
            yield from places(item, (*path, key))


def test_random_edits_are_refused_or_run(
    good: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Names, operators and numbers of the graph exchanged: an error of ours, or a program."""
    proof = tmp_path / "pwned"
    random = Random(0)
    with zipfile.ZipFile(good) as archive:
        original = archive.read(f"good/{MODEL}")
    graph = json.loads(original)["graph_module"]["graph"]
    names = [*graph["tensor_values"], "none"]
    targets = [f"torch.ops.aten.{name}" for name in ("split.Tensor", "as_strided.default")]
    targets += [node["target"] for node in graph["nodes"]]
    odd = [0, 1, -1, 3, 2**31, 2**62, -(2**63), 10**30, 1.5, "x", None, True, [], {}]
    odd += [expression(proof), "Infinity"]
    refused = loaded = 0
    for _ in range(120):
        program = json.loads(original)
        path = random.choice([p for p in places(program) if "metadata" not in p])
        holder: Any = program
        for key in path[:-1]:
            holder = holder[key]
        old = holder[path[-1]]
        pool = names if isinstance(old, str) and old in names else odd
        pool = targets if isinstance(old, str) and old.startswith("torch.") else pool
        holder[path[-1]] = random.choice(pool)
        changed = edited(good, {MODEL: json.dumps(program).encode()}, "random.pt2")
        try:
            read_program(changed).module(check_guards=False)(torch.zeros(1, 3, 8, 12))
            loaded += 1
        except SourceError:
            refused += 1
        assert not proof.exists(), path
    assert refused > 60
    assert loaded > 0
    assert "Traceback" not in capfd.readouterr().err


# ---------------------------------------------------------------- good programs


class Various(nn.Module):
    """Control values, buffers that are kept and not, shared weights, and nested outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.again = nn.Sequential(self.conv, nn.ReLU(inplace=True))
        self.register_buffer("scale", torch.tensor([True, False, True]).view(3, 1, 1))
        self.register_buffer("shift", torch.ones(3, 1, 1), persistent=False)

    def forward(self, input: torch.Tensor, flag: bool = True, count: int = 2) -> Any:
        a, b, c = self.again(self.conv(input)).chunk(3, 1)
        value, index = a.max(1)
        limited = torch.where(b > 0, float("inf"), b).clamp(max=3.0)
        return OrderedDict(
            first=a * count + self.shift,
            second=[value, (index, limited)],
            third={"a b": c.masked_fill(self.scale, -1.0), 'x"); y("': None, "number": 3},
            weight=self.conv.weight,
        )


def test_nesting_buffers_and_constants(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Various().eval()
    x = torch.randn(1, 3, 8, 8)
    program = torch.export.export(module, (x, True, 2))
    torch.export.save(program, tmp_path / "various.pt2")
    read = read_program(tmp_path / "various.pt2")
    got, expected = read.module()(x, True, 2), module(x)
    torch.testing.assert_close(got, expected, rtol=0, atol=0)
    assert type(got) is OrderedDict
    assert list(got["third"]) == list(expected["third"])
    torch.export.save(read, tmp_path / "again.pt2")
    once_more = read_program(tmp_path / "again.pt2")
    torch.testing.assert_close(once_more.module()(x, True, 2), expected, rtol=0, atol=0)
    functional = program.run_decompositions({})
    torch.export.save(functional, tmp_path / "core.pt2")
    core = read_program(tmp_path / "core.pt2")
    torch.testing.assert_close(core.module()(x, True, 2), expected)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.add_(1)
        x.mul_(2)
        return x.mean((2, 3)) + self.seen


def test_writes_to_buffers_and_to_the_input(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 8, 8)
    program = torch.export.export(Counting(), (x.clone(),)).run_decompositions({})
    torch.export.save(program, tmp_path / "counting.pt2")
    read = read_program(tmp_path / "counting.pt2")
    assert [s.kind for s in read.graph_signature.output_specs] == [
        s.kind for s in program.graph_signature.output_specs
    ]
    torch.testing.assert_close(read.module()(x.clone()), Counting()(x.clone()))


def test_a_prepared_program_reads_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 8, 12)
    program = mobile_export.prepare(Small().eval(), torch.zeros(1, 3, 8, 12))
    torch.export.save(program.exported, tmp_path / "prepared.pt2")
    read = read_program(tmp_path / "prepared.pt2")
    torch.testing.assert_close(read.module()(x), program.module()(x), rtol=0, atol=0)
    names = [node.name for node in program.exported.graph.nodes]
    assert [node.name for node in read.graph.nodes] == names
