"""Capture a model as a `Program`: the only place where its Python code runs for that."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..errors import SourceError, TraceError, UsageError, summary
from ..sources.labels import imagenet_labels
from .contexts import inline_contexts
from .program import Program
from .specs import OutputSpec

if TYPE_CHECKING:
    from .source import Source

__all__ = ["flatten_outputs", "trace"]


class _TupleOutputs(torch.nn.Module):
    """Gives a module that returns a dict, a list or duplicates a flat tuple of distinct tensors."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return flatten_outputs(self.module(image))[1]


def flatten_outputs(result: Any) -> tuple[tuple[str, ...], tuple[torch.Tensor, ...]]:
    """Names and tensors of whatever a model returns.

    A tensor is called ``logits``; the values of a mapping keep their keys; the items of a sequence
    are ``output_0``, ``output_1``, …; nesting joins names with an underscore. Tensors that are one
    and the same object are given once; what is not a tensor is left out.
    """
    found: list[tuple[str, torch.Tensor]] = []

    def visit(value: Any, name: str) -> None:
        if isinstance(value, torch.Tensor):
            if all(value is not tensor for _, tensor in found):
                found.append((name or "logits", value))
        elif isinstance(value, Mapping):
            for key, item in value.items():
                visit(item, f"{name}_{key}" if name else str(key))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            for index, item in enumerate(value):
                visit(item, f"{name or 'output'}_{index}")

    visit(result, "")
    if len(found) == 1 and not isinstance(result, Mapping):
        found = [("logits", found[0][1])]
    return tuple(name for name, _ in found), tuple(tensor for _, tensor in found)


def trace(source: Source) -> Program:
    """Capture ``source.module`` as a `Program`.

    Raises:
        SourceError: the module itself fails on an input of ``source.input.shape``.
        TraceError: the module runs, but torch.export cannot capture it as one static graph.
    """
    x = torch.zeros(source.input.shape)
    result = _call_once(source, x)
    names, tensors = flatten_outputs(result)
    if not tensors:
        raise SourceError(
            f"{source.spec} returned no tensor.",
            hint="An exportable model returns a tensor, or a tuple, list or dict of tensors.",
        )
    if source.output_names is not None and len(source.output_names) == len(names):
        names = source.output_names
    outputs = tuple(
        OutputSpec(_identifier(name), tuple(tensor.shape))
        for name, tensor in zip(names, tensors, strict=True)
    )
    for output in outputs:
        if 0 in output.shape:
            raise SourceError(
                f"{source.spec} returns {output.name} of shape {output.shape}: it has no elements.",
                hint="Return tensors that hold something.",
            )
    exported = source.exported or _export(source, x, flat=isinstance(result, torch.Tensor))
    _refuse_dynamic(exported, source.spec)
    return Program(
        exported=inline_contexts(exported, source.spec),
        spec=source.spec,
        input=source.input,
        outputs=outputs,
        labels=_labels(source, outputs),
        weights=source.weights,
        notes=source.weights.notes,
    )


def _labels(source: Source, outputs: Sequence[OutputSpec]) -> tuple[str, ...] | None:
    """The source's labels, if there is one for each class of a single output of logits.

    Logits are (1, classes) or (1, classes, height, width); of other outputs nothing is known.

    Raises:
        UsageError: the user's labels are too few or too many; ImageNet's, which stand for any 1000
            classes, are left out then.
    """
    shape = outputs[0].shape
    known = len(outputs) == 1 and len(shape) in (2, 4)
    if source.labels is None or not known or len(source.labels) == shape[1]:
        return source.labels
    if source.labels == imagenet_labels():
        return None
    raise UsageError(
        f"{len(source.labels)} labels do not fit the {shape[1]} classes of {source.spec}.",
        hint="Give a text file with one label a line, in the order of the logits.",
    )


def _identifier(name: str) -> str:
    """``name`` with everything that a Core ML feature name cannot hold replaced."""
    clean = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    return clean if clean[:1].isalpha() else f"output_{clean}"


def _call_once(source: Source, x: torch.Tensor) -> Any:
    try:
        with torch.no_grad():
            return source.module(x.clone())  # which it may write to
    except Exception as error:  # the user's own code may raise anything
        height, width = x.shape[-2:]
        raise SourceError(
            f"{source.spec} fails on an input of shape {tuple(x.shape)}: "
            f"{summary(error)}{_where(error)}",
            hint=f"Is {height}x{width} a size that it takes? Try another with --size HEIGHTxWIDTH, "
            "another number of input channels with --channels.",
        ) from error


def _export(source: Source, x: torch.Tensor, *, flat: bool) -> torch.export.ExportedProgram:
    target = source.module if flat else _TupleOutputs(source.module)
    try:
        with torch.no_grad():
            return torch.export.export(target, (x,), strict=False)
    except Exception as error:  # torch.export raises many types, some of them private
        text = str(error)
        if "data-dependent" in text or "DataDependent" in type(error).__name__:
            reason = "its control flow depends on the values of a tensor"
            hint = (
                "A phone file is one static graph. Replace the `if` or loop on tensor values by "
                "torch.where or arithmetic, then try again."
            )
        else:
            reason = summary(error)
            hint = (
                "Run torch.export.export(model, (example,)) by itself to see torch's full report."
            )
        raise TraceError(
            f"torch.export cannot capture {source.spec}: {reason}{_where(error)}", hint=hint
        ) from error


def _refuse_dynamic(exported: torch.export.ExportedProgram, spec: str) -> None:
    for node in exported.graph.nodes:
        value = node.meta.get("val")
        if isinstance(value, torch.Tensor) and any(not isinstance(n, int) for n in value.shape):
            trace_of_user: str = node.meta.get("stack_trace") or ""
            lines = [line.strip() for line in trace_of_user.splitlines() if line.strip()]
            where = f" ({lines[-1]})" if lines else ""
            raise TraceError(
                f"The shape of a tensor in {spec} depends on the values of the image: "
                f"{node.name}{where}.",
                hint="A phone file has static shapes. Replace x[mask], nonzero and unique by "
                "torch.where or a product with the mask.",
            )


def _where(error: BaseException) -> str:
    """`` (file.py:12, in forward)`` for the innermost frame outside torch, or nothing."""
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "/torch/" not in frame.filename.replace("\\", "/")
        and "mobile_export" not in frame.filename
        and not frame.filename.startswith("<")
    ]
    if not frames:
        return ""
    frame = frames[-1]
    return f" ({frame.filename}:{frame.lineno}, in {frame.name})"
