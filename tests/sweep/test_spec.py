"""SPEC.toml, and every mistake with its line. Tests sweep/lines.py and sweep/models.py, too."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from mobile_export.errors import UsageError
from mobile_export.models import table
from mobile_export.sweep.lines import line_of
from mobile_export.sweep.models import expand, file_of, files_of_model
from mobile_export.sweep.spec import FormatChoice, SpecFile, read_spec

GOOD = """# nightly
name = "nightly"
steps = [
  "export",
  "verify",
]
formats = ["onnx:fp16", {name = "tflite", precisions = ["fp32", "fp16"]}]
note = '''
[bench]
threads = 0'''

[[models]]
names = ["emo_1m"]

[[models]]

# of the zoo
names = ["espcn*"]
sizes = [64, "64x96"]
seed = 3
"""


NET = '[[models]]\nnames = ["a"]'


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.toml"
    path.write_text(text)
    return path


def test_a_specification_is_read(tmp_path: Path) -> None:
    spec = read_spec(
        write(tmp_path, GOOD.replace('name = "nightly"', "").replace("note", "name"))
    ).spec
    assert spec.name == "[bench]\nthreads = 0"
    assert spec.steps == ("export", "verify")
    assert spec.formats == ("onnx:fp16", FormatChoice("tflite", ("fp32", "fp16")))
    assert [group.names for group in spec.models] == [("emo_1m",), ("espcn*",)]
    assert (spec.models[1].sizes, spec.models[1].seed) == ((64, "64x96"), 3)
    assert (spec.time_limit, spec.memory_limit) == (900, None)


@pytest.mark.parametrize(
    ("where", "line"),
    [
        (("name",), 2),
        (("steps",), 3),
        (("steps", 1), 3),
        (("note",), 8),
        (("models", 0, "names"), 13),
        (("models", 1), 15),
        (("models", 1, "names"), 18),
        (("models", 1, "seed"), 20),
        (("models", 1, "nothing"), 15),
        (("bench",), None),
    ],
)
def test_the_line_of_a_field(where: tuple[str | int, ...], line: int | None) -> None:
    """Counted by hand; a table within a text of several lines does not mislead it."""
    assert line_of(GOOD, where) == line


def test_lines_are_found_for_any_number_of_fields() -> None:
    """Against the line on which each was written."""
    lines = []
    for number in range(60):
        lines += ["# [a]", "", f"k{number} = [", "  1,", f"  {number},", "]"][number % 3 :]
    lines = [line for line in lines if line]
    text = "\n".join(lines)
    tomllib.loads(text)
    for number in range(60):
        wanted = lines.index(f"k{number} = [") + 1 if f"k{number} = [" in lines else None
        assert line_of(text, (f"k{number}",)) == wanted


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (f"{NET}\nsize = 3", 3, "models[0].size is not known.\nDid you mean sizes?"),
        (f"{NET}\n[bnch]\nx = 1", 3, "bnch is not known.\nDid you mean bench?"),
        (
            f'steps = ["exprt"]\n{NET}', 1,
            "steps[0] is 'exprt', which is no step.\nDid you mean export?",
        ),
        ("name = 'x'\nmodels = 3", 2, "models: expected array, got int"),
        (f"{NET}\nseed = -1", 3, "models[0].seed: expected int >= 0"),
        ("[[models]]\nsizes = [3]", 1, "models[0] lacks the field names"),
        (f"time_limit = 0.5\n{NET}", 1, "time_limit: expected float >= 1"),
        (f'steps = ["evaluate"]\n{NET}', 1, "steps has evaluate, and there is no table [evaluate]"),
        (f"{NET}\n\n[bench]\nthreads = 2", 4, "there is a table [bench], and steps has no bench"),
        (
            f'formats = [{{nme = "x"}}]\n{NET}', 1,
            "formats[0].nme is not known.\nDid you mean name?",
        ),
    ],
)  # fmt: skip
def test_a_mistake_has_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        read_spec(path)
    assert str(raised.value).startswith(f"{path}, line {line}: {said}")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not text in UTF-8"),
        (b"x", "is not TOML: Expected '=' after a key"),
        (b"x = " + b"[" * 100_000, "(?:nested too deeply|is not TOML)"),
        (b"time_limit = nan\n[[models]]\nnames = ['a']", "the number nan"),
        (b"time_limit = inf\n[[models]]\nnames = ['a']", "the number inf"),
        (b"", "lacks the field models"),
    ],
)
def test_what_is_no_specification(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "spec.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=said):
        read_spec(path)


@pytest.fixture
def file(tmp_path: Path) -> SpecFile:
    return read_spec(write(tmp_path, '\n[[models]]\nnames = ["x"]'))


WHERE = ("models", 0, "names")


def test_globs_choose_among_the_zoo_and_files(file: SpecFile, tmp_path: Path) -> None:
    (tmp_path / "nets").mkdir()
    for name in "ba":
        (tmp_path / "nets" / f"{name}.pt2").touch()
    names = ["espcn*", "nets/*.pt2", "espcn_x2", "mynet:build?width=3", "*_tiny_seg?output=labels"]
    zoo = table.names()
    segmenters = [f"{name}?output=labels" for name in zoo if name.endswith("_tiny_seg")]
    assert segmenters
    assert expand(file, WHERE, names) == [
        *(name for name in zoo if name.startswith("espcn")),
        "nets/a.pt2", "nets/b.pt2", "mynet:build?width=3", *segmenters,
    ]  # fmt: skip


def test_globs_choose_among_timm(file: SpecFile) -> None:
    timm = pytest.importorskip("timm")
    assert expand(file, WHERE, ["timm/mobilenetv4_conv_*"]) == [
        f"timm/{name}" for name in timm.list_models("mobilenetv4_conv_*")
    ]
    assert expand(file, WHERE, ["resnet18"]) == ["timm/resnet18"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("emo_*_nothing", "no model is called"),
        ("emo_1n", "Did you mean emo_1m"),
        ("--force", "is no model"),
        ("", "is no model"),
        ("missing.pt2", "There is no file"),
        ("/etc/*.pt2", "is no pattern of files"),
    ],
)
def test_names_that_find_nothing(file: SpecFile, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)) as raised:
        expand(file, WHERE, [name])
    assert ", line 3: " in str(raised.value)


def test_files_are_known_by_their_content(
    file: SpecFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net.pt2").write_bytes(b"abc")
    wanted = hashlib.sha256(b"abc").hexdigest()
    ref = file_of(file, WHERE, "net.pt2")
    assert (ref.name, ref.sha256, ref.path) == ("net.pt2", wanted, str(tmp_path / "net.pt2"))
    assert files_of_model(file, WHERE, "net.pt2") == {"model": ref}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").write_text("raise SystemExit('it was imported')")
    code = files_of_model(file, WHERE, "mynet:build")["code"]
    assert code.sha256 == hashlib.sha256((tmp_path / "mynet.py").read_bytes()).hexdigest()
    assert files_of_model(file, WHERE, "emo_1m") == {}
