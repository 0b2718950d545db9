"""``file.pt2``: a program that was saved with ``torch.export.save``, its weights inside."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

import torch

from ...errors import SourceError, UsageError
from ...graph.source import Source
from ...graph.specs import WeightsInfo
from ...system.files import GIB, read_regular_file
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
    shape = _input_shape(exported, spec)
    if request.size is not None and request.size != shape[2:]:
        raise UsageError(
            f"`size` {request.size[0]}x{request.size[1]}: {spec} was exported for "
            f"{shape[2]}x{shape[3]}, and its graph is static.",
            hint="Leave `size` out, or export the model again at that size.",
        )
    notes: tuple[str, ...] = ()
    if request.mean is None and request.std is None:
        notes = (
            "A saved program does not say how its input is normalised; pixels are taken as scaled "
            "to [0, 1] (`mean` and `std` say otherwise).",
        )
    return Source(
        spec=spec,
        module=_module(exported, spec),
        input=request.input_spec(size=(shape[2], shape[3]), channels=shape[1]),
        output_names=None,
        labels=labels_for(_classes(exported)),
        weights=WeightsInfo(
            "program", path=spec, sha256=hashlib.sha256(content).hexdigest(), notes=notes
        ),
        exported=exported,
    )


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


def _input_shape(exported: torch.export.ExportedProgram, spec: str) -> tuple[int, int, int, int]:
    values = {node.name: node.meta.get("val") for node in exported.graph.nodes}
    inputs = [values.get(name) for name in exported.graph_signature.user_inputs if name in values]
    shapes = [list(v.shape) if isinstance(v, torch.Tensor) else type(v).__name__ for v in inputs]
    image = inputs[0] if len(inputs) == 1 else None
    if not isinstance(image, torch.Tensor) or image.ndim != 4 or image.shape[0] != 1:
        raise SourceError(
            f"{spec} takes {shapes or 'no inputs'}; one image of shape [1, C, H, W] is what is "
            "exported.",
            hint="Export the model on one image, batch 1, and save it again.",
        )
    tensors = [image, *exported.state_dict.values(), *exported.constants.values()]
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
    _, channels, height, width = (int(extent) for extent in image.shape)
    return 1, channels, height, width


def _classes(exported: torch.export.ExportedProgram) -> int | None:
    """Width of the only output when it is a row of logits."""
    outputs = next(node for node in exported.graph.nodes if node.op == "output").args[0]
    values = [getattr(node, "meta", {}).get("val") for node in outputs]
    if len(values) == 1 and isinstance(values[0], torch.Tensor) and values[0].ndim == 2:
        return int(values[0].shape[1])
    return None
