"""The runtimes with a Python interface: what they may execute, and on whose word."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.artifacts.content import sha256_of
from mobile_export.artifacts.expected import seeded_input
from mobile_export.bench import worker
from mobile_export.bench.cli import main as cli
from mobile_export.bench.devices.local import LocalDevice
from mobile_export.bench.runners import python
from mobile_export.bench.runners.python import PythonRunner
from mobile_export.bench.runners.runner import Job
from mobile_export.bench.store import read
from mobile_export.errors import RunnerError
from mobile_export.pipeline import save_program as save_prepared
from tests.bench.examples import artifact, make_manifest, write_manifest
from tests.pt2_files import edited, save_program

QUICK = ("--time-limit", "0.3", "--interval", "0.5")
CANARY = "canary"
NETWORK = """
from torch import nn
from pathlib import Path

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
    def forward(self, x):
        return {"features": self.conv(x), "pooled": self.conv(x).mean((2, 3))}

def build(width=4):
    Path("built").write_text("")
    return Net()
"""


class Command:
    """Unpickling one leaves the canary."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(CANARY).absolute(),)


@pytest.fixture
def run(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Exit code and stderr of one command line."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["mobile-bench", *words])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        return int(stop.value.code or 0), capsys.readouterr().err

    return call


@pytest.fixture
def prepared(in_tmp: Path) -> Path:
    """``net.pt2`` as ``mobile-export prepare`` writes it, of ``network:build`` in this folder."""
    Path("network.py").write_text(NETWORK)
    save_prepared(mobile_export.prepare("network:build", size=16), Path("net.pt2"))
    Path("built").unlink()
    return Path("net.pt2")


def vouch(path: Path, **changes: Any) -> None:
    """Let the manifest vouch for what is in the file now."""
    place = path.with_name("net.pt2.manifest.json")
    facts = json.loads(place.read_text()) | {"sha256": sha256_of(path)} | changes
    place.write_text(json.dumps(facts))


def pickle_itself(path: Path) -> None:
    path.write_bytes(pickle.dumps(Command()))


def pickle_of_the_old_format(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("serialized_exported_program.json", "{}")
        archive.writestr("serialized_state_dict.pt", pickle.dumps(Command()))
        archive.writestr("serialized_constants.pt", pickle.dumps(Command()))
        archive.writestr("version", "8.4")


def pickle_among_the_sample_inputs(path: Path) -> None:
    torch.save(Command(), "sample.pt")
    made = edited(
        save_program(path), {"data/sample_inputs/model.pt": Path("sample.pt").read_bytes()}
    )
    made.rename(path)


def pickle_among_the_weights(path: Path) -> None:
    def point(content: bytes) -> bytes:
        config = json.loads(content)
        next(iter(config["config"].values()))["use_pickle"] = True
        return json.dumps(config).encode()

    edits = {
        "data/weights/model_weights_config.json": point,
        "data/weights/weight_0": pickle.dumps(Command()),
    }
    edited(save_program(path), edits).rename(path)


@pytest.mark.parametrize(
    "spoil",
    [
        pickle_itself,
        pickle_of_the_old_format,
        pickle_among_the_sample_inputs,
        pickle_among_the_weights,
    ],
)
def test_a_pickle_in_a_program_is_not_executed(
    prepared: Path, run: Callable[..., tuple[int, str]], spoil: Callable[[Path], None]
) -> None:
    """Its manifest vouches for it, and comes from whoever made the file."""
    spoil(prepared)
    vouch(prepared)
    code, err = run("net.pt2", "--runner", "torch", *QUICK)
    assert code == 2
    assert "torch on local cannot load net.pt2" in err
    assert err.count("error:") == 1
    assert "Traceback" not in err
    assert not Path(CANARY).exists()
    assert not Path("mobile-bench.jsonl").exists()


def test_the_canary_would_sing(in_tmp: Path) -> None:
    pickle_itself(Path("x"))
    pickle.loads(Path("x").read_bytes())
    assert Path(CANARY).exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "from the code that you name yourself"),
        (["--model", "emo_2m"], "--model names 'emo_2m'"),
    ],
)
@pytest.mark.parametrize("spec", [f"os:system?command=touch {CANARY}", "network:build"])
def test_a_manifest_names_no_code_to_run(
    prepared: Path,
    run: Callable[..., tuple[int, str]],
    spec: str,
    words: Sequence[str],
    said: str,
) -> None:
    vouch(prepared, source=spec)
    code, err = run("net.pt2", "--runner", "torch-eager", *words, *QUICK)
    assert code == 2
    assert said in err
    assert err.count("error:") == 1
    assert not Path(CANARY).exists()
    assert not Path("built").exists()


def test_the_saved_program_and_the_named_model_are_measured(
    prepared: Path, run: Callable[..., tuple[int, str]]
) -> None:
    """Both compute what the manifest expects, with several outputs."""
    words = ("--runner", "torch", "--runner", "torch-eager", "--model", "network:build")
    code, err = run("net.pt2", *words, *QUICK)
    assert code == 0, err
    made = read(Path("mobile-bench.jsonl")).measurements
    assert [m.runner["name"] for m in made] == ["torch", "torch-eager"]
    for m in made:
        assert m.check is not None
        assert m.check.passed
        assert m.check.compared == 4 * 14 * 14 + 4
    assert Path("built").exists()


def test_weights_of_a_named_model_are_the_users_to_name(
    prepared: Path, run: Callable[..., tuple[int, str]]
) -> None:
    words = ("net.pt2", "--runner", "torch-eager", "--model", "network:build", *QUICK)
    code, err = run(*words, "--weights", "x.pth")
    assert (code, "came from no checkpoint" in err) == (2, True)
    vouch(prepared, weights={"kind": "checkpoint", "path": "/etc/passwd"})
    code, err = run(*words)
    assert (code, "name it with --weights" in err) == (2, True)


def test_a_python_without_this_package_reads_no_program(tmp_path: Path) -> None:
    runner = PythonRunner("torch")
    runner._hello["local"] = {"numpy": True, "modules": {"onnxruntime": "1.31.1"}}
    made = artifact(tmp_path, name="tiny.pt2")
    problem = runner.missing(LocalDevice(), Job(made))
    assert problem is not None
    assert "has no module mobile_export" in problem
    assert "pip install mobile-export" in problem


def test_a_file_of_another_name_is_no_program(in_tmp: Path) -> None:
    """A resolved link may be called like code."""
    Path("os:getcwd").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a saved program is a \.pt2 file"):
        worker.Torch([str(Path("os:getcwd").absolute())], 1, "cpu", None)


def test_the_torch_runner_takes_no_module(in_tmp: Path) -> None:
    assert isinstance(
        worker.Torch([str(save_program(Path("a.pt2")))], 1, "cpu", None).module, nn.Module
    )


def test_a_file_is_measured_without_what_lies_beside_it(
    in_tmp: Path, run: Callable[..., tuple[int, str]]
) -> None:
    """An ONNX file whose weights are in another one, and one that gives no numbers."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kinds = onnx.helper, onnx.TensorProto
    given = helper.make_tensor_value_info("image", kinds.FLOAT, [1, 3, 8, 8])
    weights = onnx.numpy_helper.from_array(np.ones((1, 3, 8, 8), np.float32), "w")
    output = helper.make_tensor_value_info("output", kinds.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "w"], ["output"])], "g", [given], [output], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, "beside.onnx", save_as_external_data=True, location="w", size_threshold=0)
    model = onnx.load("beside.onnx")
    texts = helper.make_tensor("t", kinds.STRING, [1], [b"\x1b[31m"])
    model.graph.initializer.append(texts)
    model.graph.node.add(op_type="Identity", input=["t"], output=["text"])
    model.graph.output.append(helper.make_tensor_value_info("text", kinds.STRING, [1]))
    onnx.save(model, "text.onnx")
    for name, said in (
        ("beside", ""),
        ("text", ": ValueError: the output 'text' holds tensor(string)"),
    ):
        path, image = Path(f"{name}.onnx"), seeded_input((1, 3, 8, 8), 0)
        write_manifest(path, make_manifest(path, image, {"output": image + 1}))
        code, err = run(f"{name}.onnx", *QUICK)
        assert code == 2, err
        assert f"onnxruntime on local cannot load {name}.onnx{said}" in err
        assert "itself failed" not in err
        assert "\x1b" not in err


@pytest.mark.parametrize(
    "answer", [{}, {"outputs": 3, "nhwc": True}, {"outputs": [{"name": 1}], "nhwc": False}]
)
def test_a_worker_that_answers_nonsense(
    in_tmp: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    loaded = {"version": "1", "load_ns": 1, "precision": "fp32", "features": []}
    answers = iter([loaded, answer])
    monkeypatch.setattr(python._Worker, "ask", lambda self, command, timeout: next(answers))
    job = Job(artifact(in_tmp))
    session = PythonRunner("onnxruntime").open(LocalDevice(), job)
    with session, pytest.raises(RunnerError, match="cannot be read"):
        session.outputs(np.zeros((1, 3, 8, 8), np.float32))


@pytest.mark.parametrize("more", [(), ("--model", "network:build"), ("--weights", "w.pth")])
def test_no_line_to_paste_comes_from_a_manifest(
    prepared: Path, run: Callable[..., tuple[int, str]], more: tuple[str, ...]
) -> None:
    """What a manifest says is quoted; what follows the name of a program or an option is ours."""
    source = "evil:build\x1b[31m; touch canary #"
    vouch(prepared, source=source, precision="fp32", tools={"torch": "; touch canary"})
    code, err = run("net.pt2", "--runner", "torch-eager", *more, *QUICK)
    assert code == 2
    assert "\x1b" not in err
    quoted = repr(source)
    assert quoted.replace("\\", "") in err.replace("\\", "")
    rest = err.replace("\\", "").replace(quoted.replace("\\", ""), "")
    assert "evil" not in rest
    assert "touch" not in rest
    assert not Path("built").exists()
