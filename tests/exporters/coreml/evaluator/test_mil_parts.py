"""The parts that need no coremltools: wire format, packed integers, slices, the registry."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mobile_export.exporters.coreml.evaluator.ops.conv import window_padding
from mobile_export.exporters.coreml.evaluator.table import OPS, Ints, Tensor, op
from mobile_export.exporters.coreml.evaluator.text import unpack_bits
from mobile_export.exporters.coreml.evaluator.wire import Message, WireError


def test_wire_format_by_hand() -> None:
    """The examples of protobuf's encoding guide: field 1 = 150, field 2 = "testing"."""
    message = Message(bytes.fromhex("089601 1207 74657374696e67"))
    assert message.integer(1) == 150
    assert message.text(2) == "testing"
    assert message.numbers() == [1, 2]
    assert message.integer(3) == 0
    assert message.raw(3) == b""


def test_wire_format_packed_and_negative() -> None:
    packed = Message(bytes.fromhex("3206 03 8e02 9ea705"))  # field 6 = [3, 270, 86942]
    assert packed.integers(6) == [3, 270, 86942]
    unpacked = Message(bytes.fromhex("3003 308e02"))
    assert unpacked.integers(6) == [3, 270]
    assert Message(b"\x08" + b"\xff" * 9 + b"\x01").integer(1) == -1
    assert Message(b"\x0a\x08\x00\x00\x80?\x00\x00\x00\xc0").floats(1) == [1.0, -2.0]


@pytest.mark.parametrize("data", [b"\x08", b"\x12\x05ab", b"\x0b", b"\x08" + b"\xff" * 11])
def test_wire_format_refuses(data: bytes) -> None:
    with pytest.raises(WireError):
        Message(data)


@given(st.binary(max_size=200))
def test_wire_format_reads_or_refuses_anything(data: bytes) -> None:
    with contextlib.suppress(WireError):
        Message(data)


@given(st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 40), st.booleans(), st.randoms())
def test_packed_integers(bits: int, count: int, signed: bool, random: object) -> None:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    values = [random.randint(low, high) for _ in range(count)]  # type: ignore[attr-defined]
    number = sum((value & ((1 << bits) - 1)) << (bits * i) for i, value in enumerate(values))
    packed = np.frombuffer(number.to_bytes((bits * count + 7) // 8, "little"), np.uint8)
    assert unpack_bits(packed, bits, count, signed=signed).tolist() == values


_BOUND = st.integers(-7, 7)


@settings(max_examples=300)
@given(
    begin=st.tuples(_BOUND, _BOUND),
    end=st.tuples(_BOUND, _BOUND),
    stride=st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 2),
    begin_mask=st.tuples(st.booleans(), st.booleans()),
    end_mask=st.tuples(st.booleans(), st.booleans()),
)
def test_slice_by_index_is_numpys(
    begin: Ints,
    end: Ints,
    stride: Ints,
    begin_mask: tuple[bool, ...],
    end_mask: tuple[bool, ...],
) -> None:
    x = np.arange(20).reshape(4, 5)
    slices = tuple(
        slice(None if bm else b, None if em else e, s)
        for b, e, s, bm, em in zip(begin, end, stride, begin_mask, end_mask, strict=True)
    )
    result = OPS["slice_by_index"].function(
        torch.from_numpy(x), begin, end, stride, begin_mask, end_mask
    )
    np.testing.assert_array_equal(result.numpy(), x[slices])


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.booleans())
def test_same_padding_gives_ceil_of_size_over_stride(
    size: int, extent: int, stride: int, lower: bool
) -> None:
    mode = "same_lower" if lower else "same"
    ((before, after),) = window_padding(mode, None, (size,), (extent,), (stride,))
    assert (size + before + after - extent) // stride + 1 == -(-size // stride)
    assert (before - after if lower else after - before) in (0, 1)


def test_topk_of_minus_one_takes_all() -> None:
    """coremltools documents it (iOS 17) but cannot build it."""
    values, indices = OPS["topk"].function(torch.tensor([3.0, 1.0, 2.0]), k=-1)
    assert values.tolist() == [3.0, 2.0, 1.0]
    assert indices.tolist() == [0, 2, 1]


def test_an_op_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="registered twice"):

        @op("relu")
        def again(x: Tensor) -> Tensor:
            return x


def test_an_annotation_must_be_a_known_one() -> None:
    with pytest.raises(TypeError, match="annotated"):

        @op("no_such_op")
        def wrong(x: complex) -> Tensor:
            raise NotImplementedError


def test_the_documentation_lists_every_op() -> None:
    text = (Path(__file__).parents[4] / "docs" / "coreml-evaluator.md").read_text()
    covered = text.split("## Operations covered")[1]
    assert [name for name in sorted(OPS) if f"`{name}`" not in covered] == []
    assert f"{len(OPS)} operations" in covered


def test_reading_needs_no_coremltools() -> None:
    """It would cost ten seconds and a page of warnings."""
    script = (
        "import sys, mobile_export.exporters.coreml.evaluator\n"
        "print([m for m in ('coremltools', 'tensorflow', 'google.protobuf') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
