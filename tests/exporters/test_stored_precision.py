"""Files whose weights are int8 are not called fp32: made by the vendors' own quantisers.

Tests `describe` of the sessions of all formats.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.table import get_format
from mobile_export.pipeline import ExportReport
from tests.conftest import need

Exported = Callable[..., ExportReport]


def _stored(name: str, path: Path) -> str:
    return str(runtime_of(get_format(name)).describe(path)["precision"])


def _written(exported: Exported, name: str) -> Path:
    need(name)
    path = exported(name, precision="fp32").artifacts[0].path
    assert path is not None
    assert _stored(name, path) == "fp32"
    return path


def test_onnx(exported: Exported, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    path = _written(exported, "onnx")
    quantization.quantize_dynamic(path, tmp_path / "q.onnx")
    assert _stored("onnx", tmp_path / "q.onnx") == "int8-dynamic"


def test_tflite(exported: Exported, tmp_path: Path) -> None:
    path = _written(exported, "tflite")
    from ai_edge_quantizer import quantizer, recipe

    job = quantizer.Quantizer(str(path), recipe.dynamic_wi8_afp32())
    (tmp_path / "q.tflite").write_bytes(job.quantize().quantized_model)
    assert _stored("tflite", tmp_path / "q.tflite") == "int8-dynamic"


def test_coreml(exported: Exported, tmp_path: Path) -> None:
    path = _written(exported, "coreml")
    import coremltools as ct
    import coremltools.optimize.coreml as cto

    config = cto.OptimizationConfig(global_config=cto.OpLinearQuantizerConfig(weight_threshold=0))
    model = ct.models.MLModel(str(path), skip_model_load=True)
    cto.linear_quantize_weights(model, config).save(str(tmp_path / "q.mlpackage"))
    assert _stored("coreml", tmp_path / "q.mlpackage") == "int8-weights"
    palette = cto.OptimizationConfig(
        global_config=cto.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0)
    )
    cto.palettize_weights(model, palette).save(str(tmp_path / "p.mlpackage"))
    assert _stored("coreml", tmp_path / "p.mlpackage") == "palette6"


def test_ncnn(tmp_path: Path) -> None:
    """ncnn2int8 is no part of the package: a convolution with its ``int8_scale_term`` (8).

    Behind the flag of int8: 6 weights and 2 bytes of padding, two scales of weights and one of the
    input (ncnn, src/layer/convolution.cpp, load_model).
    """
    need("ncnn")
    (tmp_path / "q.ncnn.param").write_text(
        "7767517\n2 2\nInput image 0 1 image 0=4 1=4 2=3\n"
        "Convolution out 1 1 image out 0=2 1=1 5=0 6=6 8=2\n"
    )
    (tmp_path / "q.ncnn.bin").write_bytes(b"\x38\x4b\x0d\x00" + bytes(6 + 2 + 3 * 4))
    assert _stored("ncnn", tmp_path / "q.ncnn.param") == "int8"
