"""One program for images of several sizes, from the same program at each of them.

A program is captured, rewritten and proven at every size by itself. Where these differ only in the
numbers that follow from the size, such as those that a reshape is given, one program can serve all:
each such number is computed from the extents of a tensor at hand. What it is computed from is found
by comparing it with these extents at all sizes; nothing is assumed of the operator.

The result is a hypothesis until it was executed: callers compare it with the model at every size,
and at sizes that it was not made from.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import OutputKind
from torch.fx import Node

from ..errors import ExportError, summary
from .editor import where

if TYPE_CHECKING:
    from .program import Program

__all__ = ["unnamed_sizes", "with_free_axes"]

aten = torch.ops.aten
_RESHAPES = (aten.reshape.default, aten.view.default, aten._unsafe_view.default)
_INSTEAD = "Write a file for each size instead, one `size` at a time."
_Numbers = tuple[int, ...]
"""One number at each size."""


def with_free_axes(programs: Sequence[Program]) -> Program:
    """The program that computes each of ``programs``, its first input's differing axes free.

    Args:
        programs: of one model, at different shapes of its one input.

    Raises:
        ExportError: they differ in more than numbers that follow from the shape; it names the node
            and its module.
    """
    first = programs[0]
    _require_same_constants(programs)
    graph = torch.fx.Graph()
    copies: dict[Node, Node] = {}
    graph.output(graph.graph_copy(first.exported.graph, copies))
    rows = zip(*(program.exported.graph.nodes for program in programs), strict=False)
    extents = _Extents()
    for row in rows:
        _require_same_call(row, first.spec)
        if row[0].op == "output":
            break
        copy = copies[row[0]]
        if row[0].op == "call_function":
            with graph.inserting_before(copy):
                _free_numbers(copy, row, extents, first.spec)
        extents.add(copy, row)
    free = _free(programs)
    apart = [p for p in programs if len({p.input.shape[axis] for axis in free}) == len(free)]
    return _captured(first, graph, free, (apart or [first])[0].example)


def unnamed_sizes(sizes: Sequence[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Three sizes beside those that were named: what a file with free axes is made from where these
    are squares, and is checked at.

    Height and width are of those that were named, in other pairs; and one lies between them, on the
    grid of what divides them all.
    """
    if len(sizes) < 2:
        return ()
    heights, widths = (sorted(set(each)) for each in zip(*sizes, strict=True))
    pairs = [(heights[0], widths[-1]), (heights[-1], widths[0]), (heights[-1], widths[-1])]
    down, across = (math.gcd(*each) if len(each) > 1 else 0 for each in (heights, widths))
    pairs.append((heights[0] + down, widths[0] + across))
    pairs.append((heights[-1] + down, widths[-1] + across))
    return tuple(dict.fromkeys(pair for pair in pairs if pair not in sizes))[:3]


def _free(programs: Sequence[Program]) -> tuple[int, ...]:
    """Axes of the input that differ."""
    shapes = [program.input.shape for program in programs]
    return tuple(axis for axis, row in enumerate(zip(*shapes, strict=True)) if len(set(row)) > 1)


def _require_same_constants(programs: Sequence[Program]) -> None:
    """Refuse programs whose stored tensors differ: what was computed from the size and stored."""
    first = programs[0]
    graphs = [list(program.exported.graph.nodes) for program in programs]
    stored = [{**p.exported.state_dict, **p.exported.constants} for p in programs]
    signatures = [p.exported.graph_signature.input_specs for p in programs]
    for index, spec in enumerate(signatures[0]):
        if spec.target is None:
            continue
        for nodes, values, specs in zip(graphs, stored, signatures, strict=True):
            other = values.get(specs[index].target) if index < len(specs) else None
            if not _same(stored[0][spec.target], other):
                user = next(iter(graphs[0][index].users), graphs[0][index])
                at_other = nodes[index] if index < len(nodes) else None
                raise _depends(first, user, f"stores {spec.target} ({_shape(at_other)} at another)")


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor) or not isinstance(other, torch.Tensor):
        return one is other
    return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)


def _shape(node: Node | None) -> str:
    value = None if node is None else node.meta.get("val")
    return "none" if value is None else f"of shape {tuple(getattr(value, 'shape', ()))}"


def _depends(program: Program, node: Node, what: str) -> ExportError:
    return ExportError(
        f"The graph of {program.spec} depends on the size of its image: at one size "
        f"{where(node)} {what}, so that no one graph serves all.",
        hint=_INSTEAD,
    )


def _require_same_call(row: Sequence[Node], spec: str) -> None:
    first = row[0]
    if all((node.op, node.target) == (first.op, first.target) for node in row):
        return
    if first.op == "placeholder" and all(node.op == "placeholder" for node in row):
        return
    other = next(node for node in row if (node.op, node.target) != (first.op, first.target))
    raise ExportError(
        f"The graph of {spec} depends on the size of its image: at one size {where(first)} is "
        f"{first.target}, at another {where(other)} is {other.target}.",
        hint=_INSTEAD,
    )


class _Extents:
    """The extents of all tensors so far, at every size."""

    def __init__(self) -> None:
        self._found: dict[_Numbers, tuple[Node, int]] = {}

    def add(self, copy: Node, row: Sequence[Node]) -> None:
        """Remember the extents of a tensor."""
        for axis, numbers in _extents_of(row):
            self._found.setdefault(numbers, (copy, axis))

    def expression(self, numbers: _Numbers, row: Sequence[Node], copy: Node) -> Node | None:
        """A node that computes ``numbers`` at every size; None where none was found.

        From the extents of the tensors that the call takes, before those of others.
        """
        mine: dict[_Numbers, tuple[Node, int]] = {}
        for place, node in enumerate(copy.all_input_nodes):
            operands = [each.all_input_nodes[place] for each in row]
            for axis, extent in _extents_of(operands):
                mine.setdefault(extent, (node, axis))
        known = {**mine, **{key: value for key, value in self._found.items() if key not in mine}}
        graph = copy.graph
        if numbers in known:
            return graph.call_function(aten.sym_size.int, known[numbers])
        for extent, factor, compute in _multiples(numbers, known):
            size = graph.call_function(aten.sym_size.int, known[extent])
            return graph.call_function(compute, (size, factor))
        for one, two in combinations_with_replacement(known, 2):
            area = tuple(a * b for a, b in zip(one, two, strict=True))
            if (times := _factor(numbers, area)) is not None:
                sizes = [graph.call_function(aten.sym_size.int, known[each]) for each in (one, two)]
                product = graph.call_function(operator.mul, tuple(sizes))
                return graph.call_function(operator.mul, (product, times))
        return None


def _extents_of(row: Sequence[Node]) -> Iterator[tuple[int, _Numbers]]:
    """Axes of a tensor whose extent differs between the sizes, and the extents."""
    shapes = [getattr(node.meta.get("val"), "shape", None) for node in row]
    if any(shape is None for shape in shapes) or len({len(s) for s in shapes if s is not None}) > 1:
        return
    for axis, numbers in enumerate(zip(*(s for s in shapes if s is not None), strict=True)):
        if len(set(numbers)) > 1:
            yield axis, tuple(int(n) for n in numbers)


def _multiples(
    numbers: _Numbers, known: dict[_Numbers, Any]
) -> Iterator[tuple[_Numbers, int, Callable[[Any, int], Any]]]:
    """Extents of which ``numbers`` are one multiple, or one part, or which differ by one number."""
    for extent in known:
        if (factor := _factor(numbers, extent)) is not None:
            yield extent, factor, operator.mul
        elif (part := _factor(extent, numbers)) is not None:
            yield extent, part, operator.floordiv
        elif len({n - e for n, e in zip(numbers, extent, strict=True)}) == 1:
            yield extent, numbers[0] - extent[0], operator.add


def _factor(numbers: _Numbers, extents: _Numbers) -> int | None:
    """By which all of ``extents`` give ``numbers``."""
    if 0 in extents or numbers[0] % extents[0]:
        return None
    factor = numbers[0] // extents[0]
    fits = all(n == factor * e for n, e in zip(numbers, extents, strict=True))
    return factor if fits else None


def _free_numbers(copy: Node, row: Sequence[Node], extents: _Extents, spec: str) -> None:
    """Let a call take what follows from the size from the extents of tensors."""

    def merged(values: Sequence[Any]) -> Any:
        one = values[0]
        if isinstance(one, Node):
            return _copied(one, row[0], copy)
        if isinstance(one, list | tuple):
            if any(len(value) != len(one) for value in values):
                raise _refused(row[0], spec, values)
            items = [merged(each) for each in zip(*values, strict=True)]
            return type(one)(items) if isinstance(one, list | tuple) else items
        if all(value == one for value in values):
            return one
        if all(type(value) is int for value in values):
            node = extents.expression(tuple(values), row, copy)
            if node is not None:
                return node
        raise _refused(row[0], spec, values)

    args = [tuple(node.args) for node in row]
    if row[0].target in _RESHAPES and (shape := _inferred([each[1] for each in args])) is not None:
        copy.args = (copy.args[0], shape)
        return
    if row[0].target in _RESIZES and (scales := _scales(row)) is not None:
        copy.target, rest = _RESIZES[row[0].target]
        copy.args = (copy.args[0], None, *args[0][2 : 2 + rest], scales)
        return
    copy.args = tuple(merged(each) for each in zip(*args, strict=True))
    copy.kwargs = {name: merged([node.kwargs[name] for node in row]) for name in row[0].kwargs}


_RESIZES: dict[Any, tuple[Any, int]] = {
    aten.upsample_bilinear2d.default: (aten.upsample_bilinear2d.vec, 1),
    aten.upsample_bilinear2d.vec: (aten.upsample_bilinear2d.vec, 1),
    aten.upsample_bicubic2d.default: (aten.upsample_bicubic2d.vec, 1),
    aten.upsample_bicubic2d.vec: (aten.upsample_bicubic2d.vec, 1),
    aten.upsample_nearest2d.default: (aten.upsample_nearest2d.vec, 0),
    aten.upsample_nearest2d.vec: (aten.upsample_nearest2d.vec, 0),
}
"""Resizes to a given size, the same by factors, and how many arguments stand between the two."""


def _scales(row: Sequence[Node]) -> list[float] | None:
    """By which whole factors a resize enlarges each axis, the same at all sizes; None of others.

    With a whole factor a resize by it is that to the size, to the last bit.
    """
    found = []
    for axis in (-2, -1):
        given = [node.all_input_nodes[0].meta["val"].shape[axis] for node in row]
        made = [node.meta["val"].shape[axis] for node in row]
        factor = _factor(tuple(map(int, made)), tuple(map(int, given)))
        if factor is None:
            return None
        found.append(float(factor))
    return found


def _copied(node: Node, owner: Node, copy: Node) -> Node:
    """The copy of an operand; a copied call has its operands in the same order."""
    return copy.all_input_nodes[owner.all_input_nodes.index(node)]


def _inferred(shapes: Sequence[Any]) -> list[int] | None:
    """A shape of which one extent differs, with -1 in its place."""
    rows = list(zip(*shapes, strict=False))
    differing = [axis for axis, row in enumerate(rows) if len(set(row)) > 1]
    if len({len(shape) for shape in shapes}) > 1 or len(differing) != 1 or -1 in shapes[0]:
        return None
    return [-1 if axis in differing else row[0] for axis, row in enumerate(rows)]


def _refused(node: Node, spec: str, values: Sequence[Any]) -> ExportError:
    shown = ", ".join(map(str, values[:4]))
    return ExportError(
        f"The graph of {spec} depends on the size of its image: {where(node)} ({node.target}) has "
        f"{shown} at the sizes in turn, which follows from no extent of a tensor.",
        hint=_INSTEAD,
    )


class _Free(torch.nn.Module):
    """Runs an edited graph, whose stored tensors are its own."""

    def __init__(self, program: Program, graph: torch.fx.Graph) -> None:
        super().__init__()
        exported = program.exported
        stored = {**exported.state_dict, **exported.constants}
        self.graph = torch.fx.GraphModule({}, graph)
        self.places: list[str | None] = []
        for spec in exported.graph_signature.input_specs:
            name = (
                None
                if spec.target is None
                else "".join(c if c.isalnum() else "_" for c in spec.target)
            )
            self.places.append(name)
            if name is not None and spec.target is not None:
                self.register_buffer(name, stored[spec.target].detach())
        kinds = [spec.kind for spec in exported.graph_signature.output_specs]
        self.kept = [kind is OutputKind.USER_OUTPUT for kind in kinds]
        self.training = False

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values = [image if name is None else getattr(self, name) for name in self.places]
        results = self.graph(*values)
        return tuple(each for each, kept in zip(results, self.kept, strict=True) if kept)


def _captured(
    program: Program, graph: torch.fx.Graph, axes: Sequence[int], example: torch.Tensor
) -> Program:
    """The edited graph as a program with symbolic shapes.

    Args:
        example: of the input, its free extents different where the model takes such: torch.export
            takes extents that are alike for the same.

    Raises:
        ExportError: torch.export finds that it serves one size only.
    """
    free = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
    try:
        with torch.no_grad():
            exported = torch.export.export(
                _Free(program, graph), (example,), dynamic_shapes=(free,), strict=False
            )
            if program.exported.dialect != exported.dialect:  # decomposed for its converter
                exported = exported.run_decompositions({})
    except Exception as error:  # torch.export raises whatever its shapes provoke
        raise ExportError(
            f"The graph of {program.spec} depends on the size of its image: {summary(error)}",
            hint=_INSTEAD,
        ) from error
    _keep_modules(exported.graph, graph)
    return replace(program, exported=exported)


def _keep_modules(exported: torch.fx.Graph, graph: torch.fx.Graph) -> None:
    """Give the nodes of a capture the modules that its calls came from, where it has the same."""
    new, old = (
        [n for n in each.nodes if n.op == "call_function" and n.target not in _ARITHMETIC]
        for each in (exported, graph)
    )
    if [node.target for node in new] == [node.target for node in old]:
        for node, source in zip(new, old, strict=True):
            node.meta |= {k: v for k, v in source.meta.items() if k in _KEPT}


_ARITHMETIC = (aten.sym_size.int, operator.mul, operator.floordiv, operator.add, operator.sub)
_KEPT = ("nn_module_stack", "stack_trace", "torch_fn", "source_fn_stack")
