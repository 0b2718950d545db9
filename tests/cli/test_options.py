"""Commands are made from the fields of the objects that they fill; their help is as recorded.

``data/COMMAND.txt`` is what ``mobile-export COMMAND --help`` printed when every command was still
written by hand, with what was changed on purpose since (``list --papers``, ``--input``, …) and the
commands that came later.
"""

from __future__ import annotations

import contextlib
import io
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mobile_export.cli.export import export_command
from mobile_export.cli.main import app, main
from mobile_export.cli.options import parameters_of, read_options, with_parameters
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.coreml.options import COREML_TARGETS
from mobile_export.exporters.row import Format
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.sources.request import ModelRequest
from mobile_export.system.options import option
from tests.hostile.commands import typed_commands

TEXTS = sorted((Path(__file__).parent / "data").glob("*.txt"))


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def help_of(command: str) -> str:
    said = io.StringIO()
    words = [] if command == "main" else command.split("-")
    with contextlib.redirect_stdout(said), pytest.raises(SystemExit):
        app([*words, "--help"], prog_name="python -m mobile_export")
    return said.getvalue()


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.stem)
def test_help_is_as_recorded(file: Path) -> None:
    assert help_of(file.stem) == file.read_text("utf-8")


def test_every_command_has_its_help_recorded() -> None:
    names = {command.replace(" ", "-") for command, _ in typed_commands(app)}
    assert {file.stem for file in TEXTS} == {*names, "main"}


def test_every_format_is_a_command_with_its_own_options() -> None:
    for row in FORMATS:
        said = help_of(row.name)
        assert " ".join(row.summary.split()) in " ".join(said.split())
        assert ("--precision" in said) == (len(row.precisions) > 1)
        assert ("--nms " in said) == row.suppresses
        for name in vars(row.options()):
            assert f"--{name.replace('_', '-')}" in said


@dataclass(frozen=True)
class _Copied:
    """Options of a pretend format: one that another format has too, one of its own."""

    layout: str = option("nhwc", help="Layout of the image input: nhwc or nchw.")
    block_size: int = option(64, help="Weights that share a scale.")


def _sixth() -> Format:
    return replace(get_format("tflite"), name="sixth", title="Sixth", options=_Copied)


def _run(rows: tuple[Format, ...], *words: str) -> str:
    one = typer.Typer(rich_markup_mode=None)
    one.command()(export_command(rows, None, "Write."))
    return CliRunner().invoke(one, words).output


def test_a_new_format_needs_no_change_here() -> None:
    said = _run((*FORMATS, _sixth()), "--help")
    assert said.count("--layout <str>") == 1, "shared by two formats"
    assert "--block-size <int>" in said
    assert read_options(_Copied, {"layout": "nchw", "block_size": 8}) == {
        "layout": "nchw",
        "block_size": 8,
    }


def test_options_that_differ_cannot_share_a_name() -> None:
    @dataclass(frozen=True)
    class Other:
        layout: str = option("nchw", help="Another default.")

    with pytest.raises(ValueError, match="layout"):
        with_parameters([*parameters_of(_Copied), *parameters_of(Other)])


def test_texts_are_read_by_the_fields(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    typed = {"model": "emo_1m", "size": "64x96", "mean": "0.5", "labels": tmp_path / "names.txt"}
    assert ModelRequest(**read_options(ModelRequest, {**typed, "std": None, "seed": 3})) == (
        ModelRequest("emo_1m", size=(64, 96), mean=(0.5,), labels=("cat", "dog"), seed=3)
    )
    config = ExportConfig(**read_options(ExportConfig, {"no_pass": ["fold_norms"], "force": True}))
    assert config == ExportConfig(no_passes=("fold_norms",), force=True)


def test_every_field_of_a_request_can_be_typed() -> None:
    """Only ``out_dir``, ``nms`` and ``options`` are put together by the command itself."""
    fields = set(vars(ModelRequest("emo_1m")))
    fields -= {"example_inputs", "other_sizes"}  # tensors, of Python only; and typed with the size
    assert {p.name for p in parameters_of(ModelRequest)} == fields
    rest = set(vars(ExportConfig())) - {"no_passes"} - {p.name for p in parameters_of(ExportConfig)}
    assert rest == {"out_dir", "nms", "options", "quantization"}


def test_main_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mobile-export", "onnx", "emo_1m", "--size", "0x3"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "--size '0x3' is not a size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("onnx seaformer_t", ["seaformer_tiny", "seaformer_tiny_seg"]),
        ("coreml emo_1m --target ios1", list(COREML_TARGETS)),
        ("tflite emo_1m --precision int8-", ["int8-weights", "int8-dynamic"]),
        ("all emo_1m --precision palette", ["palette4", "palette6", "palette8"]),
        ("tflite emo_1m --layout n", ["nhwc", "nchw"]),
        ("verify net.onnx --precision fp", ["fp32", "fp16"]),
        ("verify net.onnx --runtime o", ["openvino"]),
    ],
)
def test_the_shell_completes_models_and_values(words: str, wanted: list[str]) -> None:
    typed = ["mobile-export", *words.split()]
    asked = {
        "_MOBILE_EXPORT_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(typed),
        "COMP_CWORD": str(len(typed) - 1),
    }
    done = CliRunner().invoke(app, [], env=asked, prog_name="mobile-export")
    assert sorted(done.stdout.split()) == sorted(wanted)
