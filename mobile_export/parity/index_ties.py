"""Indices that were chosen among scores as good as equal: either is right.

An output of `argmax` or `topk` has one right value where the scores decide. Where two of them are
closer than the rounding of float32 files, they do not: a file may return either. Of scores that are
exactly equal in float64 the lower index is right alone (`graph.ties`). What an index was
chosen from is read from the captured program, which equals the model to 1e-9 in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..graph.float64 import double_copy, run_float64
from ..graph.ops import argument, operator_name
from ..graph.ties import TiesInOrder
from ..system.torch_private import OpOverload

if TYPE_CHECKING:
    from ..graph.program import Program
    from .reference import Reference

__all__ = ["settle_ties"]

_CHOOSING = frozenset({"argmax", "argmin", "argsort", "max", "min", "sort", "topk"})
_NAMES = """
    _to_copy _unsafe_view alias clone contiguous detach flatten reshape squeeze unflatten unsqueeze
    view
"""
_KEEPING = frozenset(_NAMES.split())
"""Operators whose result has the elements of their first argument in the same order."""


@dataclass(frozen=True)
class _Choice:
    """What the elements of an output are indices into.

    Attributes:
        scores: name of the node in the program.
        dim: that was chosen along; None: among all.
    """

    scores: str
    dim: int | None


def settle_ties(
    program: Program,
    reference: Reference,
    results: Sequence[Sequence[np.ndarray]],
    allowed: float,
) -> tuple[list[list[np.ndarray]], tuple[str, ...]]:
    """``results`` with the reference's index wherever the file has one of an equal score, and notes
    on how many these are.

    Args:
        program: as it was captured.
        results: of the file, per sample, an array for each output of the program.
        allowed: by how much of the scores' largest magnitude the file may be off in each of them.
    """
    settled = [list(outputs) for outputs in results]
    choices = dict(enumerate(_choices(program)))
    unlike = {
        (place, output)
        for place, (got, exact) in enumerate(zip(results, reference.outputs, strict=True))
        for output, choice in choices.items()
        if choice is not None and len(got) == len(exact) and _differ(got[output], exact[output])
    }
    if not unlike:
        return settled, ()
    module = double_copy(program.module())
    assert isinstance(module, torch.fx.GraphModule)
    ties, closest = dict.fromkeys(choices, 0), 0.0
    for place in sorted({place for place, _ in unlike}):
        wanted = {output: choices[output] for where, output in unlike if where == place}
        found = _scores(
            module, {c.scores for c in wanted.values() if c is not None}, reference, place
        )
        for output, choice in wanted.items():
            assert choice is not None
            exact = reference.outputs[place][output]
            equal, gap = _equal(
                found[choice.scores], choice, settled[place][output], exact, allowed
            )
            settled[place][output] = np.where(equal, exact, settled[place][output])
            ties[output] += int(equal.sum())
            closest = max(closest, gap)
    names = [each.name for each in program.outputs]
    total = {i: sum(outputs[i].size for outputs in reference.outputs) for i in choices}
    said = [f"{count} of {total[i]} in {names[i]}" for i, count in ties.items() if count]
    if not said:
        return settled, ()
    return settled, (
        f"indices of scores as good as equal: {', '.join(said)} are others than the model's in "
        f"float64, of scores that differ by {closest:.1e} of their size at most, where float32 may "
        f"be {allowed:.1e} off in each; they count as right",
    )


def _differ(got: np.ndarray, exact: np.ndarray) -> bool:
    whole = np.issubdtype(exact.dtype, np.integer)
    return whole and got.shape == exact.shape and bool((got != exact).any())


def _choices(program: Program) -> list[_Choice | None]:
    """Of every output, what its elements were chosen from; None of what is no such index."""
    nodes = {node.name: node for node in program.exported.graph.nodes}
    names = program.exported.graph_signature.user_outputs
    return [_choice(nodes.get(str(name))) for name in names]


def _choice(node: torch.fx.Node | None) -> _Choice | None:
    item = None
    while node is not None and node.op == "call_function":
        if not isinstance(node.target, OpOverload):
            if item is not None or len(node.args) != 2 or node.args[1] != 1:
                return None
            item, node = 1, node.all_input_nodes[0]
            continue
        name = operator_name(node.target)
        if name in _CHOOSING:
            alone = name.startswith("arg")
            if alone == (item is not None):
                return None
            dim = argument(node, "dim")
            return _Choice(node.all_input_nodes[0].name, dim if isinstance(dim, int) else None)
        if name not in _KEEPING or not node.all_input_nodes:
            return None
        node = node.all_input_nodes[0]
    return None


class _Reader(torch.fx.Interpreter):
    """Runs a graph and keeps the values of some nodes."""

    def __init__(self, module: torch.fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.found: dict[str, np.ndarray] = {}

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        if n.name in self.names:
            self.found[n.name] = result.detach().numpy().copy()
        return result


def _scores(
    module: torch.fx.GraphModule, names: set[str], reference: Reference, place: int
) -> dict[str, np.ndarray]:
    reader = _Reader(module, names)
    with TiesInOrder():  # type: ignore[no-untyped-call]
        run_float64(reader.run, *reference.samples[place].all_given())
    return reader.found


def _equal(
    scores: np.ndarray, choice: _Choice, got: np.ndarray, exact: np.ndarray, allowed: float
) -> tuple[np.ndarray, float]:
    """Which elements of ``got`` are other indices than ``exact`` of scores as good as equal, and by
    how much of the scores' size these differ at most."""
    values = scores.reshape(-1) if choice.dim is None or not scores.ndim else scores
    dim = 0 if values.ndim == 1 else int(choice.dim or 0) % values.ndim
    chosen, right = (_along(each, values, dim) for each in (got, exact))
    size = float(np.abs(values[np.isfinite(values)]).max(initial=0.0))
    none = np.zeros(exact.shape, dtype=bool)
    if chosen is None or right is None or size == 0:
        return none, 0.0
    count = values.shape[dim]
    if not ((chosen >= 0) & (chosen < count)).all():
        return none, 0.0
    ordered = np.sort(chosen, axis=dim)
    if (np.diff(ordered, axis=dim) == 0).any():  # one element was taken twice
        return none, 0.0
    gap = np.abs(np.take_along_axis(values, chosen, dim) - np.take_along_axis(values, right, dim))
    near = (gap <= 2 * allowed * size) & (gap > 0)
    return near.reshape(exact.shape), float(gap[near].max(initial=0.0)) / size


def _along(indices: np.ndarray, values: np.ndarray, dim: int) -> np.ndarray | None:
    """Indices with the axes of the values they are of; None where they do not fit."""
    rest = values.size // max(values.shape[dim], 1)
    if not rest or indices.size % rest:
        return None
    shape = (*values.shape[:dim], indices.size // rest, *values.shape[dim + 1 :])
    with np.errstate(invalid="ignore"):  # NaN becomes a number that is no index
        whole: np.ndarray = indices.reshape(shape).astype(np.int64)
    return whole
