"""Names of classes inside files: exchanged in the file's own bytes, they fail."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mobile_export import api
from mobile_export.artifacts.names import manifest_path
from mobile_export.detection.options import NmsOptions
from mobile_export.errors import MobileExportError
from mobile_export.exporters.coreml.options import CoreMLOptions
from mobile_export.exporters.tflite.options import TFLiteOptions
from mobile_export.parity.names import names_of_json
from mobile_export.parity.report import ParityReport
from tests.conftest import TinyDetector, TinyNet, make_source, need, sampled

IN_COREML = "Data/com.apple.CoreML/model.mlmodel"
LABELS = tuple(f"class {index}" for index in range(10))
CLASSIFIER = {"coreml": CoreMLOptions(classifier=True)}
OLD, NEW = b"class 3", b"class 4"


class Segmenter(nn.Module):
    """Logits of ten classes for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3, 1, 1)

    def forward(self, x: Any) -> Any:
        return self.conv(x)


def exchange(file: Path) -> None:
    """Two names of equal length change places in the bytes."""
    content = file.read_bytes()
    assert OLD in content
    assert NEW in content
    between = b"nobody's"
    assert between not in content
    file.write_bytes(content.replace(OLD, between).replace(NEW, OLD).replace(between, NEW))


def exchange_behind(file: Path) -> None:
    """The same in the archive behind a TFLite file, which has a checksum."""
    with zipfile.ZipFile(file) as archive:
        (member,) = archive.infolist()
        text = archive.read(member)
        start = member.header_offset
    file.write_bytes(file.read_bytes()[:start])
    with zipfile.ZipFile(file, "a") as archive:
        lines = text.split(b"\n")
        lines[3], lines[4] = lines[4], lines[3]
        archive.writestr(member.filename, b"\n".join(lines))


def exchange_inside(package: Path) -> None:
    exchange(package / IN_COREML)


def exchange_in_metadata(package: Path) -> None:
    """Of all that a package says, the one list that is JSON for us."""
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString((package / IN_COREML).read_bytes())
    facts = model.description.metadata.userDefined
    names = json.loads(facts["mobile_export.labels"])
    names[3], names[4] = names[4], names[3]
    facts["mobile_export.labels"] = json.dumps(names)
    (package / IN_COREML).write_bytes(model.SerializeToString())


CASES = {
    "onnx": ("onnx", TinyNet, {}, exchange, "its metadata"),
    "tflite": ("tflite", TinyNet, {}, exchange_behind, "its labels.txt"),
    "coreml": ("coreml", TinyNet, {}, exchange_in_metadata, "its metadata"),
    "coreml classifier": ("coreml", TinyNet, CLASSIFIER, exchange_inside, "its classifier"),
    "coreml preview": (
        "coreml",
        Segmenter,
        {"coreml": CoreMLOptions(image_input=True)},
        exchange_inside,
        "its preview for Xcode",
    ),
    "onnx detector": ("onnx", TinyDetector, {"nms": NmsOptions()}, exchange, "its metadata"),
    "tflite detector": (
        "tflite", TinyDetector, {"nms": NmsOptions()}, exchange_behind, "its labels.txt",
    ),
    "coreml detector": (
        "coreml", TinyDetector, {"nms": NmsOptions()}, exchange_inside, "its suppression",
    ),
}  # fmt: skip


ALWAYS = [CASES[key] for key in ("onnx", "coreml classifier", "tflite detector", "coreml detector")]


@pytest.mark.parametrize(
    ("name", "kind", "options", "damage", "where"),
    sampled(CASES.values(), ALWAYS.__contains__),
    ids=CASES,
)
def test_exchanged_names_fail(
    tmp_path: Path,
    name: str,
    kind: type[nn.Module],
    options: dict[str, Any],
    damage: Callable[[Path], None],
    where: str,
) -> None:
    """Beside its manifest, and without one where the user says the names."""
    need(name)
    module = make_source(kind(), size=(64, 64)).module  # seeded
    labels = LABELS[:5] if kind is TinyDetector else LABELS
    report = api.export(module, [name], tmp_path, name="tiny", size=64, labels=labels, **options)
    assert report.exit_code == 0
    path = report.artifacts[0].path
    assert path is not None
    assert said(verified(path, module)) == []
    damage(path)
    wrong = f"wrong names of classes in {where}: class 3 is 'class 4', not 'class 3' (2 of "
    beside = verified(path, module)
    assert not beside.passed
    assert any(note.startswith(wrong) for note in said(beside))
    manifest_path(path).unlink()
    alone = verified(path, module, labels=labels)
    assert not alone.passed
    assert any(note.startswith(wrong) for note in said(alone))


def lose_in_onnx(file: Path) -> None:
    import onnx

    model = onnx.load(str(file))
    del model.metadata_props[:]
    onnx.save(model, str(file))


def lose_behind(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        (member,) = archive.infolist()
    file.write_bytes(file.read_bytes()[: member.header_offset])


def lose_in_package(package: Path) -> None:
    from coremltools.proto import Model_pb2

    model = Model_pb2.Model()
    model.ParseFromString((package / IN_COREML).read_bytes())
    model.description.metadata.userDefined.clear()
    (package / IN_COREML).write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("name", "damage"),
    [("onnx", lose_in_onnx), ("tflite", lose_behind), ("coreml", lose_in_package)],
)
def test_lost_names_fail(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    """The manifest says that the file was written with them."""
    need(name)
    module = make_source(TinyNet(), size=(64, 64)).module
    report = api.export(module, [name], tmp_path, name="tiny", size=64, labels=LABELS)
    path = report.artifacts[0].path
    assert path is not None
    damage(path)
    beside = verified(path, module)
    assert not beside.passed
    assert said(beside) == ["wrong names of classes: the file has none, and was written with 10"]
    manifest_path(path).unlink()
    assert verified(path, module).passed  # somebody else's file may have none


def test_a_file_that_never_had_names_lost_none(tmp_path: Path) -> None:
    """TFLite's metadata have no place for names in a file with channels first."""
    need("tflite")
    module = make_source(TinyNet(), size=(64, 64)).module
    first = TFLiteOptions(layout="nchw")
    report = api.export(module, ["tflite"], tmp_path, size=64, labels=LABELS, tflite=first)
    path = report.artifacts[0].path
    assert path is not None
    assert not zipfile.is_zipfile(path)
    checked = verified(path, module)
    assert checked.passed
    assert said(checked) == []


@pytest.mark.parametrize("name", ["ncnn", "tnn"])
def test_formats_without_a_place_for_names_need_none(tmp_path: Path, name: str) -> None:
    need(name)
    module = make_source(TinyNet(), size=(64, 64)).module
    report = api.export(module, [name], tmp_path, name="tiny", size=64, labels=LABELS)
    path = report.artifacts[0].path
    assert path is not None
    assert verified(path, module).passed


def verified(path: Path, module: nn.Module, **options: Any) -> ParityReport:
    return api.verify(path, module, size=64, **options).parity


def said(parity: ParityReport) -> list[str]:
    return [note for note in parity.notes if "names" in note]


def test_without_manifest_the_order_of_names_that_the_model_has(tmp_path: Path) -> None:
    """ImageNet's in another order fail; the user's own thousand names are nobody's business."""
    need("onnx")
    import onnx

    module = make_source(TinyNet(1000)).module
    report = api.export(module, ["onnx"], tmp_path, name="tiny", size=32)
    path = report.artifacts[0].path
    assert path is not None
    manifest_path(path).unlink()
    model = onnx.load(str(path))
    (entry,) = [each for each in model.metadata_props if each.key == "labels"]
    names = json.loads(entry.value)
    for written, passed in (
        (names, True),
        ([*names[1:], names[0]], False),
        ([f"own {index}" for index in range(1000)], True),
    ):
        entry.value = json.dumps(written)
        onnx.save(model, str(path))
        assert api.verify(path, module, size=32).parity.passed is passed


def test_damaged_archive_of_names_is_said(tmp_path: Path) -> None:
    need("tflite")
    module = make_source().module
    report = api.export(module, ["tflite"], tmp_path, name="tiny", size=32, labels=LABELS)
    path = report.artifacts[0].path
    assert path is not None
    content = path.read_bytes()
    path.write_bytes(content.replace(OLD, NEW))  # not what its checksum says
    with pytest.raises(MobileExportError, match="is damaged, or is no TFLite file: Bad CRC"):
        api.verify(path, module, size=32)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"a": "b"}', "[" * 100_000])
def test_what_is_no_list_of_names_is_one_name(text: str) -> None:
    assert names_of_json(text) == (text,)
    assert names_of_json(text, key="labels") == (text,)


def test_names_as_json() -> None:
    assert names_of_json('["a", "ü"]') == ("a", "ü")
    assert names_of_json('{"labels": ["a", "b"], "colors": ["#fff"]}', key="labels") == ("a", "b")
