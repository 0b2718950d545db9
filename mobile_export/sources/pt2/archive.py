"""Open a ``.pt2`` archive: its members, none of which is code, and its tensors.

``torch.export.load`` trusts its file. An archive can make it run code in more ways than pickles:

- weights and constants may be pickles (``use_pickle``), custom or opaque objects always are, and
  so are the legacy formats; sample inputs fall back to a full unpickling when ``weights_only``
  refuses them;
- an op is looked up by attribute from ``torch``, so ``torch.os.system`` is an op like any other;
- symbolic sizes, wherever they stand, go through ``sympy.sympify``, which is ``eval``; guards are
  source text for ``exec``;
- tree specs import modules by name; names of nodes and parameters become generated source text;
- compiled code (AOTInductor) is machine code.

So PyTorch reads nothing of it. This module takes the members apart, `schema` types their JSON,
`operators` says what may be called, and `build` makes the program.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from msgspec import UnsetType
from torch import Tensor

from ...errors import SourceError
from ...system.files import MIB
from ..zips import members, read_member
from .schema import (
    ModelProgram,
    PayloadConfig,
    SymInt,
    TensorMeta,
    TensorPayload,
    decode,
)

__all__ = ["Contents", "damaged", "dtype_of", "extents_of", "open_archive", "static", "unsafe"]

_MODEL = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_WEIGHTS = ("data/weights/", "model_weights_config.json", "weight_")
_CONSTANTS = ("data/constants/", "model_constants_config.json", "tensor_")
_MEMBERS = (
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|version"
    r"|models/model\.json|data/sample_inputs/model\.pt|extra/.*"
    r"|data/weights/(weight_[0-9]+|model_weights_config\.json)"
    r"|data/constants/(tensor_[0-9]+|model_constants_config\.json)"
)
_MAX_JSON = 128 * MIB
_MAX_SAMPLE = 1024 * MIB
_UNFOLDING = 8
"""How many times larger tensors may be than their bytes: several may share them."""

_PICKLED = {
    *("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor", "torch._tensor Tensor"),
    *("torch._utils _rebuild_parameter", "torch.storage UntypedStorage", "torch Size"),
    *("collections OrderedDict", "torch.nn.parameter Parameter", "torch.storage TypedStorage"),
    *(f"torch {kind}Storage" for kind in ("Float", "Double", "Half", "BFloat16", "Long", "Int")),
    *(f"torch {kind}Storage" for kind in ("Short", "Char", "Byte", "Bool")),
}
"""What the pickle of plain tensors names; it is looked at, never run."""

_DTYPES = {
    1: torch.uint8,
    2: torch.int8,
    3: torch.int16,
    4: torch.int32,
    5: torch.int64,
    6: torch.float16,
    7: torch.float32,
    8: torch.float64,
    10: torch.complex64,
    11: torch.complex128,
    12: torch.bool,
    13: torch.bfloat16,
}
STRIDED = 7

_AROUND = (
    "If you trust whoever made it, load it in a script of your own and give the module that comes "
    "out as MODULE:FUNCTION, or save it again with torch.export.save in a current PyTorch."
)
_STATIC = "Export it with static shapes (no dynamic_shapes) and save it again."


@dataclass(frozen=True)
class Contents:
    """A ``.pt2`` archive, read: the typed program and its tensors by name."""

    program: ModelProgram
    state: dict[str, Tensor]
    constants: dict[str, Tensor]


def open_archive(content: bytes, name: str) -> Contents:
    """Read the members of a ``.pt2`` file.

    Args:
        content: the whole file.
        name: of the file, for messages.

    Raises:
        SourceError: it is damaged, of another kind, or holds more than a program and its tensors.
    """
    if not content:
        raise SourceError(f"{name} is empty (0 bytes).", hint="Save it again.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = members(archive, len(content))
            inside = _inside(found, name)
            _check_members(inside, name)
            return _read(archive, inside, name)
    except SourceError:
        raise
    except Exception as error:  # zipfile and zlib raise many types for damaged files
        raise damaged(name, error) from error


def damaged(name: str, error: BaseException | str) -> SourceError:
    """The error of a file that is not, or no longer, what torch.export.save writes."""
    lines = str(error).strip().splitlines()
    text = lines[0][:300] if lines else type(error).__name__
    text = "".join(c if c.isprintable() else "?" for c in text)
    return SourceError(
        f"{name} is truncated, damaged, or not a program of this PyTorch ({torch.__version__}): "
        f"{text}",
        hint="Save it again with torch.export.save(program, 'FILE.pt2').",
    )


def unsafe(name: str, what: str) -> SourceError:
    """The error of a file that PyTorch could be made to run code with."""
    return SourceError(
        f"{name} was not loaded: {what}, and loading that can run code.", hint=_AROUND
    )


def static(name: str, what: str) -> SourceError:
    """The error of a file that is no static program."""
    return SourceError(f"{name} has {what}.", hint=_STATIC)


def _inside(found: Mapping[str, zipfile.ZipInfo], name: str) -> dict[str, zipfile.ZipInfo]:
    """Members by name without the archive's top folder; other kinds of archive are refused."""
    inside = {member.partition("/")[2]: info for member, info in found.items()}
    if "serialized_exported_program.json" in found:
        raise unsafe(
            name, "it is of the old format of PyTorch 2.7 or older, which is made of pickles"
        )
    if "constants.pkl" in inside:
        raise unsafe(name, "it is a TorchScript program")
    if "archive_format" not in inside:
        kind = "a checkpoint" if "data.pkl" in inside else "some other zip archive"
        raise SourceError(
            f"{name} is {kind}, not a saved torch.export program.",
            hint="A checkpoint is given with `weights='FILE'` beside the model's name."
            if "data.pkl" in inside
            else "Save one with torch.export.save(program, 'FILE.pt2').",
        )
    if len({member.partition("/")[0] for member in found}) != 1:
        raise ValueError("its members lie in several folders")
    return inside


def _check_members(inside: Mapping[str, zipfile.ZipInfo], name: str) -> None:
    if any(member.startswith("data/aotinductor") for member in inside):
        raise unsafe(name, "it holds compiled machine code (AOTInductor)")
    for member in inside:
        if re.fullmatch(_MEMBERS, member, re.ASCII) is None:
            if re.match(r"models/", member):
                raise SourceError(
                    f"{name} holds a program called {member[7:]!r}.",
                    hint="Save a single one with torch.export.save(program, 'FILE.pt2').",
                )
            raise unsafe(name, f"it holds {member!r}, which is a pickle or unknown")


def _read(archive: zipfile.ZipFile, inside: dict[str, zipfile.ZipInfo], name: str) -> Contents:
    def member(path: str, limit: int | None = None) -> bytes:
        if path not in inside:
            raise ValueError(f"it has no member {path}")
        return read_member(archive, inside[path], limit)

    if member("archive_format", 16) != b"pt2":
        raise ValueError("its archive_format is not pt2")
    if "byteorder" in inside and member("byteorder", 16) != b"little":
        raise SourceError(f"{name} was saved on a big-endian machine.", hint="Save it on another.")
    program = decode(member(_MODEL, _MAX_JSON), ModelProgram)
    _check_sample_inputs(member(_SAMPLE_INPUTS, _MAX_SAMPLE), name)
    stores = []
    for folder, config, prefix in (_WEIGHTS, _CONSTANTS):
        payloads = decode(member(folder + config, _MAX_JSON), PayloadConfig).config
        for tensor, entry in payloads.items():
            plain = re.fullmatch(rf"{prefix}[0-9]+", entry.path_name, re.ASCII) is not None
            if entry.use_pickle or not plain or entry.tensor_meta is None:
                raise unsafe(name, f"its tensor {tensor!r} is a pickled object")
        paths = dict.fromkeys(entry.path_name for entry in payloads.values())
        raw = {path: bytearray(member(folder + path)) for path in paths}
        stores.append(_tensors(payloads, raw, name))
    return Contents(program, *stores)


def _tensors(
    payloads: Mapping[str, TensorPayload], raw: Mapping[str, bytearray], name: str
) -> dict[str, Tensor]:
    """Tensors over the bytes of an archive; those that shared memory share it again."""
    unfolded = 0
    flats: dict[tuple[str, torch.dtype], Tensor] = {}
    found: dict[str, Tensor] = {}
    for tensor, entry in payloads.items():
        assert entry.tensor_meta is not None  # checked by the caller
        meta, data = entry.tensor_meta, raw[entry.path_name]
        dtype = dtype_of(meta, name)
        sizes, strides, offset = extents_of(meta, name)
        count = 1
        for extent in sizes:
            count *= extent
        unfolded += count * dtype.itemsize
        if unfolded > _UNFOLDING * sum(map(len, raw.values())) + MIB:
            raise ValueError(f"its tensors are many times larger than their bytes, from {tensor!r}")
        last = offset + sum((n - 1) * step for n, step in zip(sizes, strides, strict=True))
        if len(data) % dtype.itemsize or (count and (last + 1) * dtype.itemsize > len(data)):
            raise ValueError(f"its tensor {tensor!r} does not lie in its {len(data):,} bytes")
        key = (entry.path_name, dtype)
        if key not in flats:
            flats[key] = _flat(data, dtype)
        value = flats[key].as_strided(sizes, strides, offset if count else 0)
        if entry.is_param:
            wanted = meta.requires_grad and (dtype.is_floating_point or dtype.is_complex)
            value = torch.nn.Parameter(value, requires_grad=wanted)
        found[tensor] = value
    return found


def _flat(data: bytearray, dtype: torch.dtype) -> Tensor:
    if not data:
        return torch.empty(0, dtype=dtype)
    if dtype is torch.bool:  # any other byte than 0 and 1 is undefined behaviour
        return torch.frombuffer(data, dtype=torch.uint8) != 0
    return torch.frombuffer(data, dtype=dtype)


def dtype_of(meta: TensorMeta, name: str) -> torch.dtype:
    """The dtype of a dense tensor on the CPU.

    Raises:
        SourceError: it is on another device, sparse, or of a type that is not taken.
    """
    if meta.device.type != "cpu":
        raise SourceError(
            f"{name} was exported on the device {meta.device.type[:20]!r}.",
            hint="Export the model on the CPU: model.cpu().",
        )
    if meta.layout != STRIDED:
        raise SourceError(
            f"{name} holds sparse tensors.", hint="Store them dense: tensor.to_dense()."
        )
    if meta.dtype not in _DTYPES:
        raise SourceError(
            f"{name} holds tensors of PyTorch's type number {meta.dtype}.",
            hint="Export the model in float32: model.float().",
        )
    return _DTYPES[meta.dtype]


def extents_of(meta: TensorMeta, name: str) -> tuple[list[int], list[int], int]:
    """Sizes, strides and storage offset of a tensor, in elements.

    Raises:
        SourceError: one of them is symbolic.
        ValueError: there are not as many strides as sizes.
    """

    def number(value: SymInt) -> int:
        if not isinstance(value.as_int, int) or not isinstance(value.as_expr, UnsetType):
            raise static(name, "symbolic sizes")
        return value.as_int

    sizes, strides = [number(n) for n in meta.sizes], [number(n) for n in meta.strides]
    if len(sizes) != len(strides):
        raise ValueError(f"a tensor has {len(sizes)} sizes and {len(strides)} strides")
    return sizes, strides, number(meta.storage_offset)


def _check_sample_inputs(content: bytes, name: str) -> None:
    """Refuse sample inputs that are more than tensors; they are not used, so not unpickled."""
    if not content:
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = members(archive, len(content))
            (pickled,) = [info for member, info in found.items() if member.endswith("/data.pkl")]
            names = _named(read_member(archive, pickled, _MAX_JSON))
    except Exception as error:  # whatever a damaged archive or pickle provokes
        raise unsafe(name, "its sample inputs are more than tensors") from error
    if names - _PICKLED:
        raise unsafe(name, f"its sample inputs are more than tensors ({min(names - _PICKLED)!r})")


def _named(pickled: bytes) -> set[str]:
    """``module name`` of everything that a pickle names.

    Raises:
        ValueError: it names something in a way that is not looked through.
    """
    names = set()
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            names.add(str(argument))
        elif opcode.name in ("STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID"):
            raise ValueError(f"its pickle uses {opcode.name}")
    return names
