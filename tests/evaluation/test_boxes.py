"""Average precision: that of pycocotools, and of objects of which it can be told by hand."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_export.answers.machine import Machine
from mobile_export.errors import UsageError
from mobile_export.evaluation.boxes import Boxes, find_boxes
from mobile_export.graph.specs import InputSpec, OutputSpec

Image = pytest.importorskip("PIL.Image")
coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")

NAMES = ("cat", "dog", "cow")
MACHINE = Machine(
    "net",
    "PyTorch",
    InputSpec((1, 3, 8, 8), (0.0,) * 3, (1.0,) * 3),
    (OutputSpec("boxes", (1, 5, 4), "boxes"), OutputSpec("scores", (1, 5, 3), "scores")),
    None,
    NAMES,
    lambda sample: ([], None),
)


def written(folder: Path, annotations: list[dict[str, Any]], images: int = 2) -> Path:
    for k in range(images):
        Image.new("RGB", (200, 100)).save(folder / f"{k}.png")
    facts = {
        "images": [
            {"id": k, "file_name": f"{k}.png", "width": 200, "height": 100, "coco_url": "x"}
            for k in range(images)
        ],
        "categories": [{"id": 90 - k, "name": name} for k, name in enumerate(NAMES)],
        "annotations": annotations,
    }
    path = folder / "instances_val.json"
    path.write_text(json.dumps(facts))
    return path


def thing(at: int, image: int, category: int, box: list[float], crowd: int = 0) -> dict[str, Any]:
    return {"id": at, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd}


def figures(data: Boxes, records: list[Any]) -> dict[str, float | None]:
    data.admit(MACHINE)
    return {each.name: each.value for each in data.figures(MACHINE, data.items, records)}


def test_by_hand(tmp_path: Path) -> None:
    """An IoU of 70 of 100 pixels counts at 0.50, 0.55, 0.60, 0.65 and 0.70: five of ten."""
    written(tmp_path, [thing(1, 0, 90, [0, 0, 10, 10])])
    data = find_boxes(tmp_path, None, None)
    perfect, less = [0, 0.9, 0, 0, 10, 10], [0, 0.9, 0, 0, 10, 7]
    assert figures(data, [[perfect], []]) == pytest.approx({"box AP": 100, "AP50": 100})
    assert not any("are few" in note for note in data.notes)
    assert figures(data, [[less], []]) == pytest.approx({"box AP": 50, "AP50": 100})
    assert figures(data, [[[1, *perfect[1:]]], []]) == {"box AP": 0.0, "AP50": 0.0}
    assert figures(data, [[], []]) == {"box AP": 0.0, "AP50": 0.0}


def random_case(generator: np.random.Generator) -> tuple[list[dict[str, Any]], list[Any]]:
    """Objects of three classes in five pictures, and detections around them."""
    real, said = [], []
    for image in range(5):
        record = []
        for _ in range(int(generator.integers(1, 7))):
            kind = int(generator.integers(3))
            left, top, width, height = generator.uniform(4, 60, 4)
            at, crowd = len(real) + 1, int(generator.random() < 0.1)
            real.append(thing(at, image, 90 - kind, [left, top, width, height], crowd))
            for _ in range(2):
                moved = np.asarray([left, top, left + width, top + height])
                moved = moved + generator.normal(0, 4, 4)
                edges = [*np.minimum(moved[:2], moved[2:] - 1), *moved[2:]]
                record.append([kind, float(generator.random()), *map(float, edges)])
        said.append(record)
    return real, said


def test_random_objects_are_judged_as_pycocotools_alone_does(tmp_path: Path) -> None:
    real, said = random_case(np.random.Generator(np.random.PCG64(3)))
    path = written(tmp_path, real, images=5)
    with contextlib.redirect_stdout(io.StringIO()):
        facts = json.loads(path.read_text())
        for each in facts["annotations"]:
            each["area"] = each["bbox"][2] * each["bbox"][3]
        truth = coco.COCO()
        truth.dataset = facts
        truth.createIndex()
        results = [
            {
                "image_id": image,
                "category_id": 90 - kind,
                "bbox": [left, top, right - left, bottom - top],
                "score": score,
            }
            for image, record in enumerate(said)
            for kind, score, left, top, right, bottom in record
        ]
        judged = cocoeval.COCOeval(truth, truth.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    data = find_boxes(tmp_path, None, None)
    found = figures(data, said)
    assert sum("5 are few" in note for note in data.notes) == 1
    assert 5 < judged.stats[0] * 100 < 95
    wanted = {"box AP": 100 * judged.stats[0], "AP50": 100 * judged.stats[1]}
    assert found == pytest.approx(wanted, abs=1e-9)


def test_the_interval_is_of_pictures_drawn_again(tmp_path: Path) -> None:
    """One picture is right and one wrong: drawn again, AP is 0, about a half, or 1."""
    objects = [thing(k + 1, k, 90, [0, 0, 10, 10]) for k in range(2)]
    written(tmp_path, objects)
    data = find_boxes(tmp_path, None, None)
    data.admit(MACHINE)
    records = [[[0, 0.9, 0, 0, 10, 10]], []]
    (ap, _) = data.figures(MACHINE, data.items, records)
    assert (ap.low, ap.high) == pytest.approx((0, 100))
    assert ap.value == pytest.approx(100 * 51 / 101)  # 101 points of recall, of which 0 to 0.5


def test_categories_are_found_by_name_or_order(tmp_path: Path) -> None:
    written(tmp_path, [thing(1, 0, 88, [0, 0, 10, 10])])
    data = find_boxes(tmp_path, None, None)
    assert "by name" in data.admit(MACHINE)
    assert figures(data, [[[2, 0.9, 0, 0, 10, 10]], []])["box AP"] == pytest.approx(100)
    assert "in order" in data.admit(replace(MACHINE, labels=None))
    said = data.admit(replace(MACHINE, labels=("cat", "dog", "pig")))
    assert "1 that it does not know count as missed (cow)" in said
    with pytest.raises(UsageError, match="are not the classes"):
        data.admit(replace(MACHINE, labels=("a", "b", "c")))


def test_what_is_not_in_both_is_a_difference(tmp_path: Path) -> None:
    written(tmp_path, [])
    data = find_boxes(tmp_path, None, None)
    cat, dog = [0, 0.8, 0, 0, 10, 10], [1, 0.7, 5, 5, 50, 50]
    near = [0, 0.29, 0, 0, 10, 10.5]

    def apart(own: list[Any], model: list[Any]) -> Any:
        return data.difference(MACHINE, data.items[0], own, model)

    assert apart([cat, dog], [dog, near]) is None
    assert apart([cat], [cat, near]) is None
    assert apart([cat, dog], [cat]) == ("only here: dog 70%", 0.7)
    assert apart([dog], [cat]) == ("only here: dog 70%; only the model: cat 80%", 0.8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": []}, "names no image"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "id occurs twice"),
        ({"annotations": [thing(1, 7, 90, [0, 0, 1, 1])]}, "image that it does not name"),
        ({"annotations": [thing(1, 0, 7, [0, 0, 1, 1])]}, "category that it does not name"),
        ({"annotations": [thing(1, 0, 90, [0, 0, -1, 1])]}, "does not hold COCO's"),
        ({"annotations": 3}, "does not hold COCO's"),
        (
            {"images": [{"id": 0, "file_name": "../0.png", "width": 1, "height": 1}]},
            "leads out of the folder",
        ),
        (
            {"images": [{"id": 0, "file_name": "none.png", "width": 1, "height": 1}]},
            "is in none of",
        ),
    ],
)
def test_annotations_that_cannot_be(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = written(tmp_path, [])
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=said):
        find_boxes(tmp_path, None, None)


def test_two_files_of_annotations_are_not_guessed_at(tmp_path: Path) -> None:
    path = written(tmp_path, [])
    with pytest.raises(UsageError, match="has no annotations"):
        find_boxes(tmp_path / "nowhere", None, None)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "other.json").write_text("{}")
    with pytest.raises(UsageError, match="has 2 JSON files"):
        find_boxes(tmp_path, None, None)
    assert len(find_boxes(tmp_path, path, None).items) == 2
