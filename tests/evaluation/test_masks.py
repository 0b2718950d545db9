"""Mean intersection over union, counted by hand, at the size of the masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mobile_export.answers.decode import Answer
from mobile_export.answers.machine import Machine
from mobile_export.artifacts.interface import Preprocessing
from mobile_export.errors import UsageError
from mobile_export.evaluation.masks import Masks, find_masks
from mobile_export.graph.specs import InputSpec, OutputSpec

Image = pytest.importorskip("PIL.Image")

SIDE, CLASSES = 16, 4


def machine(said: np.ndarray, rule: Preprocessing | None = None) -> Machine:
    """One that answers the same of every picture: (H, W) classes, as logits."""
    scores = np.eye(CLASSES, dtype=np.float32)[said].transpose(2, 0, 1)[None]
    return Machine(
        "net",
        "PyTorch",
        InputSpec((1, 3, SIDE, SIDE), (0.0,) * 3, (1.0,) * 3),
        (OutputSpec("logits", scores.shape, "logits"),),
        rule,
        None,
        lambda sample: ([scores], None),
    )


def data_set(folder: Path, masks: list[np.ndarray], **options: Any) -> Masks:
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for k, mask in enumerate(masks):
        Image.new("RGB", mask.shape[::-1]).save(folder / "images" / f"{k}.jpg")
        Image.fromarray(mask.astype(np.uint8)).save(folder / "masks" / f"{k}.png")
    return find_masks(folder, reduce_zero=False, **options)


def records(data: Masks, net: Machine, model: Answer | None = None) -> list[Any]:
    data.admit(net)
    return [data.record(item, data.answer(net, item), model) for item in data.items]


def iou(said: np.ndarray, true: np.ndarray) -> tuple[float, float]:
    """In percent, of all classes that occur, by sets of pixels; pixels of 255 are not there."""
    there = true != 255
    scores = []
    for k in range(CLASSES):
        one, other = (said == k) & there, true == k
        if (one | other).any():
            scores.append((one & other).sum() / (one | other).sum())
    return 100 * float(np.mean(scores)), 100 * float((said == true)[there].mean())


def test_against_sets_of_pixels(tmp_path: Path) -> None:
    """Pictures of three sizes; a pixel has the answer of the cell that its middle lies in."""
    generator = np.random.Generator(np.random.PCG64(1))
    said = generator.integers(0, CLASSES, (SIDE, SIDE))
    masks = [generator.integers(0, CLASSES, size) for size in ((16, 16), (33, 20), (48, 80))]
    masks[1][3:9] = 255
    data = data_set(tmp_path, masks)
    found = data.figures(machine(said), data.items, records(data, machine(said)))
    resized = []
    for mask in masks:
        rows, columns = (((2 * np.arange(n) + 1) * SIDE) // (2 * n) for n in mask.shape)
        resized.append(said[rows][:, columns])
    wanted = iou(
        np.concatenate([each.reshape(-1) for each in resized]),
        np.concatenate([each.reshape(-1) for each in masks]),
    )
    assert [each.name for each in found] == ["mIoU", "pixel accuracy"]
    assert [each.value for each in found] == pytest.approx(wanted)
    for each in found:
        assert each.low is not None
        assert each.high is not None
        assert each.value is not None
        assert each.low <= each.value <= each.high


def test_a_class_that_nobody_names_is_not_in_the_mean(tmp_path: Path) -> None:
    """Class 0: 128 of 192 pixels; class 1: 64 of 128."""
    true = np.zeros((SIDE, SIDE), int)
    true[8:] = 1
    said = np.zeros((SIDE, SIDE), int)
    said[12:] = 1
    data = data_set(tmp_path, [true])
    found = data.figures(machine(said), data.items, records(data, machine(said)))
    assert [each.value for each in found] == pytest.approx([100 * (128 / 192 + 0.5) / 2, 75])


def test_what_a_crop_cuts_off_is_not_judged(tmp_path: Path) -> None:
    """A wide picture whose middle square is the input: its ends are nowhere."""
    rule = Preprocessing(
        resize=(SIDE, SIDE),
        crop_mode="center",
        crop_pct=1.0,
        interpolation="bilinear",
        source="a test",
    )
    true = np.full((SIDE, 3 * SIDE), 2)
    data = data_set(tmp_path, [true])
    net = machine(np.full((SIDE, SIDE), 2), rule)
    (record,) = records(data, net)
    assert record["counts"] == [[2, SIDE**2, SIDE**2, SIDE**2]]


def test_ade20k_begins_at_one(tmp_path: Path) -> None:
    true = np.full((SIDE, SIDE), CLASSES)
    true[0] = 0
    data_set(tmp_path, [true])
    net = machine(np.full((SIDE, SIDE), CLASSES - 1))
    with pytest.raises(UsageError, match=f"has the class {CLASSES}; the model's are 0 to 3"):
        records(find_masks(tmp_path, reduce_zero=False), net)
    (record,) = records(find_masks(tmp_path, reduce_zero=True), net)
    assert record["counts"] == [[CLASSES - 1, 240, 240, 240]]


def test_the_share_that_differs_from_the_model(tmp_path: Path) -> None:
    true = np.zeros((SIDE, SIDE), int)
    data = data_set(tmp_path, [true])
    said = true.copy()
    said[0, :4] = 3
    (model,) = (data.answer(machine(true), item)[0] for item in data.items)
    (record,) = records(data, machine(said), model)
    assert record["unlike"] == 4 / SIDE**2
    said_of_it = data.difference(machine(said), data.items[0], record, None)
    assert said_of_it == ("1.56% of the pixels have another class", 4 / SIDE**2)


def test_masks_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folders of pictures and masks"):
        find_masks(tmp_path, reduce_zero=False)
    data = data_set(tmp_path, [np.zeros((SIDE, SIDE))])
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(UsageError, match="it has colours"):
        records(data, machine(np.zeros((SIDE, SIDE), int)))
    Image.new("L", (SIDE, SIDE + 1)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(UsageError, match="16x16, and not 16x17"):
        records(data, machine(np.zeros((SIDE, SIDE), int)))
    (tmp_path / "masks" / "0.png").unlink()
    with pytest.raises(UsageError, match="has a mask of its name"):
        find_masks(tmp_path, reduce_zero=False)
