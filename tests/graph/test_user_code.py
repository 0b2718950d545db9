"""The user's Python may raise anything and return anything: one clear error each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mobile_export
from mobile_export.errors import MobileExportError, SourceError, UsageError
from mobile_export.graph.capture import flatten_outputs, trace
from mobile_export.graph.user_code import described, guarded
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from tests.conftest import make_source

CODE = '''
import sys
import torch
from torch import nn

class Own(BaseException):
    """Not an Exception."""

class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")

def leave(how):
    if how == "exit 0":
        sys.exit(0)
    if how == "exit 3":
        sys.exit(3)
    if how == "exit none":
        raise SystemExit
    if how == "generator":
        raise GeneratorExit("out")
    if how == "own":
        raise Own("mine")
    if how == "mute":
        raise Mute
    if how == "stop":
        raise StopIteration
    if how == "interrupt":
        raise KeyboardInterrupt

class Net(nn.Module):
    def __init__(self, how, call):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.how, self.call, self.calls = how, call, 0

    def forward(self, x):
        self.calls += 1
        if self.calls == self.call:
            leave(self.how)
        return self.conv(x).mean((2, 3))

def build(how="", call=1):
    return Net(how, call)

def factory(how=""):
    leave(how)
    return Net("", 0)

class Copied(Net):
    def __deepcopy__(self, memo):
        leave(self.how)
        return self

def copied(how=""):
    return Copied(how, 0)

class Asked(Net):
    @property
    def num_classes(self):
        leave(self.how)

def asked(how=""):
    return Asked(how, 0)
'''

WAYS = ["exit 0", "exit 3", "exit none", "generator", "own", "mute", "stop"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "leaving.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "leaving", raising=False)
    return tmp_path


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "spec",
    [
        "leaving:factory?how={}",  # the factory
        "leaving:build?how={}&call=1",  # the first call
        "leaving:build?how={}&call=2",  # capture
        "leaving:copied?how={}",  # the copy for the reference
        "leaving:asked?how={}",  # looking at the module
    ],
)
@pytest.mark.usefixtures("project")
def test_whatever_is_raised_is_one_error(spec: str, how: str) -> None:
    with pytest.raises(MobileExportError) as caught:
        mobile_export.export(spec.format(how), "onnx", "out", size=8)
    message = str(caught.value)
    assert "mobile-export itself failed" not in message
    assert not list(Path("out").glob("*.onnx*"))
    if how.startswith("exit"):
        assert "sys.exit" in message
        assert caught.value.exit_code == 2


@pytest.mark.parametrize("code", ["sys.exit(0)", "sys.exit(3)", "raise GeneratorExit('x')"])
def test_importing(project: Path, code: str) -> None:
    (project / "importing.py").write_text(f"import sys\n{code}\n")
    with pytest.raises(SourceError, match=r"Importing importing failed.*importing.py:2"):
        mobile_export.create_model("importing:build")


@pytest.mark.usefixtures("project")
def test_an_interrupt_stays_one() -> None:
    for spec in ("leaving:factory?how=interrupt", "leaving:build?how=interrupt&call=2"):
        with pytest.raises(KeyboardInterrupt):
            mobile_export.export(spec, "onnx", "out", size=8)


@pytest.mark.parametrize("how", ["exit 0", "exit 3", "own"])
def test_the_command_says_it_and_ends_with_two(project: Path, how: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "mobile_export", "onnx", f"leaving:build?how={how}", "--size", "8"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "fails on an input of shape (1, 3, 8, 8)" in run.stderr
    assert "leaving.py:" in run.stderr
    assert "Traceback" not in run.stdout + run.stderr


class FailsLater(nn.Module):
    def __init__(self, calls: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.error = calls, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return x.mean((2, 3))


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), ValueError("later")])
@pytest.mark.parametrize(("calls", "match"), [(0, "float64"), (1, "called again")])
def test_the_reference(calls: int, match: str, error: BaseException) -> None:
    samples = parity_samples(make_source(nn.ReLU()).input)[:2]
    module = FailsLater(calls, error)
    if calls:  # the copy counts by itself
        module.left = 0
        module.__deepcopy__ = lambda memo: FailsLater(9, error)  # type: ignore[operator]
    with pytest.raises(SourceError, match=match):
        make_reference(module, samples)


def test_the_guard_passes_results_and_our_own_errors() -> None:
    with guarded(lambda error: SourceError(described(error))):
        value = 3
    assert value == 3
    own = UsageError("ours")
    with pytest.raises(UsageError) as caught, guarded(lambda e: SourceError(described(e))):
        raise own
    assert caught.value is own


# ---------------------------------------------------------------- what a model returns


class Returns(nn.Module):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("table", torch.arange(6.0).view(1, 6))
        self.register_buffer("kept", torch.zeros(1, 4))
        self.what = what

    def forward(self, x: torch.Tensor) -> Any:
        y = self.conv(x).mean((2, 3))
        endless: list[Any] = [y]
        endless.append({"again": endless})
        if self.what == "buffer written":
            self.kept.copy_(y)
            return self.kept
        return {
            "parameter": self.conv.weight,
            "buffer": self.table,
            "constant": torch.tensor([[1.0, 2.0]]),
            "image": x,
            "both": (x, self.table),
            "sparse beside": {"logits": y, "kept": self.kept.to_sparse()},
            "meta beside": {"logits": y, "kept": self.kept.to("meta")},
            "sparse": y.to_sparse() if self.what == "sparse" else y,
            "meta": y.to("meta") if self.what == "meta" else y,
            "complex": torch.complex(y, y),
            "cyclic": endless,
            "many": [y] * 20_000,
            "endless": (range(10**15), b"bytes" * 10, "text"),
        }[self.what]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("parameter", "computes nothing from its image"),
        ("buffer", "computes nothing from its image"),
        ("constant", "computes nothing from its image"),
        ("image", "computes nothing from its image"),
        ("both", "computes nothing from its image"),
        ("sparse beside", "returns kept .*it is sparse"),
        ("meta beside", "returns kept .*meta device"),
        ("sparse", "it is sparse"),
        ("meta", "meta device"),
        ("complex", "it is complex"),
        ("cyclic", "holds itself"),
        ("many", "more than 10000 items"),
        ("endless", "returned no tensor"),
    ],
)
def test_what_no_file_can_return(what: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        trace(make_source(Returns(what)))


def test_a_buffer_that_the_image_is_written_to() -> None:
    assert trace(make_source(Returns("buffer written"))).outputs[0].shape == (1, 4)


class Named(nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, Any]:
        y = x.mean((2, 3))
        return {"a b": y, "a_b": y * 2, "a-b": y * 3, "a_b_2": y * 4, "image": y * 5, "y": [y * 6]}


def test_names_that_become_alike_stay_distinct(tmp_path: Path) -> None:
    program = trace(make_source(Named()))
    names = [output.name for output in program.outputs]
    assert len(set(names)) == 6
    assert program.input.name not in names
    assert names[0] == "a_b"
    assert names[3] == "a_b_2", "a name that was clean stays what it was"
    report = mobile_export.export(Named(), "onnx", tmp_path, size=8, name="named")
    assert report.artifacts[0].parity.passed


def test_one_tensor_in_two_places_and_shared_containers() -> None:
    a, b = torch.zeros(1), torch.zeros(2)
    shared = [a, b]
    assert flatten_outputs({"x": shared, "y": shared})[0] == ("x_0", "x_1")


class ExitsInItsText(Exception):
    def __str__(self) -> str:
        sys.exit(3)


def test_a_text_that_exits_is_no_text() -> None:
    assert described(ExitsInItsText()) == "ExitsInItsText: no message"
    assert described(SystemExit(ExitsInItsText())) == "it called sys.exit(ExitsInItsText)"


class ReturnsNested(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nested.nested_tensor([x[0, 0, 0], x[0, 0, 0, :3]])


def test_a_nested_output_is_refused() -> None:
    with pytest.raises(SourceError, match="of several shapes: it is a nested tensor"):
        trace(make_source(ReturnsNested()))
