"""Inputs as they are typed, and what they are held to be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobile_export.errors import UsageError
from mobile_export.sources.inputs import NamedInput, file_names, parse_input, read_inputs, spec_of


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("image=1x3x224x224", NamedInput("image", (1, 3, 224, 224))),
        ("ids=1x77:int64", NamedInput("ids", (1, 77), "int64")),
        ("batch.image.0=1x3x8x8:uint8", NamedInput("batch.image.0", (1, 3, 8, 8), "uint8")),
        ("scale=:float32", NamedInput("scale", ())),
        (" t = 5 : bool ", NamedInput("t", (5,), "bool")),
    ],
)
def test_inputs_are_read_and_written_again(text: str, wanted: NamedInput) -> None:
    assert parse_input(text) == wanted
    assert parse_input(str(wanted)) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "image", "=1x3", "image=", "image=1x", "image=1x3:float16", "image=0x3", "a b=1", "x=-1",
     "x=99999x99999", "image=1,3", "1x=3"],
)  # fmt: skip
def test_what_is_no_input(text: str) -> None:
    with pytest.raises(UsageError, match="input"):
        parse_input(text)


@given(st.text(max_size=20))
def test_any_text_is_an_input_or_a_usage_error(text: str) -> None:
    try:
        found = parse_input(text)
    except UsageError:
        return
    assert parse_input(str(found)) == found


def test_one_name_is_given_once() -> None:
    with pytest.raises(UsageError, match="more than once"):
        read_inputs(["x=1x3", "x=1x4"])


@pytest.mark.parametrize(
    ("name", "shape", "dtype", "role"),
    [
        ("pixel_values", (1, 3, 32, 32), "float32", "image"),
        ("clip", (1, 3, 4, 32, 32), "float32", "image"),
        ("frame", (1, 32, 32, 3), "uint8", "image"),
        ("mask", (1, 1, 32, 32), "float32", "mask"),
        ("attention_mask", (1, 77), "int64", "mask"),
        ("padding", (1, 77), "bool", "mask"),
        ("input_ids", (1, 77), "int64", "indices"),
        ("hidden", (1, 8), "float32", "state"),
        ("h0", (1, 1, 8), "float32", "state"),
        ("features", (1, 64, 8, 8), "float32", "values"),
        ("x", (1, 10), "float32", "values"),
    ],
)
def test_what_an_input_is(name: str, shape: tuple[int, ...], dtype: str, role: str) -> None:
    assert spec_of(name, shape, dtype, (0.5,), (0.25,)).role == role


def test_channels_and_normalisation_of_images() -> None:
    first = spec_of("image", (1, 3, 32, 32), "float32", (0.5, 0.4, 0.3), (0.25,))
    assert (first.mean, first.std) == ((0.5, 0.4, 0.3), (0.25,) * 3)
    last = spec_of("frame", (1, 48, 32, 3), "uint8", (0.5,), (0.25,))
    assert last.channels_last
    assert last.size == (48, 32)
    assert last.mean == (0.0,) * 3  # a model of bytes takes pixels
    assert last.std == pytest.approx((1 / 255,) * 3)
    assert spec_of("ids", (1, 7), "int32", (0.5,), (0.25,)).mean == ()


def test_names_in_files_are_different_and_never_that_of_pixels() -> None:
    names = file_names(["batch.image", "batch_image", "pixels", "0", "_x"])
    assert names == ("batch_image", "batch_image_2", "pixels_2", "input_0", "x")
