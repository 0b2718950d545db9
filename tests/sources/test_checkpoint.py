"""Checkpoints from strangers: archives that lie, special files, containers without an end.

What fits, and files that would run code, are in test_weights.py.
"""

from __future__ import annotations

import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mobile_export.errors import UsageError, WeightsError
from mobile_export.sources.checkpoint import read_checkpoint
from mobile_export.sources.labels import read_labels
from mobile_export.sources.weights import load_weights


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()


def saved(path: Path, content: Any) -> Path:
    torch.save(content, path)
    return path


def rezipped(path: Path, name: str, method: int) -> Path:
    target = path.with_name(name)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w", method) as copy:
        for member in source.namelist():
            copy.writestr(member, source.read(member))
    return target


def test_a_checkpoint_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"weight": torch.ones(2)}
    content["model"] = content
    with pytest.raises(WeightsError, match="holds itself"):
        read_checkpoint(saved(tmp_path / "self.pth", content))
    chain: dict[str, Any] = {"weight": torch.ones(2)}
    for _ in range(5):
        chain = {"model": chain}
    assert list(read_checkpoint(saved(tmp_path / "deep.pth", chain)).tensors) == ["weight"]


def test_lists_that_hold_themselves_and_odd_keys(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    content = {("a",) * 1000: endless, "b\x1b[31m" * 100: 1}
    with pytest.raises(WeightsError, match="no tensors by name") as caught:
        read_checkpoint(saved(tmp_path / "odd.pth", content))
    assert len(str(caught.value)) < 500
    assert "\x1b" not in str(caught.value)


def test_a_deflated_checkpoint_has_the_same_weights(tmp_path: Path) -> None:
    """Mapped into memory, its compressed bytes would be taken for numbers."""
    state = network().state_dict()
    path = rezipped(saved(tmp_path / "a.pth", state), "b.pth", zipfile.ZIP_DEFLATED)
    expected = torch.load(path, weights_only=True)
    found = read_checkpoint(path).tensors
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert all(torch.equal(found[name], state[name]) for name in found)


def test_a_changed_byte_shows_in_the_checksum(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", network().state_dict())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        whole = archive.read("a/data/0")
    content[bytes(content).index(whole) + 1] ^= 0x10
    path.write_bytes(content)
    torch.load(path, weights_only=True)  # does not look at the checksum
    with pytest.raises(WeightsError, match="CRC") as caught:
        read_checkpoint(path)
    assert "set_crc32_options" in str(caught.value)


def test_archives_that_unpack_to_gigabytes(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"a": torch.zeros(1)})
    target = tmp_path / "bomb.pth"
    packed = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(path) as source, packed as copy:
        for member in source.namelist():
            copy.writestr(member, source.read(member))
        copy.writestr("a/data/1", bytes(160 * 2**20))
    assert target.stat().st_size < 2**20
    with pytest.raises(WeightsError, match="unpack to"):
        read_checkpoint(target)


def test_tensors_without_values(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"0.weight": torch.eye(3, device="meta")})
    with pytest.raises(WeightsError, match="without values"):
        read_checkpoint(path)


def test_sparse_tensors(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"0.weight": torch.eye(3).to_sparse()})
    with pytest.raises(WeightsError, match="sparse"):
        read_checkpoint(path)


def test_nested_tensors(tmp_path: Path) -> None:
    nested = torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)])
    path = saved(tmp_path / "a.pth", {"0.weight": nested})
    with pytest.raises(WeightsError, match=r"nested|not allowed|refused"):
        read_checkpoint(path)


@pytest.mark.parametrize("name", ["x.pth", "x.safetensors"])
@pytest.mark.parametrize("kind", ["a named pipe", "a device", "a folder"])
def test_what_is_no_file(tmp_path: Path, kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    with pytest.raises(WeightsError, match=f"cannot be read: it is {kind}"):
        read_checkpoint(path)


def test_a_folder_with_a_pipe_in_it(tmp_path: Path) -> None:
    module = nn.Sequential()
    module.add_module("encoder", nn.Conv2d(3, 4, 1))
    saved(tmp_path / "encoder.pth", module.encoder.state_dict())
    os.mkfifo(tmp_path / "other.pth")
    assert load_weights(module, tmp_path).kind == "checkpoint"
    (tmp_path / "encoder.pth").unlink()
    os.mkfifo(tmp_path / "encoder.pth")
    with pytest.raises(WeightsError, match="named pipe"):
        load_weights(module, tmp_path)


@pytest.mark.parametrize("factor", [1e30, 1e-30])
def test_extreme_weights_are_said(tmp_path: Path, factor: float) -> None:
    state = {k: v * factor if k == "0.weight" else v for k, v in network().state_dict().items()}
    info = load_weights(network(), saved(tmp_path / "a.pth", state))
    assert [note for note in info.notes if "overflow or vanish: 0.weight." in note]
    plain = load_weights(network(), saved(tmp_path / "b.pth", network().state_dict()))
    assert not [note for note in plain.notes if "overflow" in note]


# ---------------------------------------------------------------- labels


def test_sixty_thousand_labels_take_no_time(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\n".join(f"class {i}" for i in range(60_000)))
    start = time.perf_counter()
    assert len(read_labels(path)) == 60_000
    assert time.perf_counter() - start < 5, "comparing each with each takes a minute"
    path.write_text("a\nb\na\n")
    with pytest.raises(UsageError, match="'a' occurs more than once"):
        read_labels(path)


def test_labels_that_are_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    for name, match in (("pipe", "named pipe"), ("endless", "device"), ("large", "at most")):
        with pytest.raises(UsageError, match=match):
            read_labels(tmp_path / name)
