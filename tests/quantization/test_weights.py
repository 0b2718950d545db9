"""Files whose weights alone are integers: what they store, what they compute, and damaged ones.

Covers the exporters' ``weights.py`` and what `quantization.judge` asks of such files.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mobile_export
from mobile_export.artifacts.manifest import read_manifest
from mobile_export.errors import UsageError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.interface import loader_of
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.graph.specs import OutputSpec
from mobile_export.parity.samples import Sample
from mobile_export.pipeline import ExportReport, export_program
from mobile_export.quantization.palettes import nearest_entries, palette_of
from tests.conftest import need, sampled
from tests.test_pipeline import make_source

from . import test_export as static
from .nets import Net, net

PRECISIONS = ("int8-weights", "int8-dynamic", "palette4", "palette6")

FILES = [
    (row.name, precision.name)
    for row in FORMATS
    for precision in row.precisions
    if precision.name in PRECISIONS
]


def write(name: str, precision: str, folder: Path) -> ExportReport:
    need(name)
    config = ExportConfig(out_dir=folder, precision=precision, force=True)
    source = make_source(net(), size=32)
    return export_program(lambda: source, "net", [get_format(name)], config)


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, ExportReport, Path]:
    name, precision = request.param
    folder = tmp_path_factory.mktemp("weights")
    report = write(name, precision, folder)
    assert report.artifacts[0].parity.faithful
    return name, report, folder


def test_the_file_is_faithful(written: tuple[str, ExportReport, Path]) -> None:
    _, report, _ = written
    (artifact,) = report.artifacts
    assert artifact.parity.faithful
    assert artifact.path is not None
    facts = mobile_export.inspect(str(artifact.path))
    assert facts["precision"] == artifact.precision
    assert read_manifest(artifact.path).precision == artifact.precision in PRECISIONS


def rounded(module: torch.nn.Module, stored: dict[tuple[int, ...], Any]) -> torch.nn.Module:
    """The model in float64 with the weights that a file stores, each found by its elements."""
    exact = module.double()
    with torch.no_grad():
        for layer in exact.modules():
            if not isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                continue
            near = stored.get((len(layer.weight), layer.weight.numel()))
            if near is not None:  # a palette leaves what has fewer weights than it has values
                layer.weight.copy_(near(layer.weight))
    return exact


def test_it_computes_with_the_integers_that_it_stores(
    written: tuple[str, ExportReport, Path],
) -> None:
    """Eager PyTorch in float64, whose weights are the file's integers times its scales.

    Each channel's integers are found by their order: rounding keeps it.
    """
    name, report, _ = written
    path = report.artifacts[0].path
    assert path is not None
    session = loader_of(get_format(name), None)(path, (OutputSpec("logits", (1, 10)),))
    stored: dict[tuple[int, ...], Any] = {}
    for values in session.looked_up():
        stored[len(values), values.size] = functools.partial(same_order, values)
    for each in session.stored_integers():
        count = len(each.scales)
        stored[count, each.value.size] = NearestWeights(each.value, np.asarray(each.scales))
    exact = rounded(net(), stored)
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1
    sample = Sample("image", image)
    (got,) = session.run(sample)
    dynamic = report.artifacts[0].precision == "int8-dynamic"
    with torch.no_grad():
        floats = exact(image.double()).numpy()
        for layer in exact.modules():
            if dynamic and isinstance(layer, torch.nn.Conv2d | torch.nn.Linear):
                layer.register_forward_pre_hook(round_input)
        wanted = exact(image.double()).numpy()
        original = net().double()(image.double()).numpy()
    largest = np.abs(wanted).max()
    if dynamic:  # a few roundings may fall on the other side
        assert np.abs(got - wanted).max() < 0.5 * np.abs(got - floats).max()
    else:
        assert np.abs(got - wanted).max() <= 1e-5 * largest
    assert np.abs(got - original).max() > 1e-4 * largest


def round_input(layer: torch.nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
    """PyTorch's own rounding to 8 bits between the least and the largest element."""
    (x,) = given
    least, most = x.min().clamp(max=0), x.max().clamp(min=0)
    scale = float((most - least) / 255)
    zero = round(-128 - float(least) / scale)
    return (torch.fake_quantize_per_tensor_affine(x, scale, zero, -128, 127),)


def same_order(values: np.ndarray, weight: torch.Tensor) -> torch.Tensor:
    """The elements of ``values`` in the order of those of ``weight``."""
    result = torch.empty(weight.numel(), dtype=torch.float64)
    result[torch.argsort(weight.reshape(-1))] = torch.from_numpy(
        np.sort(values, axis=None)
    ).double()
    return result.reshape(weight.shape)


class NearestWeights:
    """What a file's integers stand for, as the weights of a layer."""

    def __init__(self, integers: np.ndarray, scales: np.ndarray) -> None:
        self.values = sorted_channels(integers, scales)

    def __call__(self, weight: torch.Tensor) -> torch.Tensor:
        rows = weight.detach().reshape(len(weight), -1)
        result = torch.empty_like(rows)
        for index, row in enumerate(rows):
            order = torch.argsort(row)
            ranked = [torch.from_numpy(each) for each in self.values]
            off = [float((row[order] - each).abs().max()) for each in ranked]
            result[index, order] = ranked[int(np.argmin(off))]
        return result.reshape(weight.shape)


def sorted_channels(integers: np.ndarray, scales: np.ndarray) -> list[np.ndarray]:
    """The values of each output channel, sorted, whatever the layout."""
    axes = [axis for axis, size in enumerate(integers.shape) if size == len(scales)]
    found = []
    for axis in axes:
        rows = np.moveaxis(integers, axis, 0).reshape(len(scales), -1).astype(np.float64)
        found += list(np.sort(rows * scales[:, None], axis=1))
    return found


DAMAGES = ("scaled_weight", "scale", "zero_point", "channels", "pad", "bias")


def tflite_integers(model: Any) -> list[Any]:
    """The stored tensors of 8 bits with scales."""
    found = [each for each in model.subgraphs[0].tensors if each.type == 9]
    assert all(len(each.quantization.scale) for each in found)
    return found


def largest(model: Any) -> Any:
    return max(tflite_integers(model), key=lambda each: len(model.buffers[each.buffer].data))


def tflite_scaled_weight(model: Any) -> None:
    buffer = model.buffers[largest(model).buffer]
    buffer.data = (np.asarray(buffer.data).view(np.int8) // 2).view(np.uint8)


def tflite_scale(model: Any) -> None:
    found = largest(model).quantization
    found.scale = np.asarray(found.scale) * np.float32(1.01)


def tflite_zero_point(model: Any) -> None:
    found = largest(model).quantization
    found.zeroPoint = np.asarray(found.zeroPoint) + 1


def tflite_channels(model: Any) -> None:
    tensor = next(each for each in tflite_integers(model) if list(each.shape) == [8, 1, 1, 16])
    buffer = model.buffers[tensor.buffer]
    buffer.data = np.asarray(buffer.data).reshape(8, 16)[:, ::-1].reshape(-1).copy()


tflite_pad = static.tflite_pad
tflite_bias = static.tflite_bias
onnx_channels = static.onnx_channels
onnx_pad = static.onnx_pad


def onnx_largest(model: Any) -> tuple[Any, int]:
    """The node that reads the largest tensor of integers, and the place of it."""
    sizes = {t.name: np.prod(t.dims) for t in model.graph.initializer if t.data_type == 3}
    readers = [(n, i) for n in model.graph.node for i, name in enumerate(n.input) if name in sizes]
    return max(readers, key=lambda pair: sizes[pair[0].input[pair[1]]])


def onnx_scaled_weight(model: Any) -> None:
    node, place = onnx_largest(model)
    name = node.input[place]
    static.store(model, name, static.integers_of(model, name) // 2)


def onnx_scale(model: Any) -> None:
    """Of a layer of integers: what its sums are multiplied by."""
    node, _ = onnx_largest(model)
    if node.op_type == "DequantizeLinear":
        name = node.input[1]
    else:
        stored = {t.name for t in model.graph.initializer}
        cast = next(n for n in model.graph.node if node.output[0] in n.input)
        scaled = next(n for n in model.graph.node if cast.output[0] in n.input)
        product = next(n for n in model.graph.node if n.output[0] == scaled.input[1])
        name = next(each for each in product.input if each in stored)
    static.store(model, name, static.integers_of(model, name) * np.float32(1.01))


def onnx_bias(model: Any) -> None:
    """Zeros in the place of one."""
    stored = {t.name for t in model.graph.initializer}
    found = next(
        name
        for node in model.graph.node
        for name in node.input
        if node.op_type in ("Conv", "Add") and "bias" in name and name in stored
    )
    static.store(model, found, np.zeros_like(static.integers_of(model, found)))


def onnx_zero_point(model: Any) -> None:
    from onnx.numpy_helper import from_array

    node, _ = onnx_largest(model)
    wide = node.op_type == "DequantizeLinear"
    shape = static.integers_of(model, node.input[1]).shape if wide else ()
    model.graph.initializer.append(from_array(np.ones(shape, np.int8), "another_zero"))
    del node.input[2 if wide else 3 :]
    node.input.append("another_zero")


coreml_scaled_weight = static.coreml_scaled_weight
coreml_scale = static.coreml_scale
coreml_channels = static.coreml_channels
coreml_pad = static.coreml_pad
coreml_bias = static.coreml_bias


def coreml_zero_point(model: static.MilFile) -> None:
    value = model.constant(static.largest_weight(model)[0], "zero_point")
    tensor = value.immediateValue.tensor.bytes
    tensor.values = bytes([1] * len(tensor.values))


def palettes(model: static.MilFile) -> list[tuple[np.ndarray, np.ndarray, list[int]]]:
    """The tables of a package, their packed indices, and the shapes of what is looked up."""
    found = []
    for each in model.of("constexpr_lut_to_dense"):
        table = model.array(model.constant(each, "lut"), np.float32)
        indices = model.array(model.constant(each, "indices"), np.uint8)
        (output,) = each.outputs
        dims = [d.constant.size for d in output.type.tensorType.dimensions]
        found.append((table, indices, dims))
    return found


def palette_scaled_weight(model: static.MilFile) -> None:
    table, _, _ = max(palettes(model), key=lambda each: each[1].size)
    table[:] = table / 2


def palette_scale(model: static.MilFile) -> None:
    """One value of one table."""
    table, _, _ = palettes(model)[0]
    table[3] *= np.float32(1.01)


def palette_zero_point(model: static.MilFile) -> None:
    """Every index is the next one."""
    _, indices, _ = palettes(model)[0]
    indices[:] = indices ^ 1


def palette_channels(model: static.MilFile) -> None:
    """As `static.onnx_channels`, of indices that are bytes or halves of them."""
    indices = next(packed for _, packed, dims in palettes(model) if dims == [8, 16, 1, 1])
    size = len(indices) * 8 // 128
    bits = np.unpackbits(indices, bitorder="little").reshape(8, 16, size)
    indices[:] = np.packbits(bits[:, ::-1].reshape(-1), bitorder="little")


palette_pad = static.coreml_pad
palette_bias = static.coreml_bias


def change(name: str, path: Path, damage: str, precision: str = "") -> None:
    """Write a file again that is damaged."""
    kind = "palette" if "palette" in precision else name
    edit = globals()[f"{kind}_{damage}"]
    if name == "onnx":
        import onnx

        model = onnx.load(str(path))
        edit(model)
        onnx.save(model, str(path))
    elif name == "coreml":
        package = static.MilFile(path)
        edit(package)
        package.save()
    else:
        from mobile_export.exporters.tflite.flatbuffer import pack, unpack

        flat = unpack(path.read_bytes())
        edit(flat)
        path.write_bytes(pack(flat))


@pytest.mark.parametrize(
    "damage", sampled([None, *DAMAGES], (None, "scale", "channels").__contains__)
)
def test_a_damaged_file_is_not_faithful(
    damage: str | None, written: tuple[str, ExportReport, Path], tmp_path: Path
) -> None:
    name, report, folder = written
    precision = report.artifacts[0].precision
    for each in folder.iterdir():
        (shutil.copytree if each.is_dir() else shutil.copy)(each, tmp_path / each.name)
    path = tmp_path / static.FILES[name]
    if damage is not None:
        change(name, path, damage, precision)
    found = mobile_export.verify(path, net(), size=32, layers=True)
    assert found.parity.faithful == (damage is None)
    assert bool(found.unlike) == (damage is not None)
    assert found.layers is not None
    assert found.layers.tensors > 10
    if damage in (None, "scaled_weight", "channels", "pad", "bias"):
        assert bool(found.layers.errors) == (damage is not None)


@pytest.mark.parametrize(("name", "precision"), [*FILES, ("coreml", "palette8")])
def test_the_file_is_as_small_as_its_integers(name: str, precision: str, tmp_path: Path) -> None:
    """One byte for each weight; the rest of a file does not grow with them."""
    need(name)
    torch.manual_seed(0)
    layers = (torch.nn.Conv2d(3, 64, 3, 2), torch.nn.Flatten(), torch.nn.Linear(64 * 225, 64))
    model = torch.nn.Sequential(*layers).eval()
    bits = get_format(name).precision(precision).bits
    found = {
        wanted: mobile_export.export(
            model, name, tmp_path / wanted, name="large", precision=wanted, size=32
        )
        for wanted in (precision, "fp32")
    }
    assert found[precision].artifacts[0].parity.faithful
    small, large = (each.artifacts[0].bytes for each in found.values())
    assert small < large * (bits / 32) * 1.02


def test_the_weights_are_the_nets() -> None:
    """The oracle above finds every layer by how many channels and weights it has."""
    layers = [m for m in Net().modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    assert len({(len(m.weight), m.weight.numel()) for m in layers}) == len(layers) == 5


def test_indices_are_those_of_coremltools(tmp_path: Path) -> None:
    """coremltools' own definition of the operation, on what the package holds; each weight is the
    nearest value of its table."""
    write("coreml", "palette6", tmp_path)
    from coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops import constexpr_lut_to_dense

    layers = [m for m in net().modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)]
    weights = {tuple(m.weight.shape): m.weight.detach().numpy() for m in layers}
    found = palettes(static.MilFile(tmp_path / static.FILES["coreml"]))
    assert len(found) == 4  # the gate has 64 weights, no more than the palette
    for table, indices, dims in found:
        assert len(table) == 64
        dense = constexpr_lut_to_dense.decompress(table, indices, dims)
        weight = weights[tuple(dims)].astype(np.float64)
        off = np.abs(weight[..., None] - table.astype(np.float64)).min(-1)
        np.testing.assert_allclose(np.abs(weight - dense), off, rtol=0, atol=1e-15)


@pytest.mark.parametrize(("bits", "error"), [(2, 0.1175), (3, 0.03454), (4, 0.009497)])
def test_a_palette_is_as_near_as_it_can_be(bits: int, error: float) -> None:
    """Normal weights: the least mean squared error there is (Max 1960, Table I)."""
    weights = np.random.default_rng(0).standard_normal(400_000)
    palette = palette_of(weights, 2**bits)
    assert len(palette) == 2**bits
    got = np.square(weights - palette[nearest_entries(weights, palette)]).mean()
    assert abs(got / error - 1) < 0.01


def test_few_values_are_a_palette_of_themselves() -> None:
    weights = np.array([[0.5, -1.0], [0.5, 3.0]], np.float32)
    palette = palette_of(weights, 16)
    assert palette.tolist() == [-1.0, 0.5, 3.0]
    assert palette[nearest_entries(weights, palette)].tolist() == weights.tolist()


def test_a_net_of_small_layers_has_no_palette(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no layer with more than 256 weights"):
        write("coreml", "palette8", tmp_path)
    assert not list(tmp_path.iterdir())
