"""Folders of classes: which class a folder is, and top-1 and top-5."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from mobile_export.errors import UsageError
from mobile_export.evaluation.classes import find_classes, map_folders, wordnet_ids
from mobile_export.sources.labels import imagenet_labels

ANIMALS = ("great white shark", "hen", "hen_house", "Hen House")


def test_wordnet_ids_are_in_the_order_of_the_logits() -> None:
    """timm has the list, too, and ImageNet's first and last classes are known."""
    pytest.importorskip("timm")
    place = resources.files("timm.data").joinpath("_info/imagenet_synsets.txt")
    assert list(wordnet_ids()) == place.read_text("utf-8").split()
    labels = imagenet_labels()
    assert labels[wordnet_ids()["n01440764"]] == "tench"
    assert labels[wordnet_ids()["n07920052"]] == "espresso"
    assert labels[wordnet_ids()["n15075141"]] == "toilet tissue"


@pytest.mark.parametrize(
    ("folders", "count", "labels", "wanted", "said"),
    [
        (["n01443537", "n01440764"], 1000, imagenet_labels(), [1, 0], "WordNet"),
        (["n01443537"], 1000, None, [1], "WordNet"),
        (["tench", "Toilet_Tissue"], 1000, imagenet_labels(), [0, 999], "names"),
        (["hen", "Great-White shark"], 4, ANIMALS, [1, 0], "names"),
        (["0", "003", "2"], 4, ANIMALS, [0, 3, 2], "indices"),
        (["7", "1"], 2, ("7", "1"), [0, 1], "names"),
        (["cat", "ape"], 2, None, [1, 0], "sorted by name"),
    ],
)
def test_the_class_of_a_folder(
    folders: list[str],
    count: int,
    labels: tuple[str, ...] | None,
    wanted: list[int],
    said: str,
) -> None:
    found, words = map_folders(folders, count, labels, "net")
    assert [found[name] for name in folders] == wanted
    assert said in words


@pytest.mark.parametrize(
    ("folders", "count", "labels", "said"),
    [
        (["hen", "ox"], 4, ANIMALS, "ox of 2 are not among the names"),
        (["hen house"], 4, ANIMALS, "hen house of 1 are not"),  # two classes are spelt so
        (["0", "4"], 4, ANIMALS, "4 of 2 are not among the indices"),
        (["n01440764"], 999, None, "are not the classes of net"),
        (["n01440764", "n99999999"], 1000, None, "n99999999 of 2"),
        (["²"], 4, ANIMALS, "are not the classes"),
        (["a", "b"], 3, None, "are not the classes of net"),
        (["a"], 4, ("a", "b"), "4 classes; 2 labels were given"),
    ],
)
def test_folders_that_are_not_the_models_classes(
    folders: list[str], count: int, labels: tuple[str, ...] | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        map_folders(folders, count, labels, "net")


def test_pictures_of_all_spellings_and_nothing_else(tmp_path: Path) -> None:
    for name in ("b/1.JPEG", "b/2.jpg", "a/3.png", "a/notes.txt", "a/.hidden.png", "1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    found = find_classes(tmp_path, None)
    assert [item.name for item in found.items] == ["a/3.png", "b/1.JPEG", "b/2.jpg"]
    assert found.folders == ("a", "b")
    assert found.notes == ["1 folders have no picture: empty."]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures in folders of classes"):
        find_classes(tmp_path, None)
