"""Pictures with COCO's annotations: average precision of boxes, computed by pycocotools."""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
import numpy as np
from msgspec import Meta

from ..answers.machine import read_picture
from ..artifacts.fields import Magnitude, Name, Number, explain
from ..errors import UsageError
from ..system.files import GIB, read_regular_file
from ..system.install import missing_extra
from .intervals import is_of_too_few, percentile_interval, resamples
from .judge import MOST_ITEMS, Figure, Item, Judge, Kind, class_name, figure, stamp_of

if TYPE_CHECKING:
    from ..answers.decode import Answer
    from ..answers.machine import Machine
    from ..answers.prepare import Prepared

__all__ = ["Boxes", "find_boxes"]

_RESAMPLES = 200
_MOST_BYTES = 2 * GIB
_SURE = 0.3
"""Score of an object that a file and its model must both have."""
_SAME = 0.9
"""Intersection over union of boxes that are taken for the same."""

_Id = Annotated[int, Meta(ge=0, le=2**62)]


class _Image(msgspec.Struct):
    id: _Id
    file_name: Name
    width: Annotated[int, Meta(ge=1, le=2**20)]
    height: Annotated[int, Meta(ge=1, le=2**20)]


class _Object(msgspec.Struct):
    id: _Id
    image_id: _Id
    category_id: _Id
    bbox: tuple[Number, Number, Magnitude, Magnitude]
    area: Magnitude | None = None
    iscrowd: Annotated[int, Meta(ge=0, le=1)] = 0


class _Category(msgspec.Struct):
    id: _Id
    name: Name


class _Annotations(msgspec.Struct):
    images: Annotated[list[_Image], Meta(max_length=MOST_ITEMS)]
    annotations: Annotated[list[_Object], Meta(max_length=2**25)]
    categories: Annotated[list[_Category], Meta(max_length=2**16)]


@dataclass
class Boxes(Judge):
    """Pictures and the objects in them.

    Attributes:
        truth: the annotations.
        labels: of the classes, given by the user in the order of the scores.
    """

    kind: ClassVar[Kind] = "boxes"
    truth: _Annotations = field(default_factory=lambda: _Annotations([], [], []))
    labels: tuple[str, ...] | None = None
    _maps: dict[int, dict[int, int]] = field(default_factory=dict)

    def admit(self, machine: Machine) -> str:
        labels = self.labels or machine.labels
        categories = sorted(self.truth.categories, key=lambda each: each.id)
        known = {each.name.strip().casefold(): each.id for each in categories}
        if labels is not None:
            ids = (known.get(label.strip().casefold()) for label in labels)
            found = {index: at for index, at in enumerate(ids) if at is not None}
            said = "The model's classes are found among the categories by name"
        else:
            found = {index: each.id for index, each in enumerate(categories)}
            said = "The categories, sorted by id, are taken for the model's classes in order"
        missing = [each.name for each in categories if each.id not in found.values()]
        count = _class_count(machine)
        alike = count in (None, len(categories))
        if not found or (labels is None and not alike):
            raise UsageError(
                f"The categories ({len(categories)}) are not the classes of {machine.name} "
                f"({count if labels is None else len(labels)}).",
                hint="Give the names of its classes, in order, with `labels`.",
            )
        self._maps[id(machine)] = found
        named = ", ".join(name[:80] for name in missing[:4])
        lost = f"; {len(missing)} that it does not know count as missed ({named})"
        return said + (lost if missing else "") + "."

    def answer(self, machine: Machine, item: Item) -> tuple[Answer, Prepared]:
        size = (item.truth.width, item.truth.height)
        return machine.answer_image(read_picture(item.picture, size), item.name)

    def record(self, item: Item, own: tuple[Answer, Prepared], model: Answer | None) -> Any:
        """``[class, score, left, top, right, bottom]`` of each object, in pixels of the picture."""
        return [
            [each.index, round(each.score, 6), *(round(edge, 3) for edge in each.box)]
            for each in own[0].objects
            if each.box is not None
        ]

    def valid(self, record: Any) -> bool:
        return isinstance(record, list) and all(
            isinstance(each, list)
            and len(each) == 6
            and type(each[0]) is int
            and all(type(number) in (int, float) for number in each[1:])
            for each in record
        )

    def figures(
        self, machine: Machine, items: Sequence[Item], records: Sequence[Any]
    ) -> tuple[Figure, ...]:
        judged = _judged(self.truth, items, records, self._maps[id(machine)])
        whole = np.arange(len(items))
        ap, ap50 = _precision(judged, whole)
        drawn = np.asarray([_precision(judged, d) for d in resamples(len(items), _RESAMPLES)])
        if is_of_too_few(ap, drawn[:, 0]) and _too_few(len(items)) not in self.notes:
            self.notes.append(_too_few(len(items)))
        return (
            figure("box AP", "%", ap, percentile_interval(drawn[:, 0])),
            figure("AP50", "%", ap50, percentile_interval(drawn[:, 1])),
        )

    def difference(
        self, machine: Machine, item: Item, own: Any, model: Any
    ) -> tuple[str, float] | None:
        names = self.labels or machine.labels
        alone, lost = _unmatched(own, model), _unmatched(model, own)
        if not alone and not lost:
            return None
        parts = [
            f"{who}: {', '.join(_said(each, names) for each in found[:4])}"
            for who, found in (("only here", alone), ("only the model", lost))
            if found
        ]
        return "; ".join(parts), float(max(each[1] for each in (*alone, *lost)))


def find_boxes(folder: Path, annotations: Path | None, labels: tuple[str, ...] | None) -> Boxes:
    """The pictures of COCO's annotations.

    Args:
        annotations: the JSON file; None looks for the only one in the folder or in
            ``annotations``.

    Raises:
        UsageError: no such file, or not of that form; or its pictures are not there.
    """
    _library()
    file = annotations or _only_json(folder)
    content = read_regular_file(file, limit=_MOST_BYTES, error=UsageError)
    try:
        truth = msgspec.json.decode(content, type=_Annotations)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as problem:
        raise UsageError(
            f"{file} does not hold COCO's annotations: it {explain(problem)}.",
            hint="Wanted are images, annotations with bbox, and categories (cocodataset.org).",
        ) from None
    _check(truth, file)
    place = _folder_of(folder, truth.images, file)
    ordered = sorted(truth.images, key=lambda each: each.id)
    items = tuple(
        Item(each.file_name, place / each.file_name, each, stamp_of(place / each.file_name))
        for each in ordered
    )
    return Boxes(items, [f"The annotations are {file}."], truth=truth, labels=labels)


def _too_few(count: int) -> str:
    return (
        f"Average precision depends on how many pictures there are, and {count} are few: of more "
        "it would be another figure, mostly a lower one, and the interval does not cover that. "
        "Compare files and models on these pictures, not with figures of other pictures."
    )


def _only_json(folder: Path) -> Path:
    found = sorted([*folder.glob("*.json"), *(folder / "annotations").glob("*.json")])
    if len(found) == 1:
        return found[0]
    if not found:
        raise UsageError(
            f"{folder} has no annotations: a detector is evaluated on COCO's JSON.",
            hint="Put it into the folder, or give it with `annotations='FILE.json'`.",
        )
    names = ", ".join(path.name for path in found[:4])
    raise UsageError(
        f"{folder} has {len(found)} JSON files: {names}.",
        hint="Say which with `annotations='FILE.json'`.",
    )


def _check(truth: _Annotations, file: Path) -> None:
    """Raise UsageError where ids or names of files cannot be."""
    images = {each.id for each in truth.images}
    categories = {each.id for each in truth.categories}
    problem = None
    if not truth.images or not truth.categories:
        problem = "it names no image or no category"
    elif len(images) < len(truth.images) or len(categories) < len(truth.categories):
        problem = "an id occurs twice"
    elif len({each.id for each in truth.annotations}) < len(truth.annotations):
        problem = "an id of an annotation occurs twice"
    elif any(each.image_id not in images for each in truth.annotations):
        problem = "an annotation is of an image that it does not name"
    elif any(each.category_id not in categories for each in truth.annotations):
        problem = "an annotation is of a category that it does not name"
    elif len({each.file_name for each in truth.images}) < len(truth.images):
        problem = "a file_name occurs twice"
    else:
        for each in truth.images:
            path = Path(each.file_name)
            if path.is_absolute() or ".." in path.parts or "\0" in each.file_name:
                problem = f"the file_name {each.file_name[:80]!r} leads out of the folder"
    if problem:
        raise UsageError(f"{file} cannot be used: {problem}.", hint="Is it the right file?")


def _folder_of(folder: Path, images: Sequence[_Image], file: Path) -> Path:
    """Where the first image is."""
    split = file.stem.rpartition("_")[2]
    places = [folder / part for part in (".", "images", split, f"images/{split}")]
    for place in places:
        if (place / images[0].file_name).exists():
            return place
    raise UsageError(
        f"{images[0].file_name[:200]}, the first image of {file}, is in none of "
        f"{', '.join(map(str, places))}.",
        hint="The data are the folder of the pictures; the JSON goes with `annotations`.",
    )


def _class_count(machine: Machine) -> int | None:
    return next((each.shape[-1] for each in machine.outputs if each.meaning == "scores"), None)


def _library() -> Any:
    """The module ``pycocotools``, with its parts ``coco`` and ``cocoeval`` imported."""
    try:
        import pycocotools.coco
        import pycocotools.cocoeval
    except ImportError as error:
        raise missing_extra("Average precision", "pycocotools", "evaluate") from error
    return pycocotools


def _indexed(library: Any, facts: dict[str, Any]) -> Any:
    found = library.coco.COCO()
    found.dataset = facts
    found.createIndex()
    return found


def _judged(
    truth: _Annotations, items: Sequence[Item], records: Sequence[Any], classes: dict[int, int]
) -> Any:
    """pycocotools' evaluation of each picture, for objects of any size and 100 detections."""
    library = _library()
    ids = [item.truth.id for item in items]
    chosen = set(ids)
    base: dict[str, Any] = {
        "images": [msgspec.to_builtins(item.truth) for item in items],
        "categories": [msgspec.to_builtins(each) for each in truth.categories],
    }
    objects = [
        {
            **msgspec.to_builtins(each),
            "bbox": list(each.bbox),
            "area": each.bbox[2] * each.bbox[3] if each.area is None else each.area,
        }
        for each in truth.annotations
        if each.image_id in chosen
    ]
    found: list[dict[str, Any]] = []
    for at, record in zip(ids, records, strict=True):
        for index, score, left, top, right, bottom in record:
            if index in classes:
                box = [left, top, right - left, bottom - top]
                facts = {"bbox": box, "area": box[2] * box[3], "iscrowd": 0, "score": score}
                named = {"id": len(found) + 1, "image_id": at, "category_id": classes[index]}
                found.append({**named, **facts})
    with contextlib.redirect_stdout(io.StringIO()):
        real = _indexed(library, {**base, "annotations": objects})
        said = _indexed(library, {**base, "annotations": found})
        judged = library.cocoeval.COCOeval(real, said, "bbox")
        judged.params.imgIds = ids
        judged.params.areaRng = judged.params.areaRng[:1]
        judged.params.areaRngLbl = judged.params.areaRngLbl[:1]
        judged.params.maxDets = judged.params.maxDets[-1:]
        judged.evaluate()
    images = judged.params.imgIds
    order = {at: index for index, at in enumerate(images)}
    by_category = np.empty(len(judged.evalImgs), dtype=object)
    by_category[:] = judged.evalImgs
    judged.rows = by_category.reshape(-1, len(images))[:, [order[at] for at in ids]]
    return judged


def _precision(judged: Any, drawn: np.ndarray) -> tuple[float, float]:
    """AP over IoU 0.50 to 0.95, and at 0.50, in percent, of pictures that may occur repeatedly."""
    judged.evalImgs = list(judged.rows[:, drawn].reshape(-1))
    fake = list(range(len(drawn)))
    judged.params.imgIds = judged._paramsEval.imgIds = fake
    with contextlib.redirect_stdout(io.StringIO()):
        judged.accumulate()
    values = judged.eval["precision"][..., 0, 0]  # of IoU, recall, category
    known, at_half = values[values > -1], values[0][values[0] > -1]
    if not known.size:
        return float("nan"), float("nan")
    return 100 * float(known.mean()), 100 * float(at_half.mean())


def _unmatched(own: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    """Sure objects of ``own`` that have no partner in ``other``, the surest first."""
    by_class = defaultdict(list)
    for each in other:
        by_class[each[0]].append(each)
    found = []
    for each in sorted(own, key=lambda one: -one[1]):
        if each[1] < _SURE:
            continue
        if not any(_overlap(each[2:], box[2:]) >= _SAME for box in by_class[each[0]]):
            found.append(each)
    return found


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union; 1 of equal boxes of no size."""
    if list(one) == list(other):
        return 1.0
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared) if areas > shared else 0.0


def _said(each: Sequence[Any], names: Sequence[str] | None) -> str:
    return f"{class_name(each[0], names)} {each[1]:.0%}"
