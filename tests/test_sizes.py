"""Files that take images of several sizes: right at each, and at others where axes are free."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export import export
from mobile_export.api import prepare, verify
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.errors import ExportError, UsageError
from mobile_export.graph.capture import trace
from mobile_export.graph.free_axes import unnamed_sizes, with_free_axes
from mobile_export.parity.reference import make_reference
from mobile_export.parity.samples import parity_samples
from mobile_export.passes import run_passes
from mobile_export.pipeline import ExportReport
from mobile_export.sources.request import ModelRequest

from .conftest import TinyNet, load_source, make_source

SIZES = ((32, 32), (48, 48))


class Mapped(nn.Module):
    """Attention over the map's places, and a result of the image's own size."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, 2, 1)
        self.head = nn.Conv2d(8, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.down(x).relu()
        tokens = y.flatten(2).transpose(1, 2)
        tokens = (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens
        y = y + tokens.transpose(1, 2).reshape(y.shape)
        return nn.functional.interpolate(self.head(y), size=x.shape[-2:], mode="bilinear")


class Placed(nn.Module):
    """Adds a table of places that is interpolated to the size of its map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 4, 4)
        self.places = nn.Parameter(torch.randn(1, 8, 4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.stem(x)
        places = nn.functional.interpolate(self.places, size=y.shape[-2:], mode="bicubic")
        return (y + places).relu().mean((2, 3))


class Tall(nn.Module):
    """Divides by its height, a number that no tensor's extent gives back."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) / (x.shape[2] ** 2 + 3)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return Mapped().eval()


@pytest.fixture(scope="module")
def report(net: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    folder = tmp_path_factory.mktemp("sizes")
    return export(net, None, folder, name="net", precision="fp32", size=SIZES)


def path_of(report: ExportReport, name: str) -> Path:
    (found,) = (each.path for each in report.artifacts if each.format == name)
    assert found is not None
    return found


def test_formats_with_several_sizes_write_one_file_and_the_others_say_so(
    report: ExportReport,
) -> None:
    found = {each.format: each.parity for each in report.artifacts}
    assert {name: parity.status for name, parity in found.items()} == {
        "onnx": "passed",
        "coreml": "passed",
        "tflite": "passed",
        "ncnn": "passed",
    }
    assert found["tflite"].sizes == ("32x32", "48x48")
    assert found["coreml"].sizes == ("32x32", "48x48")
    assert found["onnx"].sizes == ("32x32", "48x48", "32x48", "48x32", "64x64")
    assert found["ncnn"].sizes == found["onnx"].sizes
    assert list(report.skipped) == ["tnn"]


def test_onnx_takes_sizes_that_nobody_named(report: ExportReport, net: nn.Module) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(
        str(path_of(report, "onnx")), providers=["CPUExecutionProvider"]
    )
    assert session.get_inputs()[0].shape == [1, 3, "height", "width"]
    image = torch.randn(1, 3, 80, 36, generator=torch.Generator().manual_seed(0))
    (got,) = session.run(None, {"image": image.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(got, net(image).numpy(), atol=1e-5)


def test_ncnn_takes_sizes_that_nobody_named(report: ExportReport, net: nn.Module) -> None:
    import ncnn

    path = path_of(report, "ncnn")
    loaded = ncnn.Net()
    for option in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic"):
        setattr(loaded.opt, option, False)
    assert not loaded.load_param(str(path))
    assert not loaded.load_model(str(path.with_suffix(".bin")))
    image = torch.randn(1, 3, 80, 36, generator=torch.Generator().manual_seed(0))
    extractor = loaded.create_extractor()
    extractor.input("image", ncnn.Mat(image[0].numpy()).clone())
    status, got = extractor.extract("logits")
    assert not status
    with torch.no_grad():
        np.testing.assert_allclose(np.array(got), net(image)[0].numpy(), atol=1e-5)
    manifest = read_manifest(path)
    assert [each.size for each in manifest.sizes] == list(SIZES)
    assert manifest.interface is not None
    assert manifest.interface.inputs[0].shape == (3, None, None)
    assert verify(path, net).parity.passed


def test_tflite_has_a_signature_for_each_size_and_weights_once(
    report: ExportReport, net: nn.Module
) -> None:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path_of(report, "tflite")))
    assert list(interpreter.get_signature_list()) == ["serving_default", "size_48x48"]
    image = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    runner = interpreter.get_signature_runner("size_48x48")
    (got,) = runner(image=image.permute(0, 2, 3, 1).contiguous().numpy()).values()
    with torch.no_grad():
        np.testing.assert_allclose(got.transpose(0, 3, 1, 2), net(image).numpy(), atol=1e-5)
    content = path_of(report, "tflite").read_bytes()
    weight = net.down.weight.detach().permute(0, 2, 3, 1).numpy().tobytes()  # type: ignore[union-attr,operator]
    assert content.count(weight) == 1


def test_core_ml_lists_the_shapes(report: ExportReport) -> None:
    import coremltools

    package = coremltools.models.MLModel(str(path_of(report, "coreml")), skip_model_load=True)
    kind = package.get_spec().description.input[0].type.multiArrayType
    listed = [tuple(each.shape) for each in kind.enumeratedShapes.shapes]
    assert sorted(listed) == [(1, 3, 32, 32), (1, 3, 48, 48)]


def test_manifests_have_every_size_and_verify_checks_them(
    report: ExportReport, net: nn.Module
) -> None:
    manifest = read_manifest(path_of(report, "tflite"))
    assert [each.size for each in manifest.sizes] == list(SIZES)
    assert [each.signature for each in manifest.sizes] == ["serving_default", "size_48x48"]
    assert manifest.sizes[1].expected.outputs[0].shape == (1, 4, 48, 48)
    assert manifest.sizes[0].expected == manifest.expected
    found = verify(path_of(report, "tflite"), net)
    assert found.parity.passed
    assert found.parity.sizes == ("32x32", "48x48")
    interface = read_manifest(path_of(report, "onnx")).interface
    assert interface is not None
    assert interface.inputs[0].shape == (1, 3, None, None)
    assert interface.inputs[0].layout == "NCHW"


@pytest.mark.parametrize("make", [Placed, Tall])
def test_a_graph_that_depends_on_the_size_is_refused_by_its_node(
    make: Callable[[], nn.Module],
) -> None:
    made = []
    for size in SIZES:
        source = make_source(make(), size)
        reference = make_reference(source.module, parity_samples(source.input)[:1])
        made.append(run_passes(trace(source), reference)[0])
    with pytest.raises(ExportError, match="depends on the size of its image: ") as caught:
        with_free_axes(made)
    assert "(" in caught.value.message  # the node's name
    assert "one `size` at a time" in str(caught.value.hint)


def test_what_was_found_by_chance_is_not_taken_at_other_sizes() -> None:
    """Height and width of squares are alike, so that one may be taken for the other."""

    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(1, 3 * x.shape[3], x.shape[2]).relu()

    made = [trace(make_source(Turned(), size)) for size in ((8, 8), (12, 12), (8, 12))]
    free = with_free_axes(made).module()
    image = torch.randn(1, 3, 10, 14)
    torch.testing.assert_close(free(image)[0], Turned()(image))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (((224, 224), (320, 320)), ((224, 320), (320, 224), (256, 256))),
        (((64, 96), (128, 96)), ((192, 96),)),
        (((64, 64),), ()),
    ],
)
def test_sizes_between_and_beside_those_that_were_named(sizes: Any, expected: Any) -> None:
    assert unnamed_sizes(sizes)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"size": ((32, 32), (32, 32))}, "32x32 more than once"),
        ({"size": ((32, 32), (0, 32))}, "`size` 0x32 is not a size"),
        ({"size": ((32, 32), (10**5, 10**5))}, "pixels"),
        ({"size": tuple((n, n) for n in range(1, 11))}, "names 10 sizes"),
        ({"formats": "tnn"}, "A TNN file takes images of one size"),
    ],
)
def test_bad_sizes_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    given = {"formats": "onnx", "size": SIZES, **options}
    with pytest.raises(UsageError, match=said):
        export(TinyNet().eval(), given.pop("formats"), tmp_path, **given)


def test_sizes_that_a_built_in_model_does_not_take_are_refused() -> None:
    with pytest.raises(UsageError, match="lite_mono_tiny cannot take images of 100x320"):
        load_source("lite_mono_tiny", size=((192, 320), (100, 320)))
    assert ModelRequest.of("emo_1m", size=[[64, 96], [96, 64]]).sizes == ((64, 96), (96, 64))


def test_several_sizes_are_for_written_files() -> None:
    with pytest.raises(UsageError, match="several are taken where a file is written"):
        prepare(TinyNet().eval(), size=SIZES)
