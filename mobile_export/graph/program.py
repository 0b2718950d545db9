"""Program: the one intermediate representation in front of the exporters.

A `Program` wraps a ``torch.export.ExportedProgram`` (ATen graph, static shapes, batch 1, eval mode)
with what the graph cannot say: the names, normalisation and labels of its input and outputs.
`trace` makes one from a `Source`; it is the only place where the model's Python code runs for
capture.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch.export.graph_signature import OutputKind

from .specs import InputSpec, OutputSpec, Recipe, Task, Thresholds, WeightsInfo
from .values import zeros_of

if TYPE_CHECKING:
    pass

__all__ = ["Program"]

_OF_A_SHAPE = {
    torch.ops.aten.empty_like,
    torch.ops.aten.full_like,
    torch.ops.aten.new_empty,
    torch.ops.aten.new_full,
    torch.ops.aten.new_ones,
    torch.ops.aten.new_zeros,
    torch.ops.aten.ones_like,
    torch.ops.aten.zeros_like,
}
"""Operators that read the shape of a tensor, and none of its values."""


@dataclass(frozen=True)
class Program:
    """A captured model and its input and output specifications.

    Attributes:
        exported: the ATen graph with its parameters, float32, one user input for each of
            ``inputs``, in order.
        input: the first input: the image, where there is one.
        others: the inputs behind it.
        outputs: one per user output of the graph, in order.
        labels: class names in the order of the logits, or None.
        notes: what the reader of a report should know (dropped outputs, changed modes).
        task, recipe, asked: as of the `Source`.
        activation: "softmax" where one was put behind the model.
        suppression: as of the `Source`.
    """

    exported: torch.export.ExportedProgram
    spec: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    labels: tuple[str, ...] | None
    weights: WeightsInfo
    notes: tuple[str, ...] = field(default=())
    task: Task | None = None
    recipe: Recipe | None = None
    asked: Mapping[str, Any] = field(default_factory=dict)
    activation: str | None = None
    others: tuple[InputSpec, ...] = ()
    suppression: Thresholds | None = None

    @property
    def inputs(self) -> tuple[InputSpec, ...]:
        """All inputs, in the order of the graph's."""
        return (self.input, *self.others)

    def module(self) -> torch.nn.Module:
        """The program as a plain module: from a tensor for each input to one or a tuple."""
        module: torch.nn.Module = self.exported.module(check_guards=False)
        return module

    def depends_on_input(self) -> tuple[bool, ...]:
        """Of each output, whether values of the input reach it; anchors, which only the size of the
        input decides, do not."""
        signature = self.exported.graph_signature
        reached: set[torch.fx.Node] = set()
        for node in self.exported.graph.nodes:
            if node.op == "placeholder" and node.name in signature.user_inputs:
                reached.add(node)
            packet = getattr(node.target, "overloadpacket", None)
            if node.op == "call_function" and packet not in _OF_A_SHAPE:
                reached |= {node} if reached.intersection(node.all_input_nodes) else set()
        names = {node.name for node in reached}
        return tuple(name in names for name in signature.user_outputs)

    def float64(self) -> Callable[..., tuple[torch.Tensor, ...]]:
        """A callable that runs the program with float64 weights; call it under `Float64Mode`."""
        exported = self.exported
        signature = exported.graph_signature
        stored = {**exported.state_dict, **exported.constants}
        values = [
            _doubled(stored.get(spec.target)) if spec.target is not None else None
            for spec in signature.input_specs
        ]
        wanted = [spec.kind is OutputKind.USER_OUTPUT for spec in signature.output_specs]

        def run(*given: torch.Tensor) -> tuple[torch.Tensor, ...]:
            left = iter(given)
            results = exported.graph_module(
                *[next(left) if value is None else value for value in values]
            )
            return tuple(r for r, keep in zip(results, wanted, strict=True) if keep)

        return run

    def in_float32(self) -> Program:
        """With every stored tensor rounded once to the dtype that the graph gives it.

        Passes combine weights in float64 and leave them so (`graph.editor`). Each is contiguous:
        litert-torch 0.10 knows a constant by the address of its contiguous copy, which it frees,
        and so may write one weight of a channels-last model in the place of another.
        """
        exported = self.exported
        dtypes = {
            spec.target: node.meta["val"].dtype
            for node, spec in zip(
                exported.graph.nodes, exported.graph_signature.input_specs, strict=False
            )
            if spec.target is not None and isinstance(node.meta.get("val"), torch.Tensor)
        }
        stores: list[dict[str, Any]] = [{}, {}]
        for store, values in zip(stores, (exported.state_dict, exported.constants), strict=True):
            for name, value in values.items():
                rounded = value
                if isinstance(value, torch.Tensor):
                    rounded = value.detach().to(dtypes.get(name, value.dtype)).contiguous()
                    if isinstance(value, torch.nn.Parameter):
                        rounded = torch.nn.Parameter(rounded, requires_grad=False)
                store[name] = rounded
        return replace(
            self,
            exported=torch.export.ExportedProgram(
                root=torch.nn.Module(),
                graph=exported.graph,
                graph_signature=exported.graph_signature,
                state_dict=stores[0],
                range_constraints=exported.range_constraints,
                module_call_graph=exported.module_call_graph,
                example_inputs=exported.example_inputs,
                constants=stores[1],
            ),
        )

    def module_paths(self) -> dict[str, str]:
        """The path of the module that each node came from, by the node's name, where it has one."""
        paths = {}
        for node in self.exported.graph.nodes:
            stack = node.meta.get("nn_module_stack")
            if stack and (path := str(next(reversed(stack.values()))[0])):
                paths[node.name] = path
        return paths

    @property
    def example(self) -> torch.Tensor:
        """A zero for the first input, of the right shape and dtype."""
        return self.examples[0]

    @property
    def examples(self) -> tuple[torch.Tensor, ...]:
        """Zeros for all inputs."""
        return zeros_of(self.inputs)


def _doubled(value: Any) -> Any:
    """A float64 copy of a floating-point tensor, a copy of any other, other objects as they are."""
    if not isinstance(value, torch.Tensor):
        return value
    return value.detach().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
