"""Damaged files: `describe` and `load` return, or raise one error of ours; nothing else.

Tests `mobile_export/artifacts/damage.py`, `exporters/apart.py`, and every `exporters/*/session.py`.
Readers written in C++ are not called in this process: what they do is tested through `inspect` and
`verify`, which call them in a child.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from mobile_export.api import inspect, verify
from mobile_export.artifacts.damage import reading
from mobile_export.errors import ArtifactError, ExecutionError, MobileExportError
from mobile_export.exporters.apart import describe_apart
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.exporters.tflite.session import describe as describe_tflite
from mobile_export.parity.samples import Sample
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from mobile_export.system.children import Limits
from tests.conftest import need
from tests.hostile.damage import damaged

NAMES = [row.name for row in FORMATS]
FEW, MANY = 60, 2000


def parts_of(artifact: Path) -> list[Path]:
    """The files that one artifact is made of, relative to its folder."""
    files = get_format_files(artifact)
    return [f for each in files for f in (sorted(each.rglob("*")) if each.is_dir() else [each])]


def get_format_files(artifact: Path) -> tuple[Path, ...]:
    return next(row for row in FORMATS if artifact.name.endswith(row.suffix)).files(artifact)


def copies(artifact: Path, folder: Path, count: int, first: int = 0) -> Iterator[tuple[int, Path]]:
    """Copies of an artifact in ``folder``, one of whose files is damaged; with the seed."""
    files = [part for part in parts_of(artifact) if part.is_file()]
    for seed in range(first, first + count):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for each in get_format_files(artifact):
            (shutil.copytree if each.is_dir() else shutil.copy)(each, folder / each.name)
        victim = files[seed % len(files)]
        place = folder / victim.relative_to(artifact.parent)
        place.write_bytes(damaged(victim.read_bytes(), seed))
        yield seed, folder / artifact.name


def made(name: str, exported: Callable[..., ExportReport]) -> Path:
    need(name)
    path = exported(name).artifacts[0].path
    assert path is not None
    return path


DRIVER = """
import json, resource, sys, time, traceback
from pathlib import Path
from mobile_export.errors import MobileExportError
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.table import get_format
from tests.hostile.test_damage import copies

name, artifact, folder, first, count = sys.argv[1:]
runtime = runtime_of(get_format(name))
runtime._gpu_compatibility = lambda path: ""  # TensorFlow's analyzer, which may crash
refused, wrong, slowest = 0, [], 0.0
for seed, file in copies(Path(artifact), Path(folder), int(count), int(first)):
    print(seed, file=sys.stderr, flush=True)
    start = time.perf_counter()
    try:
        runtime.describe(file)
    except MobileExportError as error:
        refused += 1
        if "mobile-export itself failed" in str(error):
            wrong.append([seed, str(error)])
    except BaseException as error:
        wrong.append([seed, traceback.format_exc()[-600:]])
    slowest = max(slowest, time.perf_counter() - start)
status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the tests' process
peak = int(status.split("VmHWM:")[1].split()[0])
print(json.dumps({"refused": refused, "wrong": wrong, "slowest": slowest, "peak": peak}))
"""


def describe_many(name: str, artifact: Path, folder: Path, count: int) -> None:
    words = [sys.executable, "-c", DRIVER, name, str(artifact), str(folder / "copy"), "0"]
    done = subprocess.run(
        [*words, str(count)], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-600:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["refused"] > count / 20
    assert found["slowest"] < 20
    assert found["peak"] < 2_000_000  # KiB
    assert [path.name for path in folder.iterdir()] == ["copy"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads the use of memory")
@pytest.mark.parametrize("name", NAMES)
def test_inspecting_damaged_files(
    name: str, exported: Callable[..., ExportReport], tmp_path: Path
) -> None:
    describe_many(name, made(name, exported), tmp_path, FEW)


@pytest.mark.matrix
@pytest.mark.parametrize("name", NAMES)
def test_inspecting_many_damaged_files(
    name: str, exported: Callable[..., ExportReport], tmp_path: Path
) -> None:
    describe_many(name, made(name, exported), tmp_path, MANY)


def _verify_damaged(path: Path, source: Source, folder: Path, count: int) -> None:
    for seed, file in copies(path, folder / "copy", count, first=1000):
        try:
            report = verify(file, source.module, size=32)
        except MobileExportError as error:
            problem = (error.exit_code, "itself failed" in str(error))
            if problem != (2, False):
                raise AssertionError(f"seed {seed}") from error
        else:
            assert report.parity.status in ("passed", "failed", "inconclusive")


@pytest.mark.parametrize("name", ["onnx", "tflite", "ncnn"])
def test_verifying_damaged_files(
    name: str, exported: Callable[..., ExportReport], source: Source, tmp_path: Path
) -> None:
    _verify_damaged(made(name, exported), source, tmp_path, 2)


@pytest.mark.matrix
@pytest.mark.parametrize("name", NAMES)
def test_verifying_many_damaged_files(
    name: str, exported: Callable[..., ExportReport], source: Source, tmp_path: Path
) -> None:
    _verify_damaged(made(name, exported), source, tmp_path, 100)


def test_the_damage_is_the_same_every_time() -> None:
    content = bytes(range(256)) * 8
    assert [damaged(content, seed) for seed in range(50)] == [
        damaged(content, seed) for seed in range(50)
    ]
    assert sum(damaged(content, seed) != content for seed in range(50)) > 45


def test_an_ncnn_input_without_a_size(
    exported: Callable[..., ExportReport], source: Source, tmp_path: Path
) -> None:
    path = made("ncnn", exported)
    shutil.copy(path.with_suffix(".bin"), tmp_path)
    text = path.read_text()
    line = next(line for line in text.splitlines() if line.startswith("Input"))
    file = tmp_path / path.name
    file.write_text(text.replace(line, " ".join(line.split()[:5])))
    with pytest.raises(ArtifactError, match="does not say the size"):
        verify(file, source.module, size=32)


def test_an_ncnn_image_of_another_size(exported: Callable[..., ExportReport]) -> None:
    """The probe in a child ran the size that the file says."""
    path = made("ncnn", exported)
    session = runtime_of(get_format("ncnn")).load(path, ())
    image = torch.zeros(1, 3, 32, 48)
    with pytest.raises(ExecutionError, match=r"takes an image of shape \(1, 3, 32, 32\)"):
        session.run(Sample("noise-0", image, image))


@pytest.mark.parametrize("row", FORMATS, ids=NAMES)
@pytest.mark.parametrize("kind", ["pipe", "zero"])
def test_what_is_no_file(row: object, kind: str, tmp_path: Path) -> None:
    name = getattr(row, "name")  # noqa: B009
    need(name)
    for file in get_format(name).files(tmp_path / f"x{get_format(name).suffix}"):
        os.mkfifo(file) if kind == "pipe" else file.symlink_to("/dev/zero")
    with pytest.raises(ArtifactError):
        inspect(tmp_path / f"x{get_format(name).suffix}")


@pytest.mark.parametrize("name", ["x.onnx", "x.tflite", "x.tnnproto"])
def test_a_file_that_is_too_large_is_not_read(name: str, tmp_path: Path) -> None:
    row = next(row for row in FORMATS if name.endswith(row.suffix))
    need(row.name)
    for file in row.files(tmp_path / name):
        with file.open("wb") as stream:
            stream.truncate(20 * 2**30)  # holes; nothing is stored
    with pytest.raises(ArtifactError, match="at most 2,147,483,648 are read"):
        inspect(tmp_path / name)


def test_onnx_weights_that_lie_elsewhere(
    exported: Callable[..., ExportReport], source: Source, tmp_path: Path
) -> None:
    """No hash in the manifest is theirs, whether they are a graph's or in a node of a branch."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(made("onnx", exported)))
    file = tmp_path / "x.onnx"
    onnx.save(model, str(file), save_as_external_data=True, location="w.bin", size_threshold=0)
    for call in (lambda: inspect(file), lambda: verify(file, source.module, size=32)):
        with pytest.raises(ArtifactError, match=r"in another file, 'w.bin'"):
            call()

    outside = onnx.TensorProto(name="t", data_type=1, dims=[1], data_location=1)
    outside.external_data.add(key="location", value="w.bin")
    constant = onnx.helper.make_node("Constant", [], ["c"], value=outside)
    branch = onnx.helper.make_graph([constant], "b", [], [onnx.ValueInfoProto(name="c")])
    model = onnx.load(str(made("onnx", exported)))
    choice = onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)
    model.graph.node.append(choice)
    onnx.save(model, str(file))
    with pytest.raises(ArtifactError, match=r"in another file, 'w.bin'"):
        inspect(file)

    model = onnx.load(str(made("onnx", exported)))
    function = model.functions.add(name="F", domain="d")
    function.attribute_proto.append(onnx.helper.make_attribute("value", outside))
    onnx.save(model, str(file))
    with pytest.raises(ArtifactError, match="in another file"):
        inspect(file)


@pytest.mark.parametrize("shared", ["name", "shape", "operator"])
def test_tflite_tables_that_share_what_is_long(shared: str, tmp_path: Path) -> None:
    """Offsets of many tables may lead to one text: 3 MB would be read as 200 GB."""
    need("tflite")
    from ai_edge_litert import schema_py_generated as schema
    from flatbuffers import Builder

    count, long = 200_000, b"x" * 1_000_000
    builder = Builder(0)
    text = builder.CreateString(long)
    schema.TensorStartShapeVector(builder, 50_000)
    for _ in range(50_000):
        builder.PrependInt32(7)
    axes = builder.EndVector()
    schema.TensorStart(builder)
    schema.TensorAddName(builder, text)
    if shared == "shape":
        schema.TensorAddShape(builder, axes)
    tensor = schema.TensorEnd(builder)
    schema.OperatorCodeStart(builder)
    schema.OperatorCodeAddCustomCode(builder, text)
    code = schema.OperatorCodeEnd(builder)

    def many(start: Callable[[Builder, int], int], what: int, times: int) -> int:
        start(builder, times)
        for _ in range(times):
            builder.PrependUOffsetTRelative(what)
        return int(builder.EndVector())

    operators = shared == "operator"
    tensors = many(schema.SubGraphStartTensorsVector, tensor, 1 if operators else count)
    codes = many(schema.ModelStartOperatorCodesVector, code, count if operators else 1)
    schema.BufferStart(builder)
    buffers = many(schema.ModelStartBuffersVector, schema.BufferEnd(builder), 1)
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graph = schema.SubGraphEnd(builder)
    graphs = many(schema.ModelStartSubgraphsVector, graph, 1)
    schema.ModelStart(builder)
    for add, what in (
        (schema.ModelAddOperatorCodes, codes),
        (schema.ModelAddSubgraphs, graphs),
        (schema.ModelAddBuffers, buffers),
    ):
        add(builder, what)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    file = tmp_path / "x.tflite"
    file.write_bytes(builder.Output())
    words = "50000 axes" if shared == "shape" else "together longer than the file"
    with pytest.raises(ArtifactError, match=words):
        describe_tflite(file)


def test_options_of_a_tflite_operation_that_unfold() -> None:
    """Each list holds the one below it twice: a hundred bytes, and 2^40 numbers."""
    need("tflite")
    from mobile_export.exporters.tflite.detector import _options

    made, place = bytearray([2, 1, 1, 4, 4]), 1
    for _ in range(40):
        made.append(2)
        at = len(made)
        made += bytes([at - place, at + 1 - place, 40, 40])
        place = at
    made += bytes([len(made) - place, 40, 1])
    with pytest.raises((LookupError, TypeError, ValueError)):
        _options(bytes(made))


@pytest.mark.parametrize("dims", [[10**6, 10**6], [-1, 3]])
def test_onnx_weights_of_another_size(
    exported: Callable[..., ExportReport], tmp_path: Path, dims: list[int]
) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(str(made("onnx", exported)))
    model.graph.initializer.add(name="more", data_type=1, dims=dims)
    onnx.save(model, str(tmp_path / "x.onnx"))
    with pytest.raises(ArtifactError, match=r"'more' of shape .* has 0 numbers"):
        runtime_of(get_format("onnx")).describe(tmp_path / "x.onnx")


def test_a_reader_that_needs_too_long_or_too_much(exported: Callable[..., ExportReport]) -> None:
    path = made("tnn", exported)
    row = get_format("tnn")
    with pytest.raises(ArtifactError, match="did not end in time"):
        describe_apart(row, path, limits=Limits(seconds=0.05))
    with pytest.raises(ArtifactError, match=r"cannot read|cannot be read"):
        describe_apart(row, path, limits=Limits(memory=200 * 2**20))


def test_damage_is_told_in_words(tmp_path: Path) -> None:
    """No message has the name of an exception of Python's, or what `struct` says."""
    provoked: list[Callable[[], object]] = [
        lambda: struct.unpack_from("<I", b"", 4), lambda: b"\xff".decode(), lambda: {}["x"],
        lambda: [][1], lambda: 1 // 0, lambda: len(5),  # type: ignore[arg-type]
        lambda: (5).x,  # type: ignore[attr-defined]
        lambda: next(iter(())),
        lambda: math.exp(1e9), lambda: int("x"), lambda: float("x"), lambda: _two("x"),
    ]  # fmt: skip
    for provoke in provoked:
        with pytest.raises(ArtifactError) as caught, reading(tmp_path / "x.tflite", "TFLite"):
            provoke()
        message = caught.value.message
        assert str(tmp_path / "x.tflite") in message
        assert "TFLite" in message
        assert not re.search(OF_PYTHON, message)
        assert len(message.splitlines()) == 1


OF_PYTHON = r"[A-Za-z]Error|unpack|codec|struct|StopIteration|literal|out of range|convert string"


def _two(text: str) -> tuple[str, str]:
    one, two = text.split()
    return one, two


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["half", "flipped", "empty", "zeros", "numbers"])
def test_no_reader_speaks_of_python(
    name: str, damage: str, exported: Callable[..., ExportReport], tmp_path: Path
) -> None:
    """Each file of each format, damaged: what is said is about the file."""
    for part in parts_of(made(name, exported)):
        if not part.is_file():
            continue
        _, file = next(copies(made(name, exported), tmp_path / "copy", 1))
        victim = file.parent / part.relative_to(made(name, exported).parent)
        content = part.read_bytes()
        victim.write_bytes(
            {
                "half": content[: len(content) // 2],
                "flipped": bytes(b ^ 0xFF if n < 400 and n % 7 == 0 else b
                                 for n, b in enumerate(content)),
                "empty": b"",
                "zeros": bytes(len(content)),
                "numbers": content.replace(b"0", b"x").replace(b"1", b" "),
            }[damage]
        )  # fmt: skip
        try:
            runtime_of(get_format(name)).describe(file)
            said = ""
        except MobileExportError as error:
            said = error.message
        assert not re.search(OF_PYTHON, said), said
