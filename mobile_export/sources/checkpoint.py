"""Read a checkpoint file that somebody else made: tensors by name, and never any of its code.

Formats: safetensors; torch.save's zip and legacy files, through ``weights_only=True``, which
builds tensors and plain containers and refuses to call anything else (``argparse.Namespace``, in
which many training scripts save their arguments, is let through: it only holds attributes). Before
that the archive is read once: lengths and checksums of its members are right, and it unpacks to
about its own size.
"""

from __future__ import annotations

import argparse
import difflib
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import WeightsError
from ..system.files import MIB, regular_file
from .pickles import check_pickle
from .zips import DAMAGE, members, verify_member

__all__ = ["SUFFIXES", "Checkpoint", "files_of", "read_checkpoint", "read_folder", "strip_prefix"]

SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")

# Wrappers in order of preference. An average of the weights comes before the weights that were
# last trained, as in timm's load_checkpoint(use_ema=True); but EMO's own evaluation reads "net"
# (model.model_kwargs.ema=False in its configs/mobile/cls_emo.py), so "net_E" comes after it.
WRAPPERS = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema"),
    *("state_dict", "model", "net", "net_E"),
)
PREFIXES = ("module.", "_orig_mod.", "model.", "net.")

MAX_WRAPPERS = 16
"""Dictionaries inside each other; a checkpoint can hold itself"""

MAX_PICKLE = 512 * MIB
"""Of the part of a checkpoint that is not tensors; it is unpickled as a whole"""

_RESAVE = (
    "Load it in a script that you trust, and save its weights with "
    "safetensors.torch.save_file(model.state_dict(), 'model.safetensors')."
)


@dataclass(frozen=True)
class Checkpoint:
    """Tensors by name as the file has them, and what was unwrapped to get at them."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the tensors of a checkpoint.

    Raises:
        WeightsError: no such file, not a checkpoint, damaged, or one that would run code.
    """
    _check_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return _unwrap(content, path)


def files_of(folder: Path) -> list[Path]:
    """The checkpoints of a folder, sorted by name."""
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def read_folder(folder: Path, children: Sequence[str]) -> Checkpoint:
    """Read FOLDER/CHILD.pth for every child of a module, as CHILD.name of each tensor.

    Files of other names are left alone.

    Raises:
        WeightsError: a child has no file, or two; or what `read_checkpoint` says of a file.
    """
    there = files_of(folder)
    if not {path.stem for path in there} & set(children):
        names = ", ".join(path.name for path in there[:8]) or "none"
        raise WeightsError(
            f"{folder} is a folder, not a checkpoint; the checkpoints in it: {names}.",
            hint=f"Give one file ({', '.join(SUFFIXES)}).",
        )
    tensors: dict[str, Tensor] = {}
    notes: list[str] = []
    for child in children:
        files = [path for path in there if path.stem == child]
        if len(files) != 1:
            found = " and ".join(path.name for path in files) or "none"
            raise WeightsError(
                f"{folder} needs one file for {child!r}, a part of the model; it has {found}.",
                hint=f"The parts are {', '.join(children)}: {children[0]}.pth and so on.",
            )
        part = read_checkpoint(files[0])
        unprefixed, _ = strip_prefix(part.tensors, set())
        tensors |= {f"{child}.{name}": value for name, value in unprefixed.items()}
        notes += [f"{files[0].name}: {note}" for note in part.notes]
    return Checkpoint(tensors, tuple(notes))


def strip_prefix(tensors: dict[str, Tensor], wanted: set[str]) -> tuple[dict[str, Tensor], str]:
    """Take off prefixes that every key has and the model does not, as DataParallel adds them.

    Returns:
        the renamed tensors, and the prefix taken off ("" for none).
    """
    stripped = ""
    progress = True
    while progress and tensors:
        progress = False
        for prefix in PREFIXES:
            names = [name for name in tensors if name != "n_averaged"]
            if not names or not all(name.startswith(prefix) for name in names):
                continue
            if any(name.startswith(prefix) for name in wanted):
                continue
            tensors = {name.removeprefix(prefix): tensors[name] for name in names}
            stripped += prefix
            progress = True
    return tensors, stripped


def _check_file(path: Path) -> None:
    if not path.exists():
        folder = path.parent
        others = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
        others = [name for name in others if Path(name).suffix in SUFFIXES]
        near = difflib.get_close_matches(path.name, others, n=3, cutoff=0.5) or others[:3]
        hint = (
            f"Near it: {', '.join(near)}." if near else f"No checkpoint is in {folder.resolve()}."
        )
        raise WeightsError(f"There is no file {path}.", hint=hint)
    if path.suffix not in SUFFIXES:
        raise WeightsError(
            f"{path} does not look like a checkpoint: its suffix is {path.suffix or 'missing'!r}.",
            hint=f"Valid suffixes: {', '.join(SUFFIXES)}.",
        )
    if not regular_file(path, error=WeightsError):
        raise WeightsError(f"{path} is empty (0 bytes).", hint="Download or save it again.")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error


def _damaged(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{path} is truncated or damaged ({path.stat().st_size} bytes): {reason}",
        hint="Download or save it again, and compare its size or checksum with the original's.",
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise _damaged(path, _first_line(error)) from error


def _read_torch(path: Path) -> Any:
    is_zip = _check_zip(path)
    mapped = is_zip and _check_content(path)
    if not is_zip:
        _check_legacy(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if not is_zip and not _pickle_is_whole(path):
            raise _damaged(path, "its pickle breaks off") from error
        raise _refused(path, error) from error
    except Exception as error:  # a damaged pickle fails wherever it is damaged
        raise _damaged(path, _first_line(error)) from error


def _check_zip(path: Path) -> bool:
    """Whether the file is a zip archive, which torch.save writes since 1.6; refuses other kinds."""
    with path.open("rb") as file:
        start = file.read(16)
    if start[:4] != b"PK\x03\x04":
        if start[:1] not in (b"\x80",):  # a pickle of protocol 2 or newer
            raise WeightsError(
                f"{path} is not a checkpoint: it is neither a zip archive nor a pickle, as "
                "torch.save writes.",
                hint="Is it an error page, or a Git LFS pointer, saved in place of the file?"
                if start[:1] in (b"<", b"v", b"{")
                else f"Valid are files that torch.save wrote, and {SUFFIXES[-1]}.",
            )
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # BadZipFile, UnicodeDecodeError, struct.error, …
        raise _damaged(path, _first_line(error)) from error
    inside = {name.partition("/")[2] for name in names}
    if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
        raise WeightsError(
            f"{path} is a TorchScript program, not a checkpoint; loading it would run its code.",
            hint=_RESAVE.replace("Load it", "Load it with torch.jit.load"),
        )
    if "models/model.json" in inside or "serialized_exported_program.json" in names:
        raise WeightsError(
            f"{path} is a saved torch.export program, not a checkpoint.",
            hint="Rename it to FILE.pt2 and give it in place of the model's name.",
        )
    if "data.pkl" not in inside:
        raise WeightsError(
            f"{path} is a zip archive, but not one that torch.save wrote.",
            hint=f"It holds {', '.join(sorted(names)[:3]) or 'nothing'}.",
        )
    return True


def _check_content(path: Path) -> bool:
    """Whether the tensors of a zip archive can be mapped into memory: no member is compressed.

    Raises:
        WeightsError: a length or a checksum is wrong, or it unpacks to many times its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = members(archive, path.stat().st_size)
            for name, info in found.items():
                if name.endswith("/data.pkl") and info.file_size > MAX_PICKLE:
                    raise ValueError(f"{name} is {info.file_size:,} bytes long")
                verify_member(archive, info)
                if name.endswith("/data.pkl"):
                    with archive.open(info) as pickled:
                        check_pickle(pickled)
            return all(info.compress_type == zipfile.ZIP_STORED for info in found.values())
    except DAMAGE as error:
        damage = _damaged(path, _first_line(error))
        if "CRC-32" in str(error):
            damage.hint = (
                "Download or save it again. If it was saved after "
                "torch.serialization.set_crc32_options(False), save it with checksums."
            )
        raise damage from error


def _check_legacy(path: Path) -> None:
    """Raise WeightsError where one of the pickles at the head of a legacy file is a trap."""
    try:
        with path.open("rb") as file:
            for _ in range(5):  # number, protocol, facts of the machine, the object, its storages
                check_pickle(file)
    except ValueError as error:
        raise _damaged(path, _first_line(error)) from error


def _pickle_is_whole(path: Path) -> bool:
    """Whether the first object of a legacy file, after its three headers, is there in full."""
    with path.open("rb") as file:
        try:
            for _ in range(4):
                for _ in pickletools.genops(file):
                    pass
                if not file.peek(1):
                    break
        except Exception:  # noqa: BLE001 - whatever broken pickles provoke
            return False
    return True


def _refused(path: Path, error: pickle.UnpicklingError) -> WeightsError:
    text = str(error)
    named = re.search(r"GLOBAL (\S+)|class (\S+) because|(?:instantiate|reference) (\S+)", text)
    if named is None and "Unsupported" not in text and "not allowed" not in text:
        return _damaged(path, _first_line(error))
    what = next((group for group in named.groups() if group), "") if named else "an object"
    return WeightsError(
        f"{path} holds more than tensors: unpickling it would run code (it names {what}). "
        "It was not loaded.",
        hint=f"A whole pickled module does this too, and so does malware. {_RESAVE}",
    )


def _unwrap(content: Any, path: Path) -> Checkpoint:
    notes: list[str] = []
    while isinstance(content, Mapping):
        found = [key for key in WRAPPERS if isinstance(content.get(key), Mapping) and content[key]]
        if not found:
            break
        if len(notes) == MAX_WRAPPERS:
            raise WeightsError(
                f"{path} holds a dictionary that holds itself, or {MAX_WRAPPERS} in each other.",
                hint="Save model.state_dict().",
            )
        others = f" (it also holds {', '.join(map(repr, found[1:]))})" if found[1:] else ""
        notes.append(f"The weights are the checkpoint's {found[0]!r}{others}.")
        content = content[found[0]]
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds a {type(content).__name__}, not a dictionary of tensors.",
            hint="Save model.state_dict().",
        )
    tensors = {
        str(key): value
        for key, value in content.items()
        if isinstance(value, Tensor) and isinstance(key, (str, int))
    }
    if not tensors:
        keys = ", ".join(_shown(key) for key in list(content)[:8])
        raise WeightsError(
            f"{path} holds no tensors by name; its keys are {keys or 'none'}.",
            hint=f"Save model.state_dict(), alone or under one of {', '.join(WRAPPERS)}.",
        )
    odd = [
        n for n, value in tensors.items() if value.layout is not torch.strided or value.is_nested
    ]
    if odd:
        raise WeightsError(
            f"{path} holds sparse or nested tensors, such as {odd[0][:80]!r}.",
            hint="Save them dense: tensor.to_dense().",
        )
    empty = [name for name, value in tensors.items() if value.is_meta]
    if empty:
        raise WeightsError(
            f"{path} holds tensors without values (of the meta device), such as {empty[0][:80]!r}.",
            hint="Save the state of a model whose weights are loaded.",
        )
    return Checkpoint(tensors, tuple(notes))


def _is_odd(tensor: Tensor) -> bool:
    """Whether its values do not lie in one dense block."""
    return tensor.layout is not torch.strided or tensor.is_nested


def _shown(key: object) -> str:
    """A key for an error; others than texts and numbers may be of any size."""
    return repr(key)[:80] if isinstance(key, (str, int, float)) else type(key).__name__
