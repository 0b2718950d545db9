"""Running a program on samples, and counting the values of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..errors import UsageError
from ..graph.editor import GraphEditor
from .correct import InputMeans
from .histogram import Histogram

if TYPE_CHECKING:
    import numpy as np
    from torch.fx import Node

    from ..graph.program import Program
    from ..parity.samples import Sample

__all__ = ["float32_outputs", "measure", "run_watched"]


class _Running(torch.fx.Interpreter):
    """Runs a graph in float32; its nodes have `GraphEditor`'s names, as in a plan."""

    def __init__(self, program: Program) -> None:
        # The editor's copy: names that Python has, as ``input``, are others in it.
        graph = GraphEditor(program).fx
        super().__init__(program.exported.graph_module, garbage_collect_values=True, graph=graph)
        self.extra_traceback = False


class _Counting(_Running):
    """Counts what the nodes of some names compute."""

    def __init__(self, program: Program, names: Collection[str], means: InputMeans) -> None:
        super().__init__(program)
        self.found = {name: Histogram() for name in names}
        self.means = means

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.means.add(n, value)
        if n.name in self.found:
            try:
                self.found[n.name].add(value.detach().numpy())
            except ValueError as error:
                raise _Unmeasurable(n.name, str(error)) from error
        return value


class _Unmeasurable(Exception):
    """A tensor has no range; torch.fx changes the arguments of what passes through it."""

    def __init__(self, node: str, why: str) -> None:
        super().__init__(why)
        self.node, self.why = node, why


def _bound(program: Program) -> list[Any]:
    """The stored tensors of a program in the order of its placeholders; None of inputs."""
    exported = program.exported
    stored = {**exported.state_dict, **exported.constants}
    return [
        stored.get(spec.target) if spec.target is not None else None
        for spec in exported.graph_signature.input_specs
    ]


def _given(program: Program, sample: Sample, stored: Sequence[Any]) -> list[Any]:
    """What the placeholders of a program take: what is stored, and a sample in float32."""
    values = iter(sample.all_given(pixels=program.input.pixels))
    return [_single(next(values)) if value is None else value for value in stored]


def measure(
    program: Program, samples: Iterable[Sample], names: Collection[str], means: InputMeans
) -> dict[str, Histogram]:
    """The distribution of the values of nodes over samples, by the names of the nodes.

    Args:
        means: of what layers read, which are taken on the way.

    Raises:
        UsageError: a tensor is NaN or infinite for some sample.
    """
    counting = _Counting(program, names, means)
    stored = _bound(program)
    for sample in samples:
        means.start_sample()
        with torch.no_grad():
            try:
                counting.run(*_given(program, sample, stored), enable_io_processing=False)
            except _Unmeasurable as error:
                raise UsageError(
                    f"{program.spec} computes {error.why} in {error.node} for the "
                    f"calibration sample {sample.name}.",
                    hint="Remove the sample from `calibration`, or look for a logarithm, a root or "
                    "a division in the model.",
                ) from error
    return counting.found


class _Watching(_Running):
    def __init__(self, program: Program, watch: Callable[[str, torch.Tensor], None]) -> None:
        super().__init__(program)
        self.watch = watch

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            self.watch(n.name, value)
        return value


def run_watched(
    program: Program, samples: Iterable[Sample], watch: Callable[[str, torch.Tensor], None]
) -> None:
    """Run a program on samples in float32, and show every tensor by its name, as in a plan."""
    running = _Watching(program, watch)
    stored = [None if value is None else _single(value) for value in _bound(program)]
    for sample in samples:
        with torch.no_grad():
            running.run(*_given(program, sample, stored), enable_io_processing=False)


def float32_outputs(program: Program, sample: Sample) -> tuple[np.ndarray, ...]:
    """What a program computes for a sample in float32, with PyTorch's own quantised operators."""
    running = torch.fx.Interpreter(program.exported.graph_module, garbage_collect_values=True)
    with torch.no_grad():
        given = _given(program, sample, _bound(program))
        found = running.run(*given, enable_io_processing=False)
    return tuple(each.numpy() for each in found)


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
