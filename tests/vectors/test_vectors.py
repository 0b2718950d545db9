"""Python's own pre- and post-processing on the vectors that Kotlin and Swift are tested on, too."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pytest

from mobile_export.answers.decode import Result, decode
from mobile_export.answers.draw import colour_of
from mobile_export.answers.prepare import Placement, prepare
from mobile_export.artifacts.expected import ExpectedOutput, compare_expected, seeded_input
from mobile_export.artifacts.interface import Preprocessing
from mobile_export.detection import suppress
from mobile_export.graph.specs import InputSpec

pytest.importorskip("timm")
Image = pytest.importorskip("PIL.Image")

from tests.vectors.make import FOLDER, SUBJECTS, cases_of, text_of, unpacked  # noqa: E402

Case = dict[str, Any]


def cases(name: str) -> Any:
    return pytest.mark.parametrize("case", cases_of(name))


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.__name__)
def test_the_files_are_what_the_oracles_give(subject: Callable[[], list[Case]]) -> None:
    """To the rounding that differs between versions and machines."""
    if subject.__name__ == "order" and int(version("pillow").partition(".")[0]) < 13:
        pytest.skip("Pillow before 13 always begins with the rows")
    made = json.loads(text_of(subject))["cases"]
    same(made, cases_of(subject.__name__))


def same(made: Any, written: Any) -> None:
    if isinstance(written, dict) and "data" in written:
        a, b = unpacked(made), unpacked(written)
        free = {"float32": 1e-5 * max(1.0, float(np.abs(b).max(initial=0))), "uint8": 1}
        assert a.shape == b.shape
        assert np.abs(a.astype(float) - b).max(initial=0) <= free.get(written["dtype"], 0)
    elif isinstance(written, dict):
        assert made.keys() == written.keys()
        for key in written:
            same(made[key], written[key])
    elif isinstance(written, list):
        assert len(made) == len(written)
        for one, other in zip(made, written, strict=True):
            same(one, other)
    else:
        assert made == (pytest.approx(written) if isinstance(written, float) else written)


def test_they_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.json")) < 300_000


@cases("order")
def test_the_other_order_would_be_told(case: Case) -> None:
    """Each case is one of two orders, and, where both sides change, far from the other one."""
    method = Image.Resampling[case["interpolation"].upper()]
    source, wanted = Image.fromarray(unpacked(case["picture"])), unpacked(case["resized"])
    (height, width), (h, w) = wanted.shape[:2], (source.height, source.width)
    columns = source.resize((w, height), method).resize((width, height), method)
    rows = source.resize((width, h), method).resize((width, height), method)
    first = height < h and h - height > 2 * (w - width)
    right, other = (columns, rows) if first else (rows, columns)
    assert np.array_equal(np.asarray(right), wanted)
    if height != h:
        assert np.abs(np.asarray(other).astype(int) - wanted).max() > 1


@cases("prepare")
def test_prepare(case: Case) -> None:
    spec = InputSpec((1, 3, *case["size"]), tuple(case["mean"]), (1.0,) * 3)
    rule = None
    if case["rule"] is not None:
        rule = Preprocessing(**{**case["rule"], "resize": tuple(case["rule"]["resize"])})
    found = prepare(Image.fromarray(unpacked(case["picture"])), "x", spec, rule)
    assert found.sample.pixels is not None
    pixels = found.sample.pixels[0].numpy().transpose(1, 2, 0)
    assert np.abs(pixels - unpacked(case["pixels"]).astype(np.float32)).max() <= 1


@cases("normalize")
def test_normalize(case: Case) -> None:
    pixels = unpacked(case["pixels"])
    order: Literal["RGB", "BGR", "L"] = case["channel_order"]
    shape = (1, len(case["mean"]), *pixels.shape[:2])
    spec = InputSpec(shape, tuple(case["mean"]), tuple(case["std"]), "image", order)
    sample = prepare(Image.fromarray(pixels), "x", spec, None).sample
    given = sample.pixels if case["inside"] else sample.image
    assert given is not None
    axes = (0, 2, 3, 1) if case["layout"] == "NHWC" else (0, 1, 2, 3)
    values = given.numpy().transpose(axes)
    assert values == pytest.approx(unpacked(case["values"]), abs=1e-6)


@cases("classes")
def test_classes(case: Case) -> None:
    found = decode([Result("x", unpacked(case["logits"])[None], "logits")], None, None, shown())
    assert [each.index for each in found.classes] == unpacked(case["best"]).tolist()
    truth = unpacked(case["probabilities"])
    for each in found.classes:
        assert each.score == pytest.approx(truth[each.index], abs=1e-6)


@cases("suppression")
def test_suppression(case: Case) -> None:
    settings = {name: case[name] for name in ("iou_threshold", "score_threshold", "limit")}
    found = suppress(unpacked(case["boxes"]), unpacked(case["scores"]), **settings)
    assert np.array_equal(found.boxes, unpacked(case["kept_boxes"]))
    assert np.array_equal(found.scores, unpacked(case["kept_scores"]))
    assert np.array_equal(found.classes, unpacked(case["kept_classes"]))


@cases("boxes")
def test_boxes(case: Case) -> None:
    place = Placement(tuple(case["scale"]), tuple(case["offset"]))
    found = place.boxes(unpacked(case["boxes"]), tuple(case["size"]))
    assert found == pytest.approx(unpacked(case["photo"]), rel=1e-5, abs=1e-5)


@cases("masks")
def test_masks(case: Case) -> None:
    found = decode(
        [Result("x", unpacked(case["logits"]), "logits")], None, None, shown(tuple(case["size"]))
    )
    assert found.labels is not None
    assert np.array_equal(found.labels, unpacked(case["labels"]))
    for region in found.regions:
        assert region.share == pytest.approx(case["shares"][region.index])


@cases("samples")
def test_samples(case: Case) -> None:
    values = seeded_input(case["shape"], 0, pixels=case["sample"] == "pixel-noise-0")
    assert hashlib.sha256(values.astype("<f4").tobytes()).hexdigest() == case["sha256"]


@cases("expected")
def test_expected(case: Case) -> None:
    wanted = ExpectedOutput(
        name="x",
        shape=(case["count"],),
        integer=case["integer"],
        scale=case["scale"],
        values=unpacked(case["values"]).astype("<f4").tobytes(),
    )
    from mobile_export.artifacts.expected import Expected

    facts = Expected("noise-0", "0" * 64, {"fp32": 1e-5}, (wanted,))
    found = compare_expected(facts, [unpacked(case["got"])])
    assert math.isclose(found.max_rel, case["error"], rel_tol=1e-9)


@cases("colours")
def test_colours(case: Case) -> None:
    rows = unpacked(case["colours"]).tolist()
    assert [list(colour_of(index)) for index in range(len(rows))] == rows


def shown(size: tuple[int, int] = (8, 8)) -> Any:
    spec = InputSpec((1, 3, *size), (0.0,) * 3, (1.0,) * 3)
    return prepare(Image.new("RGB", (4, 4)), "x", spec, None)
