"""``file.pt2``: a program that was saved with ``torch.export.save``, its weights inside."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...errors import SourceError, UsageError
from ...graph.source import Source
from ...graph.specs import DTYPES, WeightsInfo
from ...system.files import GIB, read_regular_file
from ...system.torch_private import tree_unflatten
from ..inputs import file_names, spec_of
from ..labels import labels_for
from ..request import ModelRequest
from .archive import damaged, open_archive
from .build import build_program

__all__ = ["load_program", "read_program"]

MAX_BYTES = 16 * GIB


def load_program(request: ModelRequest) -> Source:
    """Load ``file.pt2`` after checking it; see `mobile_export.sources.table.load_source`."""
    spec = request.spec
    _check_request(spec, request)
    content = _read(Path(spec))
    exported = _program(content, spec)
    values = _input_values(exported, spec)
    _require_float32(exported, values, spec)
    _require_batch(values, request)
    info = WeightsInfo("program", path=spec, sha256=hashlib.sha256(content).hexdigest())
    if not _is_one_image(values):
        return _of_several(exported, values, request, info)
    shape = tuple(int(extent) for extent in values[0][1].shape)
    if request.size is not None and request.sizes != (shape[2:],):
        raise UsageError(
            f"`size` {request.size[0]}x{request.size[1]}: {spec} was exported for "
            f"{shape[2]}x{shape[3]}, and its graph is static.",
            hint="Leave `size` out, or export the model again at that size.",
        )
    return Source(
        spec=spec,
        module=_module(exported, spec),
        input=request.input_spec(size=(shape[2], shape[3]), channels=shape[1]),
        output_names=None,
        labels=labels_for(_classes(exported)),
        weights=replace(info, notes=_notes(request)),
        exported=exported,
    )


def _notes(request: ModelRequest) -> tuple[str, ...]:
    if request.mean is not None or request.std is not None:
        return ()
    return (
        "A saved program does not say how its input is normalised; pixels are taken as scaled "
        "to [0, 1] (`mean` and `std` say otherwise).",
    )


def _of_several(
    exported: torch.export.ExportedProgram,
    values: Sequence[tuple[str, torch.Tensor]],
    request: ModelRequest,
    info: WeightsInfo,
) -> Source:
    """A program of several inputs, or of one that is no image of float32.

    It is captured again as a module of a row of tensors: its own inputs may be keywords, or lie in
    containers.
    """
    if request.size is not None:
        raise UsageError(
            f"`size` is for one image; {request.spec} takes {_said(values)}.",
            hint="Leave `size` out: the graph is static.",
        )
    mean, std = request.mean or (0.0,), request.std or (1.0,)
    specs = [
        spec_of(name, tuple(value.shape), _dtype_of(value), mean, std) for name, value in values
    ]
    names = file_names([name for name, _ in values])
    first, *others = (replace(each, name=name) for each, name in zip(specs, names, strict=True))
    pictures = any(each.role == "image" and each.dtype == "float32" for each in specs)
    return Source(
        spec=request.spec,
        module=_Flat(_module(exported, request.spec), exported.call_spec.in_spec),
        input=first,
        output_names=None,
        labels=labels_for(_classes(exported)),
        weights=replace(info, notes=_notes(request) if pictures else ()),
        others=tuple(others),
    )


class _Flat(torch.nn.Module):
    """Calls a program with a row of tensors, whatever containers it takes them in."""

    def __init__(self, module: torch.nn.Module, structure: Any) -> None:
        super().__init__()
        self.module = module
        self.structure = structure

    def forward(self, *tensors: torch.Tensor) -> Any:
        args, kwargs = tree_unflatten(tensors, self.structure)
        return self.module(*args, **kwargs)


def _check_request(spec: str, request: ModelRequest) -> None:
    given = {
        "`weights`": request.weights is not None,
        "`num_classes`": request.num_classes is not None,
        "`channels`": request.channels is not None,
        "`pretrained`": request.pretrained,
    }
    wrong = [option for option, present in given.items() if present]
    if wrong:
        raise UsageError(
            f"{', '.join(wrong)} cannot change {spec}: a saved program has its weights and shapes.",
            hint="Leave it out, or give the Python model as MODULE:FUNCTION.",
        )


def read_program(path: Path) -> torch.export.ExportedProgram:
    """The program of a ``.pt2`` file, of any inputs and dtypes; nothing in the file is executed.

    The file is not given to ``torch.export.load``, which runs code that a file can hold; see
    `mobile_export.sources.pt2.archive`.

    Raises:
        SourceError: there is no such file; or it is damaged, no static program of ATen operators,
            or holds what could run code.
    """
    return _program(_read(path), str(path))


def _read(path: Path) -> bytes:
    if not path.exists():
        folder = path.parent
        others = [p.name for p in folder.glob("*.pt2")] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, others, n=3, cutoff=0.5) or sorted(others)[:3]
        raise SourceError(
            f"There is no file {path}.",
            hint=f"Near it: {', '.join(near)}."
            if near
            else f"No .pt2 file is in {folder.resolve()}.",
        )
    return read_regular_file(path, limit=MAX_BYTES, error=SourceError)


def _program(content: bytes, name: str) -> torch.export.ExportedProgram:
    return build_program(open_archive(content, name), name)


def _module(exported: torch.export.ExportedProgram, spec: str) -> torch.nn.Module:
    try:
        return exported.module(check_guards=False)
    except Exception as error:  # names that a module cannot have, and the like
        raise damaged(spec, error) from error


def _input_values(
    exported: torch.export.ExportedProgram, spec: str
) -> list[tuple[str, torch.Tensor]]:
    """Names and fake tensors of what the program takes.

    Raises:
        SourceError: it takes nothing, or what is no tensor of a dtype that inputs may have.
    """
    nodes = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    named = [(str(name), nodes.get(name)) for name in exported.graph_signature.user_inputs]
    values = [(name, value) for name, value in named if isinstance(value, torch.Tensor)]
    wrong = [name for name, value in values if _dtype_of(value) not in DTYPES]
    if len(values) != len(named) or wrong or not values:
        shapes = [
            f"{name} {list(value.shape)} {_dtype_of(value)}"
            if isinstance(value, torch.Tensor)
            else f"{name} ({type(value).__name__})"
            for name, value in named
        ]
        raise SourceError(
            f"{spec} takes {', '.join(shapes) or 'no inputs'}; tensors of {', '.join(DTYPES)} are "
            "what is exported.",
            hint="Export the model on such tensors and save it again.",
        )
    return values


def _is_one_image(values: Sequence[tuple[str, torch.Tensor]]) -> bool:
    _, value = values[0]
    return (
        len(values) == 1
        and value.ndim == 4
        and value.shape[0] == 1
        and value.dtype == torch.float32
    )


def _require_batch(values: Sequence[tuple[str, torch.Tensor]], request: ModelRequest) -> None:
    """Refuse a batch that is not the program's."""
    own = {int(value.shape[0]) for _, value in values if value.ndim}
    if request.batch is not None and own != {request.batch}:
        raise UsageError(
            f"`batch` {request.batch}: {request.spec} takes {_said(values)}, and its graph is "
            "static.",
            hint="Leave `batch` out, or export the model again on as many images.",
        )


def _dtype_of(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _said(values: Sequence[tuple[str, torch.Tensor]]) -> str:
    return ", ".join(f"{name} {list(value.shape)} {_dtype_of(value)}" for name, value in values)


def _require_float32(
    exported: torch.export.ExportedProgram, values: Sequence[tuple[str, torch.Tensor]], spec: str
) -> None:
    tensors = [
        *(value for _, value in values),
        *exported.state_dict.values(),
        *exported.constants.values(),
    ]
    kinds = {t.dtype for t in tensors if isinstance(t, torch.Tensor) and t.is_floating_point()} - {
        torch.float32
    }
    if kinds:
        named = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))
        raise SourceError(
            f"{spec} computes in {named}.",
            hint="Export the model in float32 (model.float()); a target's own options choose its "
            "precision.",
        )


def _classes(exported: torch.export.ExportedProgram) -> int | None:
    """Width of the only output when it is a row of logits."""
    outputs = next(node for node in exported.graph.nodes if node.op == "output").args[0]
    values = [getattr(node, "meta", {}).get("val") for node in outputs]
    if len(values) == 1 and isinstance(values[0], torch.Tensor) and values[0].ndim == 2:
        return int(values[0].shape[1])
    return None
