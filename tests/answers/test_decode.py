"""Outputs become answers: by hand, and drawn where they should be."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mobile_export.answers.decode import Result, decode
from mobile_export.answers.draw import colour_of, draw
from mobile_export.answers.prepare import Prepared, prepare
from mobile_export.cli.answers import print_answers
from mobile_export.detection import Detections
from mobile_export.errors import UsageError
from mobile_export.graph.specs import InputSpec

Image = pytest.importorskip("PIL.Image")
NAMES = ("cat", "dog", "bird")


def shown(size: tuple[int, int] = (8, 8), picture: tuple[int, int] = (16, 32)) -> Prepared:
    """A grey picture (width, height), stretched to an input (height, width)."""
    spec = InputSpec((1, 3, *size), (0.0,) * 3, (1.0,) * 3)
    return prepare(Image.new("RGB", picture, (128, 128, 128)), "x", spec, None)


def answer(meaning: Any, values: Any, labels: Any = NAMES, detections: Any = None) -> Any:
    results = [Result("out", np.asarray(values, np.float32), meaning)]
    return decode(results, detections, labels, shown())


def test_logits_become_probabilities() -> None:
    """softmax of log 1, log 6, log 3 is 0.1, 0.6, 0.3."""
    found = answer("logits", [[0.0, math.log(6), math.log(3)]]).classes
    assert [(each.index, each.name) for each in found] == [(1, "dog"), (2, "bird"), (0, "cat")]
    assert [each.score for each in found] == pytest.approx([0.6, 0.3, 0.1])


def test_probabilities_stay() -> None:
    found = answer("probabilities", [[0.2, 0.5, 0.3]], labels=None).classes
    assert [(each.index, each.name) for each in found] == [(1, None), (2, None), (0, None)]
    assert [each.score for each in found] == pytest.approx([0.5, 0.3, 0.2])


@pytest.mark.parametrize("names", [("cat", "dog"), ("cat", "dog", "bird", "fish")])
@pytest.mark.parametrize("shape", [(1, 3), (1, 3, 2, 2)])
def test_names_of_another_number_of_classes_are_not_shown(
    names: tuple[str, ...], shape: tuple[int, ...]
) -> None:
    """The wrong name would be worse than none."""
    found = answer("logits", np.arange(math.prod(shape), dtype=np.float32).reshape(shape), names)
    assert {each.name for each in (*found.classes, *found.regions)} == {None}
    assert found.to_dict()["notes"] == [
        f"{len(names)} names do not fit 3 classes: the classes are shown without names"
    ]


def test_names_of_another_number_of_scores_are_not_shown() -> None:
    results = [
        Result("boxes", np.array([[[0, 0, 4, 4]]], np.float32), "boxes"),
        Result("scores", np.array([[[0.9, 0]]], np.float32), "scores"),
    ]
    found = decode(results, None, NAMES, shown())
    assert [each.name for each in found.objects] == [None]
    assert "3 names do not fit 2 classes" in found.notes[0]


def test_large_logits_do_not_overflow() -> None:
    assert answer("logits", [[1e5, 0.0, -1e5]]).classes[0].score == 1.0


def test_a_map_of_logits_is_upsampled_to_regions() -> None:
    """The left half is of class 2, the right of class 0, whatever the size of the map."""
    logits = np.zeros((1, 3, 4, 4), np.float32)
    logits[0, 2, :, :2] = 5
    logits[0, 0, :, 2:] = 5
    found = answer("logits", logits)
    assert found.labels.shape == (8, 8)
    assert (found.labels[:, :4] == 2).all()
    assert (found.labels[:, 4:] == 0).all()
    assert {(each.name, each.share) for each in found.regions} == {("bird", 0.5), ("cat", 0.5)}


def test_labels_are_regions() -> None:
    found = answer("labels", [[[0, 0], [0, 1]]])
    assert [(each.name, each.share) for each in found.regions] == [("cat", 0.75), ("dog", 0.25)]


def test_boxes_and_scores_are_suppressed_and_moved_to_the_picture() -> None:
    """Two boxes of one object, one of another; the 8x8 input is stretched from 16x32."""
    boxes = [[[0, 0, 4, 4], [0, 0, 4, 4.1], [4, 4, 8, 8]]]
    scores = [[[0.9, 0, 0], [0.8, 0, 0], [0, 0, 0.7]]]
    results = [
        Result("boxes", np.asarray(boxes, np.float32), "boxes"),
        Result("scores", np.asarray(scores, np.float32), "scores"),
    ]
    found = decode(results, None, NAMES, shown()).objects
    assert [(each.name, each.box) for each in found] == [
        ("cat", (0.0, 0.0, 8.0, 16.0)),
        ("bird", (8.0, 16.0, 16.0, 32.0)),
    ]
    assert [each.score for each in found] == pytest.approx([0.9, 0.7])


def test_detections_of_the_file_are_taken_as_they_are() -> None:
    made = Detections(np.array([[2.0, 2, 4, 4]]), np.array([0.5]), np.array([7]))
    (found,) = answer("boxes", np.zeros((1, 1, 4)), detections=made).objects
    assert (found.index, found.name, found.box) == (7, None, (4.0, 8.0, 8.0, 16.0))


@pytest.mark.parametrize(
    ("meaning", "near"), [("disparity", [[0.0, 0.5], [0.5, 1.0]]), ("depth", [[1, 0.5], [0.5, 0]])]
)
def test_depth_is_shown_as_nearness(meaning: str, near: Any) -> None:
    np.testing.assert_allclose(answer(meaning, [[[[1, 2], [2, 3]]]]).map, near)


def test_an_upscaled_image() -> None:
    found = answer("upscaled", np.full((1, 3, 4, 6), [[[[0.0]], [[0.5]], [[2.0]]]])).image
    assert found.shape == (4, 6, 3)
    assert found[0, 0].tolist() == [0, 128, 255]


def test_what_nobody_named_is_numbers() -> None:
    found = answer(None, [[1.0, -2.0]])
    assert (found.classes, found.objects, found.regions) == ((), (), ())
    (facts,) = found.to_dict()["outputs"]
    numbers = {"min": -2.0, "max": 1.0, "values": [1.0, -2.0]}
    assert facts == {"name": "out", "meaning": None, "shape": [1, 2], **numbers}
    with pytest.raises(UsageError, match="nothing to draw"):
        draw(found, shown())


@pytest.mark.parametrize(
    ("meaning", "shape"),
    [
        ("logits", (3,)), ("logits", (1, 2, 3)), ("logits", (1, 0)), ("probabilities", (2, 3)),
        ("labels", (4,)), ("labels", (2, 4, 4)), ("upscaled", (1, 2, 4, 4)), ("upscaled", (4, 4)),
        ("depth", (1, 2, 4, 4)), ("disparity", ()), ("boxes", (1, 4, 3)), ("count", (1,)),
    ],
)  # fmt: skip
def test_an_output_that_cannot_be_what_it_is_said_to_be_is_numbers(
    meaning: str, shape: tuple[int, ...]
) -> None:
    found = answer(meaning, np.ones(shape, np.float32))
    assert (found.classes, found.objects, found.regions) == ((), (), ())
    assert (found.image, found.map) == (None, None)


def test_boxes_and_scores_of_different_numbers_are_numbers() -> None:
    boxes, scores = np.ones((1, 4, 4), np.float32), np.ones((1, 5, 3), np.float32)
    results = [Result("boxes", boxes, "boxes"), Result("scores", scores, "scores")]
    assert decode(results, None, NAMES, shown()).objects == ()


def test_numbers_that_are_not_finite_are_null_in_json() -> None:
    (facts,) = answer(None, [[np.inf, np.nan]]).to_dict()["outputs"]
    assert (facts["min"], facts["max"], facts["values"]) == (None, None, [None, None])


def test_the_numbers_of_an_embedding_are_the_answer() -> None:
    """Those of classes are names and probabilities; maps are files."""
    numbers = np.linspace(-1, 1, 4096, dtype=np.float32)[None]
    (facts,) = answer("embedding", numbers).to_dict()["outputs"]
    assert facts["values"] == numbers[0].tolist()
    for meaning, values in (("logits", np.ones((1, 3))), ("embedding", np.ones((1, 4097)))):
        (facts,) = answer(meaning, values).to_dict()["outputs"]
        assert facts["values"] is None


@pytest.mark.parametrize(
    ("meaning", "values"),
    [
        ("logits", np.array([[np.nan, 1.0, 2.0]], np.float32)),
        ("probabilities", np.array([[True, False]])),
        ("logits", np.array([["a", "b"]])),
        ("labels", np.full((1, 2, 2), np.nan, np.float32)),
        ("labels", np.full((1, 2, 2), -1, np.int64)),
        ("labels", np.full((1, 2, 2), 0.5, np.float32)),
        ("labels", np.arange(2**18).reshape(1, 2**9, 2**9)),
        ("disparity", np.full((1, 2, 2), np.inf, np.float32)),
        ("logits", np.zeros((0, 4), np.float32)),
    ],
)
def test_values_that_cannot_be_what_they_are_said_to_be_are_numbers(
    meaning: Any, values: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not an answer of NaN, and not one region for each of a million numbers."""
    found = decode([Result("out", values, meaning)], None, NAMES, shown())
    assert (found.classes, found.objects, found.regions) == ((), (), ())
    assert found.map is None
    json.dumps(found.to_dict(), allow_nan=False)
    machine = SimpleNamespace(name="x.onnx", runtime="onnxruntime")
    print_answers(tmp_path / "x.png", [(cast(Any, machine), (found, shown()))])
    assert f"out {list(values.shape)}" in " ".join(capsys.readouterr().out.split())


def test_detections_that_are_not_finite_are_numbers() -> None:
    made = Detections(np.full((1, 4), np.nan), np.array([0.5]), np.array([1]))
    assert answer("boxes", np.zeros((1, 1, 4)), detections=made).objects == ()


def test_a_box_with_its_corners_exchanged_is_drawn() -> None:
    made = Detections(np.array([[6.0, 6, 2, 2]]), np.array([0.5]), np.array([2]))
    found = answer("boxes", np.zeros((1, 1, 4)), detections=made)
    assert found.objects[0].box == (4.0, 8.0, 12.0, 24.0)
    assert draw(found, shown()).getpixel((12, 24)) == colour_of(2)


def test_scores_of_many_classes_are_not_upsampled_beyond_memory() -> None:
    """1,000 classes at 4096x4096 would be 67 GB; the 2x2 map decides."""
    scores = np.zeros((1, 1000, 2, 2), np.float32)
    scores[0, 7] = 1
    found = decode([Result("out", scores, "logits")], None, None, shown((4096, 4096)))
    assert [(each.index, each.share) for each in found.regions] == [(7, 1.0)]
    assert draw(found, shown((64, 64))).size[1] > 64


def test_a_name_is_not_longer_than_a_line() -> None:
    found = answer("logits", [[5.0, 0.0]], labels=("x" * 60_000, "y"))
    assert draw(found, shown()).width < 1000


def test_a_picture_of_one_row_has_letters_of_a_size() -> None:
    wide = shown(picture=(200_000, 1))
    results = [Result("out", np.array([[1.0, 2.0]], np.float32), "logits")]
    assert draw(decode(results, None, NAMES, wide), wide).height < 2000


def test_a_box_is_drawn_in_its_colour() -> None:
    made = Detections(np.array([[2.0, 2, 6, 6]]), np.array([0.5]), np.array([2]))
    image = draw(answer("boxes", np.zeros((1, 1, 4)), detections=made), shown())
    assert image.size == (16, 32)
    assert image.getpixel((12, 24)) == colour_of(2)
    assert image.getpixel((2, 30)) == (128, 128, 128)


def test_a_mask_is_laid_over_the_input() -> None:
    image = draw(answer("labels", [[[0, 1]] * 2]), shown())
    grey, colour = np.array([128] * 3), np.array(colour_of(1))
    wanted = grey + 0.55 * (colour - grey)
    np.testing.assert_allclose(image.getpixel((6, 4)), wanted, atol=1)


def test_colours_of_neighbours_differ() -> None:
    colours = [np.array(colour_of(index)) for index in range(150)]
    assert len({tuple(each) for each in colours}) == 150
    steps = [np.abs(a - b).sum() for a, b in pairwise(colours)]
    assert min(steps) > 100


@pytest.mark.parametrize("best", [0.9, 0.29])
def test_boxes_of_sure_objects_are_drawn_or_else_the_surest(best: float) -> None:
    """A detector gives hundreds of boxes that are 2 % sure; drawn, they hide the picture."""
    scores = np.array([best, *np.linspace(0.28, 0.02, 29)])
    boxes = np.array([[k, 0.0, k, 8.0] for k in np.arange(30) / 4])
    wide = shown(picture=(320, 32))
    made = Detections(boxes, scores, np.arange(30))
    results = [Result("out", np.zeros((1, 1, 4)), "boxes")]
    image = draw(decode(results, made, None, wide), wide)
    drawn = [k for k in range(30) if image.getpixel((10 * k, 31)) == colour_of(k)]
    assert drawn == ([0] if best == 0.9 else list(range(20)))
