"""TFLite files: layouts, names, weights in float16."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mobile_export.api import export
from mobile_export.exporters.tflite.options import TFLiteOptions
from mobile_export.graph.capture import trace
from mobile_export.graph.specs import OutputSpec
from mobile_export.pipeline import ExportReport
from mobile_export.sources.table import Source
from tests.conftest import MultiOutput, load_file, make_source, write_file

litert = pytest.importorskip("ai_edge_litert.interpreter")
pytest.importorskip("litert_torch")


def run(path: Path, image: np.ndarray) -> dict[str, np.ndarray]:
    interpreter = litert.Interpreter(str(path))
    return dict(interpreter.get_signature_runner("serving_default")(image=image))


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_layout_of_the_input(
    layout: str, exported: Callable[..., ExportReport], source: Source
) -> None:
    path = exported("tflite", tflite=TFLiteOptions(layout=layout)).artifacts[0].path
    image = torch.randn(source.input.shape)
    fed = image.permute(0, 2, 3, 1) if layout == "nhwc" else image
    with torch.no_grad():
        expected = source.module(image).numpy()
    got = run(path, np.ascontiguousarray(fed))
    assert list(got) == ["logits"]
    np.testing.assert_allclose(got["logits"], expected, atol=1e-5)


def test_float16_weights_halve_the_file(exported: Callable[..., ExportReport]) -> None:
    from mobile_export.api import inspect

    full, half = (exported("tflite", precision=p).artifacts[0] for p in ("fp32", "fp16"))
    assert half.parity.passed
    assert half.parity.precision == "fp16"
    assert inspect(half.path)["precision"] == "fp16"
    assert inspect(full.path)["precision"] == "fp32"
    assert half.parity.max_rel > full.parity.max_rel  # the rounding is real


def test_stored_tensors_are_not_called_as_our_modules(
    exported: Callable[..., ExportReport],
) -> None:
    """Notes name them; litert-torch has the name of the module that it was given for most."""
    path = exported("tflite").artifacts[0].path
    assert path is not None
    session = load_file("tflite", path, (OutputSpec("logits", (1, 10)),))
    named = [name for name, _ in session.stored_weights()]
    assert len(named) > 3
    assert not [name for name in named if not name or "mobile_export" in name]


def test_a_product_of_stacks_behind_a_layer_norm(tmp_path: Path) -> None:
    """MViT: the product is rewritten by its operands' shapes, and the norm before it was, too."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(6, elementwise_affine=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.norm(x.reshape(1, 3, 6, 6))
            return y @ y.transpose(2, 3).softmax(-1)

    report = export(Net().eval(), ("tflite",), tmp_path, name="net", size=6, channels=3)
    assert report.artifacts[0].parity.passed


def test_a_linear_layer_of_a_map_of_one_pixel(tmp_path: Path) -> None:
    """litert-torch by itself refuses it ("found invalid output rank, expected 3 but got 4")."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 16, 1)
            self.linear = torch.nn.Linear(16, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.linear(self.conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    torch.manual_seed(0)
    report = export(Net().eval(), ("tflite",), tmp_path, name="net", size=1, channels=3)
    assert report.artifacts[0].parity.passed


@pytest.mark.parametrize("rank", [1, 2])
def test_convolutions_of_a_product(tmp_path: Path, rank: int) -> None:
    """litert-torch by itself refuses them ("found invalid output rank")."""

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 8, 1)
            self.row = torch.nn.Conv1d(3, 6, 3, padding=2, dilation=2, groups=3)
            self.rows = torch.nn.Conv2d(3, 6, (1, 3), padding=(0, 2), dilation=2, groups=3)
            self.last = torch.nn.Conv2d(6, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.first(x).flatten(2)
            state = x.flatten(2) @ tokens.transpose(1, 2)
            state = self.row(state) if rank == 1 else self.rows(state[:, :, None]).squeeze(2)
            return self.last((state @ tokens).reshape(1, 6, 16, 16))

    torch.manual_seed(0)
    report = export(Net().eval(), ("tflite",), tmp_path, name="net", size=16, channels=3)
    assert report.artifacts[0].parity.passed


@pytest.mark.parametrize(("padding", "output_padding"), [(1, 0), (1, 1), ((2, 1), (1, 0))])
def test_transposed_convolutions_with_padding(
    tmp_path: Path, padding: Any, output_padding: Any
) -> None:
    """litert-torch by itself refuses them ("failed to legalize mhlo.convolution")."""
    conv = torch.nn.ConvTranspose2d(
        3, 4, 5, stride=2, padding=padding, output_padding=output_padding
    )
    source = make_source(conv, size=(7, 9))
    write_file("tflite", trace(source), tmp_path / "a.tflite", precision="fp32")
    image = torch.randn(source.input.shape)
    got = run(tmp_path / "a.tflite", np.ascontiguousarray(image.permute(0, 2, 3, 1)))
    with torch.no_grad():
        expected = source.module(image).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(got["logits"], expected, atol=1e-5)


@pytest.mark.parametrize(("groups", "features"), [(6, 6), (2, 4)])
def test_convolutions_of_clips_in_groups(tmp_path: Path, groups: int, features: int) -> None:
    """X3D's; litert-torch 0.10's converter dies of them (signal 11)."""
    layers = torch.nn.Sequential(
        torch.nn.Conv3d(3, 6, 1),
        torch.nn.Conv3d(6, features, (3, 3, 2), (2, 1, 2), (1, 2, 0), (1, 2, 1), groups=groups),
    ).eval()
    images = make_source()
    source = replace(images, module=layers, input=replace(images.input, shape=(1, 3, 5, 8, 8)))
    write_file("tflite", trace(source), tmp_path / "a.tflite", precision="fp32")
    clip = torch.randn(source.input.shape)
    got = run(tmp_path / "a.tflite", np.ascontiguousarray(clip.movedim(1, -1)))
    with torch.no_grad():
        expected = layers.double()(clip.double()).numpy()
    np.testing.assert_allclose(got["logits"], expected, atol=1e-5)


def test_a_clip_has_its_channels_last(tmp_path: Path) -> None:
    class Clip(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1, 2).mean((2, 3))

    images = make_source()
    shape = replace(images.input, shape=(1, 3, 4, 8, 8))
    source = replace(images, module=Clip().eval(), input=shape)
    write_file("tflite", trace(source), tmp_path / "a.tflite", precision="fp32")
    clip = torch.randn(source.input.shape)
    got = run(tmp_path / "a.tflite", np.ascontiguousarray(clip.movedim(1, -1)))
    np.testing.assert_allclose(got["logits"], source.module(clip).numpy(), atol=1e-6)


def test_rank_4_outputs_follow_the_layout(tmp_path: Path) -> None:
    source = make_source(MultiOutput())
    program = trace(source)
    write_file("tflite", program, tmp_path / "a.tflite", precision="fp32")
    image = torch.randn(1, 3, 32, 32)
    got = run(tmp_path / "a.tflite", np.ascontiguousarray(image.permute(0, 2, 3, 1)))
    with torch.no_grad():
        expected = source.module(image)
    assert set(got) == {"out", "features"}
    assert got["features"].shape == (1, 32, 32, 6)
    np.testing.assert_allclose(got["features"], expected["features"].permute(0, 2, 3, 1), atol=1e-5)
    np.testing.assert_allclose(got["out"], expected["out"], atol=1e-5)


def test_weights_that_are_not_contiguous_stay_apart(tmp_path: Path) -> None:
    """litert-torch by itself stores some of these weights in the place of others."""

    class Products(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [(24, 32)] * 12
            for index, size in enumerate(sizes):
                self.register_buffer(f"w{index}", torch.randn(size).t())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(1, 2)
            return torch.stack([rows @ w.expand(1, -1, -1) for _, w in self.named_buffers()])

    source = make_source(Products(), size=(4, 32))
    program = trace(source).in_float32()
    write_file("tflite", program, tmp_path / "a.tflite", precision="fp32")
    image = torch.randn(source.input.shape)
    got = run(tmp_path / "a.tflite", np.ascontiguousarray(image.permute(0, 2, 3, 1)))
    with torch.no_grad():
        expected = source.module(image).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(got["logits"], expected, atol=1e-4)


class _Sorts(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows = x.reshape(3, 40, 32)
        return rows.sort(1)[0], rows.flatten(1).topk(5, largest=False)[1]


def test_sorting_is_top_k(tmp_path: Path) -> None:
    """LiteRT has no STABLEHLO_SORT; NumPy's stable sort is the reference."""
    path = tmp_path / "m.tflite"
    write_file("tflite", trace(make_source(_Sorts(), (40, 32))), path)
    image = torch.randint(0, 256, (1, 40, 32, 3), generator=torch.Generator().manual_seed(0))
    rows = image.permute(0, 3, 1, 2).numpy().astype(np.float32).reshape(3, 40, 32)
    values, places = run(path, image.float().numpy()).values()
    assert np.array_equal(values, np.sort(rows, axis=1))
    expected = np.argsort(rows.reshape(3, -1), axis=1, kind="stable")[:, :5]
    assert np.array_equal(places, expected)


class _Part(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, 1:] * x[:, :1]


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_an_image_as_high_and_wide_as_it_has_channels(layout: str, tmp_path: Path) -> None:
    """The shape does not tell the layout; the file does, and the check feeds it so."""
    report = export(
        _Part(),
        formats=["tflite"],
        out_dir=tmp_path,
        size=3,
        name="cube",
        tflite=TFLiteOptions(layout=layout),
    )
    assert report.artifacts[0].parity.passed
    image = np.random.default_rng(0).random((1, 3, 3, 3), np.float32)
    fed = np.ascontiguousarray(image.transpose(0, 2, 3, 1)) if layout == "nhwc" else image
    got = next(iter(run(report.artifacts[0].path, fed).values()))
    got = got.transpose(0, 3, 1, 2) if layout == "nhwc" else got
    np.testing.assert_allclose(got, image[:, 1:] * image[:, :1], rtol=1e-6)


class Same(torch.nn.Module):
    """Returns its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[1:]).unsqueeze(0)


def test_a_file_without_an_operation(tmp_path: Path) -> None:
    report = export(Same(), "tflite", tmp_path, size=8, tflite=TFLiteOptions(layout="nchw"))
    [artifact] = report.artifacts
    assert artifact.parity.passed
