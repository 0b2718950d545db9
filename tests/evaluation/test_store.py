"""The file in which an evaluation goes on: only ours is written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from mobile_export.errors import UsageError
from mobile_export.evaluation.judge import Item
from mobile_export.evaluation.store import Store

ITEM = Item("a/1.png", Path("a/1.png"), "a", (3, 4))


def opened(path: Path, *, kind: str = "classes", anew: bool = False) -> Store:
    return Store(path, kind, {"reduce_zero": False}, anew=anew)


def test_what_was_added_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    with opened(path) as store:
        assert store.find("net", ITEM) is None
        store.add("net", ITEM, [1, 2])
    with opened(path) as store:
        assert store.find("net", ITEM) == [1, 2]
        assert store.find("other", ITEM) is None
        changed = Item(ITEM.name, ITEM.picture, ITEM.truth, (3, 5))
        assert store.find("net", changed) is None
    with opened(path, anew=True) as store:
        assert store.find("net", ITEM) is None
    assert len(path.read_bytes().splitlines()) == 1


def test_a_line_that_was_torn_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    with opened(path) as store:
        store.add("net", ITEM, [1])
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[1][:20])
    with opened(path) as store:
        store.add("other", ITEM, [2])
    with opened(path) as store:
        assert (store.find("net", ITEM), store.find("other", ITEM)) == ([1], [2])


@pytest.mark.parametrize("anew", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"precious", b"{}\n", b'{"mobile_export_evaluation": 1}\n', b"\xff\n", b"[" * 99999 + b"\n"],
)
def test_what_is_not_ours_is_left_alone(content: bytes, anew: bool, tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="not the result of mobile-export evaluate"):
        opened(path, anew=anew)
    assert path.read_bytes() == content


def test_other_data_or_a_broken_line(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    opened(path).__exit__()
    with pytest.raises(UsageError, match="other data or with other options"):
        opened(path, kind="masks")
    with opened(path, kind="masks", anew=True):
        pass
    content = path.read_bytes() + b"precious\n"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"Line 2 of .* is not one of an evaluation"):
        opened(path, kind="masks")
    assert path.read_bytes() == content


def test_links_folders_and_a_file_in_use(tmp_path: Path) -> None:
    path, link = tmp_path / "e.jsonl", tmp_path / "l.jsonl"
    with opened(path), pytest.raises(UsageError, match="Another run"):
        opened(path)
    link.symlink_to(path)
    with pytest.raises(UsageError, match="is a link"):
        opened(link)
    with pytest.raises(UsageError, match="it is a folder"):
        opened(tmp_path)
    with pytest.raises(UsageError, match="its folder does not exist"):
        opened(tmp_path / "no" / "e.jsonl")
