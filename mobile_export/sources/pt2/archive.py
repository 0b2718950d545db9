"""Refuse a ``.pt2`` archive that could run code, before torch.export reads it.

``torch.export.load`` trusts its file. An archive can make it run code in more ways than pickles:

- weights and constants may be pickles (``use_pickle``), custom or opaque objects always are, and
  so are the legacy formats; sample inputs fall back to a full unpickling when ``weights_only``
  refuses them;
- an op is looked up by attribute from ``torch``, so ``torch.os.system`` is an op like any other;
- symbolic sizes go through ``sympy.sympify``, which is ``eval``; guards are source text for
  ``exec``;
- tree specs import modules by name; names of nodes and parameters become generated source text;
- compiled code (AOTInductor) is machine code.

So the archive is read with torch's own reader (a second zip reader might see other members),
everything in it is compared with what a static program of ATen ops needs, and anything else is
refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from typing import Any

import torch

from ...errors import SourceError

__all__ = ["check_archive"]

_MODEL = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_CONFIGS = {
    "data/weights/model_weights_config.json": r"weight_[0-9]+",
    "data/constants/model_constants_config.json": r"tensor_[0-9]+",
}
_MEMBERS = (
    r"archive_format|archive_version|byteorder|\.data/\w+|\.format_version|\.storage_alignment|version"
    r"|models/model\.json|data/sample_inputs/model\.pt|extra/.*"
    r"|data/weights/(weight_[0-9]+|model_weights_config\.json)"
    r"|data/constants/(tensor_[0-9]+|model_constants_config\.json)"
)
_OP = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
_FUNCTIONS = {"_operator.getitem"}
_FILE_OPS = {"from_file"}
_NAME = re.compile(r"[\w.]*", re.ASCII)
_TREE_TYPES = {
    None,
    "builtins.tuple",
    "builtins.list",
    "builtins.dict",
    "collections.OrderedDict",
}
_FREE_TEXT = {"metadata", "as_string", "torch_version", "in_spec", "out_spec", "message"}

_AROUND = (
    "If you trust whoever made it, load it in a script of your own and give the module that comes "
    "out as MODULE:FUNCTION, or save it again with torch.export.save in a current PyTorch."
)
_STATIC = "Export it with static shapes (no dynamic_shapes) and save it again."


def check_archive(content: bytes, name: str) -> None:
    """Check that a ``.pt2`` file holds one static program of ATen ops and plain tensors.

    Args:
        content: the whole file.
        name: of the file, for messages.

    Raises:
        SourceError: it is damaged, of another kind, dynamic, or could run code.
    """
    from torch.export.pt2_archive._package import PT2ArchiveReader

    _check_zip(content, name)
    try:
        with PT2ArchiveReader(io.BytesIO(content)) as reader:
            names = list(reader.get_file_names())
            _check_members(names, name)
            members = {member: reader.read_bytes(member) for member in (_MODEL, _SAMPLE_INPUTS)}
            configs = {member: reader.read_bytes(member) for member in _CONFIGS}
    except SourceError:
        raise
    except Exception as error:  # the reader raises RuntimeError, ValueError, AssertionError, …
        raise damaged(name, error) from error
    try:
        for member, pattern in _CONFIGS.items():
            _check_config(json.loads(configs[member]), pattern, name)
        _check_program(json.loads(members[_MODEL]), name)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(name, error) from error
    _check_sample_inputs(members[_SAMPLE_INPUTS], name)


def damaged(name: str, error: BaseException) -> SourceError:
    """The error of a file that is not, or no longer, what torch.export.save writes."""
    lines = str(error).strip().splitlines()
    return SourceError(
        f"{name} is truncated, damaged, or not a program of this PyTorch ({torch.__version__}): "
        f"{lines[0][:200] if lines else type(error).__name__}",
        hint="Save it again with torch.export.save(program, 'FILE.pt2').",
    )


def _unsafe(name: str, what: str) -> SourceError:
    return SourceError(
        f"{name} was not loaded: {what}, and loading that can run code.", hint=_AROUND
    )


def _check_zip(content: bytes, name: str) -> None:
    if not content:
        raise SourceError(f"{name} is empty (0 bytes).", hint="Save it again.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
    except Exception as error:  # BadZipFile, UnicodeDecodeError, struct.error, …
        raise damaged(name, error) from error
    inside = {member.partition("/")[2] for member in names}
    if "serialized_exported_program.json" in names:
        raise _unsafe(
            name, "it is of the old format of PyTorch 2.7 or older, which is made of pickles"
        )
    if "constants.pkl" in inside:
        raise _unsafe(name, "it is a TorchScript program")
    if "archive_format" not in inside:
        kind = "a checkpoint" if "data.pkl" in inside else "some other zip archive"
        raise SourceError(
            f"{name} is {kind}, not a saved torch.export program.",
            hint="A checkpoint is given with --weights FILE beside the model's name."
            if "data.pkl" in inside
            else "Save one with torch.export.save(program, 'FILE.pt2').",
        )


def _check_members(names: list[str], name: str) -> None:
    if any(member.startswith("data/aotinductor") for member in names):
        raise _unsafe(name, "it holds compiled machine code (AOTInductor)")
    for member in names:
        if re.fullmatch(_MEMBERS, member, re.ASCII) is None:
            if re.match(r"models/", member):
                raise SourceError(
                    f"{name} holds a program called {member[7:]!r}.",
                    hint="Save a single one with torch.export.save(program, 'FILE.pt2').",
                )
            raise _unsafe(name, f"it holds {member!r}, which is a pickle or unknown")


def _check_config(config: Any, pattern: str, name: str) -> None:
    for tensor, entry in config["config"].items():
        if entry["use_pickle"] or re.fullmatch(pattern, entry["path_name"], re.ASCII) is None:
            raise _unsafe(name, f"its tensor {tensor!r} is a pickled object")
        if _NAME.fullmatch(tensor) is None:
            raise _unsafe(name, f"a tensor is called {tensor!r}")


def _check_sample_inputs(content: bytes, name: str) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:  # UnpicklingError, or whatever a damaged pickle provokes
        raise _unsafe(name, "its sample inputs are more than tensors") from error


def _check_program(program: Any, name: str) -> None:
    if program["range_constraints"]:
        raise SourceError(f"{name} has dynamic shapes.", hint=_STATIC)
    if program["guards_code"]:
        raise SourceError(f"{name} has guards on its inputs.", hint=_STATIC)
    module = program["graph_module"]
    if module.get("treespec_namedtuple_fields"):
        raise _unsafe(name, "its inputs or outputs are named tuples")
    for call in module["module_call_graph"]:
        signature = call.get("signature")
        for key in ("in_spec", "out_spec") if signature else ():
            if signature[key]:
                _check_tree(json.loads(signature[key])[1], name)
    for key, value in _walk(module):
        _check_item(key, value, name)


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every (key, value) pair of nested JSON, with the key of a list for its items."""
    stack: list[tuple[str, Any]] = [("", value)]
    while stack:
        key, item = stack.pop()
        yield key, item
        if key in _FREE_TEXT:
            continue
        if isinstance(item, dict):
            stack.extend(item.items())
        elif isinstance(item, list):
            stack.extend((key, element) for element in item)


def _check_item(key: str, value: Any, name: str) -> None:
    if _NAME.fullmatch(key) is None:
        raise _unsafe(name, f"something in it is called {key!r}")
    if key in ("as_expr", "expr_str"):
        raise SourceError(f"{name} has symbolic sizes.", hint=_STATIC)
    if key in ("as_custom_obj", "custom_obj", "as_opaque_obj") or (
        key == "custom_obj_values" and value
    ):
        raise _unsafe(name, "it holds a custom object")
    if key in ("target", "as_operator") and isinstance(value, str):
        _check_op(value, name)
    elif isinstance(value, str) and key not in _FREE_TEXT and _NAME.fullmatch(value) is None:
        raise _unsafe(name, f"its {key} is {value[:60]!r}")


def _check_op(target: str, name: str) -> None:
    if target in _FUNCTIONS:
        return
    match = _OP.fullmatch(target)
    packet = getattr(torch.ops.aten, match[1], None) if match else None
    op = getattr(packet, match[2], None) if match and packet is not None else None
    if not isinstance(op, torch._ops.OpOverload) or (match and match[1] in _FILE_OPS):
        raise SourceError(
            f"{name} was not loaded: it calls {target[:80]!r}, which is not an ATen op.",
            hint="Custom and higher-order ops cannot be exported; if "
            "program.run_decompositions() removes it, save that.",
        )


def _check_tree(spec: Any, name: str) -> None:
    if spec["type"] not in _TREE_TYPES:
        raise _unsafe(name, f"its inputs or outputs hold a {spec['type']!r}")
    context = spec["context"]
    keys = json.loads(context) if isinstance(context, str) else context
    plain = keys is None or (
        isinstance(keys, list)
        and all(isinstance(k, str) and _NAME.fullmatch(k) is not None for k in keys)
    )
    if not plain:
        raise _unsafe(name, f"its inputs or outputs have the keys {str(context)[:60]!r}")
    for child in spec["children_spec"]:
        _check_tree(child, name)
