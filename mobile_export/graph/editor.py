"""GraphEditor: an editing session on a copy of a program's ATen graph.

    graph = GraphEditor(program)
    for node in graph.find(aten.batch_norm.default):
        ...
        graph.replace(node, new, "folded into the convolution before it")
    return graph.result()

Everything that a pass needs and torch.fx does not give: constants by node, shapes of new nodes,
removal of what became dead, and the way back to a valid ExportedProgram. The program that the
session was opened on is never changed: graph and signature are copied, tensors are never written
to.

**Constants are exact.** Weights are combined in float64 and stay float64 until `Program.in_float32`
rounds each of them once, after the proof: the graph says float32 (``meta["val"]``), the tensor
behind it may be more precise. A chain of passes so rounds nothing, and the proof can demand 1e-9.

**Names.** A new node takes the metadata (module path, stack trace) of the node it stands for, so
reports and exporters still say where in the user's code it came from.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import (
    ExportGraphSignature,
    InputKind,
    InputSpec,
    OutputKind,
    TensorArgument,
)
from torch.fx import Node

from ..system.torch_private import OpOverload
from .changes import Change, PassResult, Refusal

if TYPE_CHECKING:
    from .program import Program

__all__ = ["GraphEditor", "shape_of", "where"]

_STORED = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
_KEPT_META = ("nn_module_stack", "stack_trace", "torch_fn", "source_fn_stack")


def shape_of(node: Node) -> tuple[int, ...]:
    """Shape of the tensor that ``node`` computes; the node must compute one tensor."""
    return tuple(node.meta["val"].shape)


def where(node: Node) -> str:
    """The module path that ``node`` came from and its name in the graph: ``layer1.bn (add_3)``."""
    stack = node.meta.get("nn_module_stack")
    path = next(reversed(stack.values()))[0] if stack else ""
    return f"{path} ({node.name})" if path else node.name


def _parents(name: str) -> list[str]:
    """The modules that a stored tensor is in, by its name: "a.b.c" -> a, a.b."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


class GraphEditor:
    """An editing session; see the module's docstring.

    Attributes:
        fx: the copy of the graph that is being edited.
        inputs: what the program is given, in order.
        input: the first of them.
    """

    def __init__(self, program: Program) -> None:
        exported = program.exported
        self.fx = torch.fx.Graph()
        copies: dict[Node, Node] = {}
        output = self.fx.graph_copy(exported.graph, copies)
        self._program = program
        self._output = self.fx.output(output)
        self._output.meta.update(exported.graph.output_node().meta)
        self._specs: dict[Node, InputSpec] = {}
        self._constants: dict[Node, torch.Tensor] = {}
        self._changes: list[Change] = []
        self._refusals: list[Refusal] = []
        signature = exported.graph_signature
        mutated = {
            spec.target
            for spec in signature.output_specs
            if spec.kind in (OutputKind.BUFFER_MUTATION, OutputKind.PARAMETER_MUTATION)
        }
        placeholders = [node for node in exported.graph.nodes if node.op == "placeholder"]
        for old, spec in zip(placeholders, signature.input_specs, strict=True):
            node = copies[old]
            self._specs[node] = spec
            if spec.kind in _STORED and spec.target is not None and spec.target not in mutated:
                stored = exported.state_dict.get(spec.target)
                self._constants[node] = (
                    exported.constants[spec.target] if stored is None else stored.detach()
                )
        self._targets = {spec.target for spec in signature.input_specs if spec.target}
        self._modules = {path for target in self._targets for path in _parents(target)}
        kinds = self._specs.items()
        self.inputs = tuple(node for node, spec in kinds if spec.kind is InputKind.USER_INPUT)
        self.input = self.inputs[0]
        self._fakes = self.input.meta["val"].fake_mode

    # Reading ------------------------------------------------------------------------------------

    @property
    def nodes(self) -> list[Node]:
        """Every node, in order; a copy, so that the graph may be edited in the loop."""
        return list(self.fx.nodes)

    def find(self, *targets: Any) -> Iterator[Node]:
        """Nodes that call one of ``targets`` and were not removed meanwhile, in order."""
        for node in self.nodes:
            if node.op == "call_function" and node.target in targets and node in self:
                yield node

    def __contains__(self, node: Node) -> bool:
        return not node._erased

    def is_constant(self, node: Any) -> bool:
        """Whether ``node`` is a parameter, buffer or other stored tensor."""
        return isinstance(node, Node) and node in self._constants

    def constant(self, node: Any) -> torch.Tensor | None:
        """The stored tensor of ``node`` as it is, or None. Do not write to it."""
        return self._constants.get(node) if isinstance(node, Node) else None

    def exact(self, node: Any) -> torch.Tensor | None:
        """The stored floating-point tensor of ``node`` in float64, or None."""
        value = self.constant(node)
        return value.double() if value is not None and value.is_floating_point() else None

    def is_output(self, node: Node) -> bool:
        """Whether the program returns ``node``."""
        return self._output in node.users

    def only_user(self, node: Node) -> Node | None:
        """The one node that uses ``node``, or None when there are several (or it is returned)."""
        users = list(node.users)
        return users[0] if len(users) == 1 and users[0] is not self._output else None

    # Editing ------------------------------------------------------------------------------------

    def add_constant(
        self, value: torch.Tensor, name: str, dtype: torch.dtype | None = None
    ) -> Node:
        """A stored tensor.

        Args:
            value: never written to.
            name: its name in the state dict; changed where another tensor's stands in its way.
            dtype: what the graph says it is; float32 for float64 values by default.
        """
        if dtype is None:
            dtype = torch.float32 if value.dtype == torch.float64 else value.dtype
        target = self._free_name(name)
        self._targets.add(target)
        self._modules.update(_parents(target))
        first = next(iter(self.fx.nodes))
        with self.fx.inserting_before(first):
            node = self.fx.placeholder("c_" + re.sub(r"\W", "_", target))
        with self._fakes:
            node.meta["val"] = torch.empty(value.shape, dtype=dtype)
        self._specs[node] = InputSpec(
            InputKind.BUFFER, TensorArgument(name=node.name), target, persistent=True
        )
        self._constants[node] = value.detach()
        return node

    def _free_name(self, name: str) -> str:
        """``name``, or one like it that no stored tensor has.

        Names are paths: what is before a point is a module in PyTorch's eyes, so no tensor may have
        a name that goes on behind another one's (``a.weight`` and ``a.weight.bias``), and none that
        modules have for something else (``to``).
        """
        parts = name.split(".")
        name = ".".join(f"{p}_" if hasattr(torch.fx.GraphModule, p) else p for p in parts)
        outer = next((path for path in _parents(name) if path in self._targets), None)
        if outer is not None:
            name = outer + name[len(outer) :].replace(".", "_")
        target, count = name, 1
        while target in self._targets or target in self._modules:
            target, count = f"{name}_{count}", count + 1
        return target

    def name_of(self, node: Any) -> str:
        """The name of a stored tensor in the state dict, or an empty text."""
        spec = self._specs.get(node) if isinstance(node, Node) else None
        return (spec.target or "") if spec is not None else ""

    def derived(self, origin: Any, value: torch.Tensor, fallback: str) -> Node:
        """A constant computed from the stored tensor ``origin``, named after it.

        ``origin`` may be something else (None for a bias that was not there): then ``fallback``.
        """
        name = self.name_of(origin) or fallback
        if name.startswith("folded."):
            return self.add_constant(value, re.sub(r"_\d+$", "", name))
        return self.add_constant(value, f"folded.{name}")

    def call(
        self,
        target: Any,
        *args: Any,
        like: Node,
        before: Node | None = None,
        kwargs: dict[str, Any] | None = None,
    ) -> Node:
        """A new node that calls ``target``, with its shape computed.

        Args:
            like: the node whose metadata it takes.
            before: the node it is inserted before, ``like`` by default.
        """
        with self.fx.inserting_before(before or like):
            node = self.fx.call_function(target, args, kwargs or {})
        for key in _KEPT_META:
            if key in like.meta:
                node.meta[key] = like.meta[key]
        self.refresh(node)
        return node

    def refresh(self, node: Node) -> None:
        """Compute the shape of ``node`` again from those of its arguments."""
        args, kwargs = torch.fx.node.map_arg(
            (node.args, node.kwargs), lambda argument: argument.meta["val"]
        )
        with self._fakes, torch.no_grad():
            node.meta["val"] = node.target(*args, **kwargs)  # type: ignore[operator]

    def replace(self, old: Node, new: Node, what: str | None = None) -> None:
        """Let every user of ``old`` use ``new``; ``old`` is removed when the session ends."""
        if what is not None:
            self.changed(old, what)
        old.replace_all_uses_with(new, propagate_meta=False)
        if self._is_dead(old):
            self.fx.erase_node(old)

    def erase(self, node: Node) -> None:
        """Remove a node without users."""
        self.fx.erase_node(node)

    def sweep(self) -> None:
        """Remove everything that nothing uses, from the last node to the first."""
        for node in reversed(self.nodes):
            if self._is_dead(node):
                self.fx.erase_node(node)

    def _is_dead(self, node: Node) -> bool:
        if node.users or node is self._output:
            return False
        spec = self._specs.get(node)
        if spec is not None:
            return node in self._constants
        return not (isinstance(node.target, OpOverload) and node.target._schema.is_mutable)

    # Reporting ----------------------------------------------------------------------------------

    def changed(self, node: Node, what: str) -> None:
        """Report a rewrite at ``node``."""
        self._changes.append(Change(where(node), what))

    def refuse(self, node: Node, reason: str) -> None:
        """Report that ``node`` is left as it is, and why."""
        refusal = Refusal(where(node), reason)
        if refusal not in self._refusals:
            self._refusals.append(refusal)

    @property
    def edits(self) -> int:
        """Number of changes so far."""
        return len(self._changes)

    def result(self) -> PassResult:
        """End the session. Without a change the program is returned as it was."""
        if not self._changes:
            return PassResult(self._program, (), tuple(self._refusals))
        self.sweep()
        self.fx.lint()
        program = dataclasses.replace(self._program, exported=self._exported())
        return PassResult(program, tuple(self._changes), tuple(self._refusals))

    def _exported(self) -> ExportedProgram:
        old = self._program.exported
        placeholders = [node for node in self.fx.nodes if node.op == "placeholder"]
        inputs: list[InputSpec] = []
        state: dict[str, Any] = {}
        constants: dict[str, Any] = {}
        for node in placeholders:
            spec = self._specs[node]
            argument = dataclasses.replace(spec.arg, name=node.name)
            inputs.append(dataclasses.replace(spec, arg=argument))
            if spec.kind not in _STORED:
                if spec.target is not None and spec.target in old.constants:
                    constants[spec.target] = old.constants[spec.target]
                continue
            assert spec.target is not None
            value = self._constants.get(node)
            if value is None:  # a buffer that the program writes to
                value = old.state_dict.get(spec.target, old.constants.get(spec.target))
            if spec.kind is InputKind.PARAMETER:
                state[spec.target] = torch.nn.Parameter(value, requires_grad=False)
            elif spec.kind is InputKind.BUFFER and spec.persistent:
                state[spec.target] = value
            else:
                constants[spec.target] = value
        outputs = [
            dataclasses.replace(spec, arg=dataclasses.replace(spec.arg, name=node.name))
            if isinstance(node, Node)
            else spec
            for spec, node in zip(
                old.graph_signature.output_specs, _flat(self._output.args[0]), strict=True
            )
        ]
        return ExportedProgram(
            root=torch.nn.Module(),
            graph=self.fx,
            graph_signature=ExportGraphSignature(inputs, outputs),
            state_dict=state,
            range_constraints=old.range_constraints,
            module_call_graph=old.module_call_graph,
            example_inputs=old.example_inputs,
            constants=constants,
        )


def _flat(outputs: Any) -> Sequence[Any]:
    return outputs if isinstance(outputs, list | tuple) else (outputs,)
