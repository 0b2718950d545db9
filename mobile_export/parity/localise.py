"""Which layer went wrong? Compare every tensor of an artifact with the original model's.

Converters rename, fuse and transpose, so a tensor of a file is matched with the model's in two
ways. By value: the sorted elements agree within the tolerance; that finds a tensor under any name
and layout. By name: the converters keep many of torch.export's node names. A tensor that matches
by value is good. One that does not, and on which no good tensor depends, is bad: the error came in
there or before it. (A tensor that a converter rewrote on purpose, such as a convolution that
absorbed a norm, has no counterpart either, but good tensors depend on it.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..graph.float64 import double_copy, run_float64
from ..graph.program import Program
from .compare import compare
from .samples import Sample
from .session import Session, Tensor

__all__ = ["LayerError", "LayerReport", "localise"]

_CAST_SUFFIX = re.compile(r"(_cast_fp(16|32)|_to_fp(16|32)|_output|_0)$")


@dataclass(frozen=True)
class LayerError:
    """A tensor whose error passes the tolerance.

    Attributes:
        tensor: its name in the artifact.
        module: path of the PyTorch module that it came from, as exactly as it is known.
        counterpart: the model's tensor it was compared with, or None when none has its size.
        max_rel: error relative to the largest magnitude of the counterpart.
    """

    tensor: str
    module: str
    counterpart: str | None
    shape: tuple[int, ...]
    max_rel: float | None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**vars(self), "shape": list(self.shape)}


@dataclass(frozen=True)
class LayerReport:
    """Result of `localise`: ``errors`` in execution order, the first is where to look."""

    tensors: int
    good: int
    errors: tuple[LayerError, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "tensors": self.tensors,
            "good": self.good,
            "errors": [error.to_dict() for error in self.errors],
        }


@dataclass(frozen=True)
class _Expected:
    """One tensor of the original model, in float64."""

    order: int
    name: str
    module: str
    value: np.ndarray
    ordered: np.ndarray
    scale: float


class _Recorder(torch.fx.Interpreter):
    """Runs a graph and keeps every floating-point tensor with its module path."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.found: list[_Expected] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        if (
            n.op == "call_function"
            and isinstance(result, torch.Tensor)
            and result.is_floating_point()
        ):
            value = result.detach().numpy()
            ordered = np.sort(value, axis=None)
            scale = float(np.abs(ordered).max()) if ordered.size else 0.0
            module = _module_path(n)
            self.found.append(_Expected(len(self.found), n.name, module, value, ordered, scale))
        return result


def _module_path(node: torch.fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values()]
    return str(paths[-1]) if paths else ""


def localise(
    session: Session, program: Program, sample: Sample, tolerance: float, *, limit: int = 5
) -> LayerReport:
    """The first ``limit`` tensors of ``session`` whose error passes ``tolerance``.

    Args:
        program: the captured model before any pass; its float64 values are the reference.
        sample: an input that the artifact takes.
        tolerance: relative to the largest magnitude of each tensor.
    """
    module = double_copy(program.module())
    assert isinstance(module, torch.fx.GraphModule)
    recorder = _Recorder(module)
    run_float64(recorder.run, *sample.all_given())
    tensors = [t for t in session.tensors(sample) if np.issubdtype(t.value.dtype, np.floating)]
    matches = {t.name: _match(t.value, recorder.found, tolerance) for t in tensors}
    good = {name for name, match in matches.items() if match is not None}
    excused = _ancestors(good, {t.name: t.inputs for t in tensors})
    bad = [t for t in tensors if t.name not in good and t.name not in excused]
    errors = [_describe(t, tensors, matches, recorder.found) for t in bad[:limit]]
    return LayerReport(len(tensors), len(good), tuple(errors))


def _match(value: np.ndarray, expected: Iterable[_Expected], tolerance: float) -> _Expected | None:
    """The model's tensor that has the same elements, in any order, within the tolerance."""
    ordered = np.sort(value.astype(np.float64), axis=None)
    for candidate in expected:
        if candidate.ordered.size != ordered.size:
            continue
        allowed = tolerance * candidate.scale
        ends = np.abs(ordered[[0, -1]] - candidate.ordered[[0, -1]])
        if (ends <= allowed).all() and (np.abs(ordered - candidate.ordered) <= allowed).all():
            return candidate
    return None


def _ancestors(names: set[str], inputs: Mapping[str, tuple[str, ...]]) -> set[str]:
    """Everything that the tensors ``names`` were computed from."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        for name in inputs.get(waiting.pop(), ()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _describe(
    tensor: Tensor,
    tensors: list[Tensor],
    matches: Mapping[str, _Expected | None],
    expected: list[_Expected],
) -> LayerError:
    counterpart = _by_name(tensor, expected) or _by_position(tensor, tensors, matches, expected)
    if counterpart is None:
        return LayerError(tensor.name, tensor.module or "unknown", None, tensor.value.shape, None)
    if tensor.value.shape == counterpart.value.shape:
        error = compare(tensor.value, counterpart.value).max_rel
    else:  # another layout: the sorted elements give a lower bound of the error
        ordered = np.sort(tensor.value.astype(np.float64), axis=None)
        error = compare(ordered, counterpart.ordered).max_rel
    module = tensor.module or counterpart.module or "the top level"
    return LayerError(tensor.name, module, counterpart.name, tensor.value.shape, error)


def _by_name(tensor: Tensor, expected: list[_Expected]) -> _Expected | None:
    name = _CAST_SUFFIX.sub("", tensor.name)
    for candidate in expected:
        if candidate.name in (tensor.name, name) and candidate.value.size == tensor.value.size:
            return candidate
    return None


def _by_position(
    tensor: Tensor,
    tensors: list[Tensor],
    matches: Mapping[str, _Expected | None],
    expected: list[_Expected],
) -> _Expected | None:
    """The first tensor of its size that has no match and comes after what it was computed from."""
    before = _ancestors({tensor.name}, {t.name: t.inputs for t in tensors})
    reached = [m.order for name in before if (m := matches.get(name)) is not None]
    matched = {m.order for m in matches.values() if m is not None}
    for candidate in expected[max(reached, default=-1) + 1 :]:
        if candidate.value.size == tensor.value.size and candidate.order not in matched:
            return candidate
    return None
