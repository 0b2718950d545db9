"""``file.pt2``: good programs load; nothing in a bad one is ever executed."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.api import create_model
from mobile_export.errors import SourceError, UsageError
from tests.conftest import load_source
from tests.pt2_files import (
    CONSTANTS,
    MODEL,
    SAMPLE_INPUTS,
    WEIGHTS,
    Edit,
    Small,
    edited,
    json_edit,
    save_program,
)


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, module: nn.Module) -> Path:
    return save_program(tmp_path_factory.mktemp("pt2") / "good.pt2", module)


def test_a_good_program_loads(good: Path, module: nn.Module) -> None:
    source = load_source(str(good))
    assert source.input.shape == (1, 3, 8, 12)
    assert source.exported is not None
    assert source.weights.kind == "program"
    assert source.weights.sha256 == hashlib.sha256(good.read_bytes()).hexdigest()
    assert source.labels is None
    assert "normalised" in " ".join(source.weights.notes)
    x = torch.randn(1, 3, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(source.module(x), module(x))
        torch.testing.assert_close(create_model(str(good))(x), module(x))


def test_decomposed_programs_load(tmp_path: Path, module: nn.Module) -> None:
    program = torch.export.export(module, (torch.randn(1, 3, 8, 12),)).run_decompositions({})
    torch.export.save(program, tmp_path / "core.pt2")
    assert load_source(str(tmp_path / "core.pt2")).input.shape == (1, 3, 8, 12)


def test_an_edit_that_changes_nothing_still_loads(good: Path) -> None:
    """The test's own archive writer makes files that torch takes."""
    assert load_source(str(edited(good, {"extra/note.txt": b"hello"}, "same.pt2")))


def test_labels_for_a_thousand_classes(tmp_path: Path) -> None:
    path = save_program(tmp_path / "m.pt2", Small(classes=1000))
    source = load_source(str(path), mean=(0.5,), std=(0.25,))
    assert source.labels is not None
    assert len(source.labels) == 1000
    assert source.input.mean == (0.5, 0.5, 0.5)
    assert source.weights.notes == ()


def test_size_may_be_repeated_but_not_changed(good: Path) -> None:
    assert load_source(str(good), size=(8, 12)).input.shape == (1, 3, 8, 12)
    with pytest.raises(UsageError, match="exported for 8x12"):
        load_source(str(good), size=(12, 8))


@pytest.mark.parametrize(
    ("kwargs", "option"),
    [
        ({"num_classes": 3}, "`num_classes`"),
        ({"weights": Path("w.pth")}, "`weights`"),
        ({"channels": 1}, "`channels`"),
        ({"pretrained": True}, "`pretrained`"),
    ],
)
def test_options_that_cannot_change_a_program(
    good: Path, kwargs: dict[str, Any], option: str
) -> None:
    with pytest.raises(UsageError, match=option):
        load_source(str(good), **kwargs)


# ---------------------------------------------------------------- files that run code


class Payload:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


def torch_pickle(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def guards(command: str) -> dict[str, Edit]:
    def change(program: Any) -> None:
        program["guards_code"] = [f"__import__('os').system({command!r}) + 1"]

    return {MODEL: json_edit(change)}


def symbolic_size(command: str) -> dict[str, Edit]:
    def change(program: Any) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        text = f"__import__('os').system({command!r}) + 8"
        values["x"]["sizes"][2] = {"as_expr": {"expr_str": text, "hint": {"as_int": 8}}}

    return {MODEL: json_edit(change)}


def operator(command: str, target: str = "torch.os.system") -> dict[str, Edit]:
    def change(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][0]
        node["target"] = target
        node["inputs"] = [{"name": "command", "arg": {"as_string": command}, "kind": 1}]

    return {MODEL: json_edit(change)}


def sample_inputs(command: str) -> dict[str, Edit]:
    return {SAMPLE_INPUTS: torch_pickle(((Payload(command),), {}))}


def pickled_weight(command: str) -> dict[str, Edit]:
    def change(config: Any) -> None:
        config["config"]["conv.weight"]["use_pickle"] = True

    return {WEIGHTS: json_edit(change), "data/weights/weight_0": torch_pickle(Payload(command))}


def pickled_constant(command: str) -> dict[str, Edit]:
    def change(config: Any) -> None:
        config["config"]["evil"] = {
            "path_name": "opaque_obj_0",
            "is_param": False,
            "use_pickle": True,
            "tensor_meta": None,
        }

    evil = pickle.dumps(Payload(command))
    return {CONSTANTS: json_edit(change), "data/constants/opaque_obj_0": evil}


def old_weights(command: str) -> dict[str, Edit]:
    return {"data/weights/model.pt": torch_pickle(Payload(command))}


def parameter_name(command: str) -> dict[str, Edit]:
    def change(program: Any) -> None:
        spec = program["graph_module"]["signature"]["input_specs"][0]
        spec["parameter"]["parameter_name"] = f'x"); __import__("os").system({command!r}); ("'

    return {MODEL: json_edit(change)}


def tree_spec(command: str) -> dict[str, Edit]:
    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = (
            '[1, {"type": "collections.defaultdict", "context": {"default_factory_module": '
            '"antigravity", "default_factory_name": "webbrowser", "dict_context": []}, '
            '"children_spec": []}]'
        )

    return {MODEL: json_edit(change)}


def compiled(command: str) -> dict[str, Edit]:
    return {"data/aotinductor/model/model.so": b"\x7fELF"}


ATTACKS: list[Callable[[str], dict[str, Edit]]] = [
    guards,
    symbolic_size,
    operator,
    sample_inputs,
    pickled_weight,
    pickled_constant,
    old_weights,
    parameter_name,
    tree_spec,
    compiled,
]
PROVEN = {guards, symbolic_size, sample_inputs, pickled_weight, pickled_constant, old_weights}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused_and_not_executed(
    good: Path, tmp_path: Path, attack: Callable[[str], dict[str, Edit]]
) -> None:
    proof = tmp_path / "pwned"
    path = edited(good, attack(f"touch {proof}"), f"{attack.__name__}.pt2")
    with pytest.raises(SourceError) as caught:
        load_source(str(path))
    assert not proof.exists()
    assert "Traceback" not in str(caught.value)
    assert caught.value.hint
    if attack in PROVEN:
        with contextlib.suppress(Exception):
            torch.export.load(path).module()(torch.zeros(1, 3, 8, 12))
        assert proof.exists(), "torch.export.load runs it, so its absence above means something"


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.hub.load",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.__class__.mro",
        "torch.ops.higher_order.cond",
        "torch.ops.mylib.op.default",
        "math.sqrt",
        "_operator.attrgetter",
        "#ext:op",
        "builtins.eval",
    ],
)
def test_only_aten_ops(good: Path, target: str) -> None:
    path = edited(good, operator("x", target), "op.pt2")
    with pytest.raises(SourceError, match="not an ATen op"):
        load_source(str(path))


# ---------------------------------------------------------------- other files, and damage


def test_truncated_at_many_lengths(good: Path, tmp_path: Path) -> None:
    whole, path = good.read_bytes(), tmp_path / "cut.pt2"
    for length in [0, 1, 4, 30, *(len(whole) * part // 8 for part in range(1, 8)), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(SourceError, match=r"truncated|empty"):
            load_source(str(path))


def test_json_that_is_not_a_program(good: Path) -> None:
    contents = [b"", b"{}", b"[]", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b'{"a": 1e999}']
    for content in contents:
        path = edited(good, {MODEL: content}, "json.pt2")
        with pytest.raises(SourceError, match="damaged"):
            load_source(str(path))


def test_checkpoints_and_other_archives_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt2"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(SourceError, match="`weights='FILE'`"):
        load_source(str(path))
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(1)), path)
    with pytest.raises(SourceError, match="TorchScript"):
        load_source(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(SourceError, match="some other zip"):
        load_source(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("version", "5.1")
        archive.writestr("serialized_exported_program.json", "{}")
    with pytest.raises(SourceError, match="old format"):
        load_source(str(path))


def test_missing_file_names_its_neighbours(good: Path) -> None:
    with pytest.raises(SourceError, match=r"good\.pt2"):
        load_source(str(good.with_name("godo.pt2")))


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "folder.pt2").mkdir()
    with pytest.raises(SourceError, match="cannot be read"):
        load_source(str(tmp_path / "folder.pt2"))


def test_dynamic_programs_are_refused(tmp_path: Path) -> None:
    height = torch.export.Dim("height", min=4, max=64)
    path = save_program(tmp_path / "dynamic.pt2", dynamic_shapes=({2: height},))
    with pytest.raises(SourceError, match="static shapes"):
        load_source(str(path))


class TwoInputs(nn.Module):
    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x + y


def test_programs_of_other_inputs_have_them(tmp_path: Path) -> None:
    path = save_program(tmp_path / "batch.pt2", None, 2, 3, 8, 8)
    assert load_source(str(path)).input.shape == (2, 3, 8, 8)
    path = save_program(tmp_path / "vector.pt2", nn.ReLU(), 1, 3)
    assert load_source(str(path)).input.role == "values"
    x = torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(TwoInputs(), (x, x)), tmp_path / "two.pt2")
    assert [each.name for each in load_source(str(tmp_path / "two.pt2")).inputs] == ["x", "y"]


class Halved(nn.Module):
    def forward(self, x: torch.Tensor, scale: float) -> torch.Tensor:
        return x * scale


def test_a_program_that_takes_a_number_is_refused(tmp_path: Path) -> None:
    x = torch.zeros(1, 3, 8, 8)
    torch.export.save(torch.export.export(Halved(), (x, 0.5)), tmp_path / "number.pt2")
    with pytest.raises(SourceError, match="tensors of float32, uint8"):
        load_source(str(tmp_path / "number.pt2"))


def test_half_precision_programs_are_refused(tmp_path: Path) -> None:
    program = torch.export.export(Small().eval().bfloat16(), (torch.zeros(1, 3, 8, 8).bfloat16(),))
    torch.export.save(program, tmp_path / "half.pt2")
    with pytest.raises(SourceError, match="bfloat16"):
        load_source(str(tmp_path / "half.pt2"))
