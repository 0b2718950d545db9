"""Files that are no TNN model, or not one any more."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from mobile_export.errors import ArtifactError, ExecutionError, UnsupportedOpError
from mobile_export.exporters.table import format_of_file
from mobile_export.exporters.tnn.evaluator import load_network
from mobile_export.exporters.tnn.session import describe

MAGIC = 0xFABC0004
PROTO = """\
"1 3 1 4206624772 ,"
"image 4 1 2 3 3 0 ,"
" image a out ,"
"out ,"
" 2 ,"
"InstBatchNormCxx a 1 1 image a 2 1e-05 ,"
"Mul out 2 1 a k out -1 ,"
"""
"""Written by hand from TNN's ``model_packer.cc``."""


def ints(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def text(value: str) -> bytes:
    return ints(len(value)) + value.encode()


def array(values: np.ndarray, kind: int = 0) -> bytes:
    return ints(MAGIC, kind, values.nbytes, values.ndim, *values.shape) + values.tobytes()


SCALE = np.array([1.0, 2.0], dtype=np.float32)
MODEL = (
    ints(MAGIC, 1, 43)
    + text("InstBatchNormCxx")
    + text("a")
    + array(SCALE)
    + array(np.array([0.5, 0.0], dtype=np.float16), kind=1)
    + ints(MAGIC, 1)
    + text("k")
    + array(np.full((1, 2, 1, 1), 3.0, dtype=np.float32))
)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.tnnproto").write_text(PROTO)
    (tmp_path / "net.tnnmodel").write_bytes(MODEL)
    return tmp_path / "net.tnnproto"


def image() -> np.ndarray:
    return np.arange(18, dtype=np.float32).reshape(1, 2, 3, 3)


def test_a_file_written_by_hand(net: Path) -> None:
    network = load_network(net)
    x = image().astype(np.float64)
    normed = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    expected = 3 * (normed * SCALE.reshape(1, 2, 1, 1) + np.array([0.5, 0]).reshape(1, 2, 1, 1))
    np.testing.assert_allclose(network.run({"image": image()})["out"], expected, atol=1e-5)
    assert network.precision == "fp16"
    assert network.parameter_count() == 6
    assert network.dependencies() == {"a": ("image",), "out": ("a",)}


def test_facts(net: Path) -> None:
    facts = describe(net)
    assert facts["inputs"] == [{"name": "image", "shape": [1, 2, 3, 3], "dtype": "float32"}]
    assert facts["outputs"] == [{"name": "out", "shape": [1, 2, 3, 3], "dtype": "float32"}]
    assert facts["ops"] == {"InstBatchNormCxx": 1, "Mul": 1}


def test_version_1(net: Path) -> None:
    old = PROTO.replace(str(MAGIC), str(0xFABC0002)).replace("image 4 1 2 3 3 0", "image 1 2 3 3")
    net.write_text(old)
    assert load_network(net).inputs[0].dims == (1, 2, 3, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (PROTO, "", "has 1 lines"),
        (PROTO, "hello, world", "has 2 lines"),
        ("4206624772", "7767517", "first line"),
        ("1 3 1 4206624772", "1 3 1", "first line"),
        ("image 4 1 2", "image 9 1 2", "input line"),
        ("3 3 0 ,", "3 3 17 ,", "data type 17"),
        ("image 4 1 2 3 3", "image 4 1 2 40000 40000", "has the dimensions"),
        ("image 4 1 2 3 3", "image 4 1 2 -3 3", "has the dimensions"),
        ("1 1 image a 2", "1 image a 2", "whole number"),
        ("Mul out 2 1 a k out -1", "Mul out 2 7 a k", "cut off"),
        ("Mul out 2 1 a k", "Mul out 2 1 b k", "reads 'b', which nothing made"),
        ('"out ,"', '"lost ,"', "makes the output 'lost'"),
        ("InstBatchNormCxx a 1 1 image a", "InstBatchNormCxx b 1 1 image a", "belong together"),
        ("-1 ,", "-1 " + "1 " * 2100 + ",", "longer than the 4095"),
    ],
)  # fmt: skip
def test_damaged_text(net: Path, old: str, new: str, message: str) -> None:
    net.write_text(PROTO.replace(old, new))
    with pytest.raises(ArtifactError, match=message) as caught:
        load_network(net)
    assert caught.value.hint


@pytest.mark.parametrize("size", range(0, len(MODEL), 7))
def test_truncated_weights(net: Path, size: int) -> None:
    net.with_suffix(".tnnmodel").write_bytes(MODEL[:size])
    with pytest.raises(ArtifactError, match=r"cannot be read as a TNN model"):
        load_network(net)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04" * 20, "no magic number"),
        (
            MODEL.replace(b"InstBatchNormCxx", b"InstBatchNormXxx"),
            "unknown type 'InstBatchNormXxx'",
        ),
        (MODEL.replace(array(SCALE), ints(7) + array(SCALE)[4:]), "begins with 0x7"),
        (MODEL.replace(array(SCALE), array(SCALE, kind=9)), "data type 9"),
        (MODEL + b"more", "4 bytes follow"),
    ],
)
def test_damaged_weights(net: Path, content: bytes, message: str) -> None:
    net.with_suffix(".tnnmodel").write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        load_network(net)


def test_binary_text(net: Path) -> None:
    net.write_bytes(b"\xff\xfe" * 100)
    with pytest.raises(ArtifactError, match="cannot be read"):
        load_network(net)


def test_missing_companion(net: Path) -> None:
    net.with_suffix(".tnnmodel").unlink()
    with pytest.raises(ArtifactError, match=r"net.tnnmodel does not exist"):
        load_network(net)
    with pytest.raises(ArtifactError, match="holds the weights"):
        format_of_file(net)


def test_quantized_weights(net: Path) -> None:
    proto = PROTO.replace("InstBatchNormCxx a 1 1 image a 2 1e-05", "MatMul a 1 1 image a 1")
    model = ints(MAGIC, 1, 105) + text("MatMul") + text("a") + array(np.zeros(9, np.int8), kind=2)
    net.write_text(proto)
    net.with_suffix(".tnnmodel").write_bytes(model)
    with pytest.raises(ArtifactError, match="int8"):
        load_network(net)


def test_unknown_layer(net: Path) -> None:
    net.write_text(PROTO.replace("Mul out 2 1 a k out -1", "Einsum out 2 1 a k out ij"))
    network = load_network(net)
    assert network.unsupported() == ("Einsum",)
    assert describe(net)["outputs"][0]["shape"] == []
    with pytest.raises(UnsupportedOpError, match="no layer Einsum"):
        network.run({"image": image()})


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Mul out 2 1 a k out -1", "Permute out 1 1 a out 4 0 1 2 7", "Permute"),
        ("Mul out 2 1 a k out -1", "Reshape out 1 1 a out 0 2 2 5 5 0", "Reshape"),
        ("Mul out 2 1 a k out -1", "Concat out 2 1 a k out four", "'four' stands"),
        ("Mul out 2 1 a k out -1", "Permute out 1 1 a out", "parameters are missing"),
        (
            "Mul out 2 1 a k out -1",
            "Convolution out 1 1 a out 1 2 1 3 3 1 1 4 4 0 -1 4 4 0",
            "its dilation is 4 on 3 positions",
        ),
    ],
)
def test_layer_that_does_not_fit(net: Path, old: str, new: str, message: str) -> None:
    net.write_text(PROTO.replace(old, new))
    with pytest.raises(ExecutionError, match=message):
        load_network(net).run({"image": image()})


@pytest.mark.parametrize(
    "inputs",
    [{}, {"picture": image()}, {"image": image()[:, :1]}, {"image": image(), "more": image()}],
)
def test_wrong_inputs(net: Path, inputs: dict[str, np.ndarray]) -> None:
    with pytest.raises(ExecutionError) as caught:
        load_network(net).run(inputs)
    assert caught.value.hint


def test_a_clip_is_given_without_its_batch(tmp_path: Path) -> None:
    """A sample of a model of video has five axes, the file four: (3, frames, height, width)."""
    from mobile_export.exporters.tnn.session import load
    from mobile_export.graph.specs import OutputSpec
    from mobile_export.parity.samples import Sample

    outputs = (OutputSpec("out", (1, 3, 2, 4, 4)),)
    text = '"1 1 1 4206624772 ,"\n"clip 4 3 2 4 4 0 ,"\n" clip out ,"\n"out ,"\n" 1 ,"\n'
    (tmp_path / "net.tnnproto").write_text(text + '"Abs out 1 1 clip out ,"\n')
    (tmp_path / "net.tnnmodel").write_bytes(ints(MAGIC, 0) + ints(MAGIC, 0))
    clip = torch.randn(1, 3, 2, 4, 4)
    (out,) = load(tmp_path / "net.tnnproto", outputs).run(Sample("noise-0", clip))
    assert np.array_equal(out, clip[0].abs().numpy())
    with pytest.raises(ExecutionError, match="was given the shape"):
        load(tmp_path / "net.tnnproto", outputs).run(Sample("noise-0", torch.randn(1, 3, 3, 4, 4)))
