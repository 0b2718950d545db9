"""Pickles of a few bytes that would take all time or memory are refused before they are read."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mobile_export.errors import WeightsError
from mobile_export.sources import pickles
from mobile_export.sources.checkpoint import read_checkpoint
from mobile_export.sources.pickles import check_pickle


def doubled(times: int) -> bytes:
    """``{key: 1}`` whose key is a tuple of twice the one before, so often."""
    made = b"\x80\x02)q\x01"
    for i in range(1, times + 1):
        made += b"h%ch%c\x86q%c" % (i, i, i + 1)
    return made + b"}h%cK\x01s." % (times + 1)


def deep(levels: int) -> bytes:
    return b"\x80\x02})" + b"\x85" * levels + b"K\x01s."


class Huge:
    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (2**36,)


LONG = b"\x80\x02}\x8b" + (2**22).to_bytes(4, "little") + b"\x7f" * 2**22 + b"K\x01s."
TRAPS = [doubled(60), deep(10**6), pickle.dumps({"a": Huge()}, 2), LONG]


@pytest.mark.parametrize("trap", TRAPS, ids=["wide", "deep", "huge", "long"])
@pytest.mark.parametrize("kind", ["zip", "legacy"])
def test_traps(trap: bytes, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    if kind == "zip":
        whole = io.BytesIO()
        torch.save({"a": torch.zeros(2)}, whole)
        with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, trap if name.endswith("data.pkl") else old.read(name))
    else:
        path.write_bytes(trap)
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="its pickle") as caught:
        read_checkpoint(path)
    assert "damaged" in caught.value.message
    assert time.perf_counter() - start < 10


def test_the_traps_are_pickles() -> None:
    for trap in TRAPS:
        assert list(pickletools.genops(trap))[-1][0].name == "STOP"
    key: tuple[Any, ...] = ()
    for _ in range(3):
        key = (key, key)
    assert pickle.loads(doubled(3)) == {key: 1}


def test_the_stack_is_followed() -> None:
    """Of pickles of every kind, nothing is refused, and the next one begins behind each."""
    shared = (1, 2, (3, "x"))
    values = [
        {shared: [shared, {"a": {1, 2}, 5: b"x"}]}, [[], (), {}, 2**70, 1.5, None, True],
        collections.OrderedDict(a=bytearray(b"abc" * 1000)), [bytes(300), "é" * 300, 10**6],
    ]  # fmt: skip
    for protocol in range(5):
        stream = io.BytesIO(b"".join(pickle.dumps(value, protocol) for value in values))
        for _ in values:
            check_pickle(stream)
        assert not stream.read()


def test_checkpoints_that_hold_themselves(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    tensor = torch.ones(2)
    itself: dict[str, Any] = {"a.weight": tensor}
    itself["self"] = itself
    in_list: list[Any] = []
    in_list.append(in_list)
    ordered: Any = collections.OrderedDict(a=tensor)
    ordered["o"] = ordered
    for content in ({"state_dict": itself}, {"a": tensor, "l": in_list}, ordered):
        for zipped in (True, False):
            torch.save(content, path, _use_new_zipfile_serialization=zipped)
            (value,) = read_checkpoint(path).tensors.values()
            assert torch.equal(value, tensor)
    wrapper: dict[str, Any] = {}
    wrapper["state_dict"] = wrapper
    torch.save(wrapper, path)
    with pytest.raises(WeightsError, match="holds itself"):
        read_checkpoint(path)


def test_many_opcodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a gigabyte of them would take a quarter of an hour."""
    monkeypatch.setattr(pickles, "_MOST_STEPS", 1000)
    check_pickle(io.BytesIO(b"\x80\x02" + b"N0" * 490 + b"}."))
    with pytest.raises(ValueError, match="more than 1,000 opcodes"):
        check_pickle(io.BytesIO(b"\x80\x02" + b"N0" * 500 + b"}."))
