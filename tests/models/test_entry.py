"""What a row says: its options, its sizes and its refusals."""

from __future__ import annotations

import pytest
import torch

from mobile_export.errors import UsageError
from mobile_export.models import table
from tests.conftest import load_source


@pytest.mark.parametrize("name", table.names())
def test_every_option_of_a_row_builds(name: str) -> None:
    entry = table.get(name)
    for key, values in entry.options:
        for value in values:
            assert entry.parse_options(f"{key}={value}") == {key: value}
            with torch.device("meta"):
                entry.build(**{key: value})


def test_unknown_options_name_the_known_ones() -> None:
    entry = table.get("seaformer_tiny_seg")
    assert entry.parse_options("") == {}
    with pytest.raises(UsageError, match="no option 'neck'") as caught:
        entry.parse_options("output=labels&neck=2")
    assert "output" in str(caught.value.hint)
    with pytest.raises(UsageError, match="no output ''") as caught:
        entry.parse_options("output")
    assert "logits, upsampled, labels" in str(caught.value.hint)
    with pytest.raises(UsageError, match="emo_1m has no option 'output'"):
        table.get("emo_1m").parse_options("output=labels")


def test_weights_have_as_many_variants_as_their_options() -> None:
    assert list(table.get("emo_1m").weight_variants()) == [("emo_1m", {})]
    assert list(table.get("cas_vit_s").weight_variants()) == [
        ("cas_vit_s", {}),
        ("cas_vit_s?heads=1", {"heads": "1"}),
    ]
    assert list(table.get("lite_mono").weight_variants()) == [("lite_mono", {})]


def test_shapes_of_inputs() -> None:
    assert table.get("emo_1m").input_shape() == (1, 3, 224, 224)
    assert table.get("espcn_x2").input_shape((90, 160)) == (1, 1, 90, 160)
    assert table.get("squeezetime").input_shape((64, 32)) == (1, 3, 16, 64, 32)


@pytest.mark.parametrize(
    ("name", "size", "nearest"),
    [
        ("linknet", (100, 200), "96x192"),
        ("lite_mono", (100, 640), "96x640"),
        ("tvconv_mobilenetv2_x0_1", (112, 100), "112x96"),
        ("linknet", (5, 64), "32x64"),
    ],
)
def test_sizes_that_a_model_cannot_take(name: str, size: tuple[int, int], nearest: str) -> None:
    with pytest.raises(UsageError, match="must be multiples of") as caught:
        load_source(name, size=size)
    assert f"`size` is {nearest}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "size", "said", "nearest"),
    [
        ("lite_mono", (16, 640), "multiples of 16 and 32 or more", "32x640"),
        ("lite_mono", (20, 20), "multiples of 16 and 32 or more", "32x32"),
        ("squeezetime", (28, 100), "must be 29 or more", "29x100"),
    ],
)
def test_sizes_that_are_too_small(
    name: str, size: tuple[int, int], said: str, nearest: str
) -> None:
    entry = table.get(name)
    with pytest.raises(UsageError, match=said) as caught:
        entry.check_size(size)
    assert f"`size` is {nearest}." in str(caught.value.hint)


@pytest.mark.parametrize(
    "entry", [e for e in table.entries() if e.min_size > 1], ids=lambda entry: entry.name
)
def test_the_least_size_is_the_least(entry: table.ModelEntry) -> None:
    least, smaller = entry.min_size, entry.min_size - entry.size_step
    entry.check_size((least, least))
    with pytest.raises(UsageError):
        entry.check_size((smaller, smaller))
    with torch.device("meta"):
        module = entry.build(size=(least, least)).eval()
        module(torch.empty(entry.input_shape((least, least))))
        with pytest.raises((RuntimeError, ValueError)):
            module(torch.empty(entry.input_shape((smaller, smaller))))


@pytest.mark.parametrize(
    "entry",
    [e for e in table.entries() if e.min_size == e.size_step == 1],
    ids=lambda entry: entry.name,
)
def test_rows_without_a_least_size_take_one_pixel(entry: table.ModelEntry) -> None:
    with torch.device("meta"):
        entry.build(size=(1, 1)).eval()(torch.empty(entry.input_shape((1, 1))))


def test_classes_of_a_model_that_tells_none_apart() -> None:
    with pytest.raises(UsageError, match="lite_mono tells no classes apart"):
        load_source("lite_mono", size=(32, 64), num_classes=10)


def test_a_segmenter_as_a_source_has_options_and_no_labels() -> None:
    source = load_source("seaformer_tiny_seg?output=labels", size=(64, 64), num_classes=1000)
    assert source.labels is None
    assert source.spec == "seaformer_tiny_seg?output=labels"
    assert source.module.output == "labels"
