"""Make an ``ExportedProgram`` from the typed records of a ``.pt2`` file.

PyTorch's own deserialiser is not called. The graph is built node by node: each operator is one of
`operators.ALLOWED`, each argument has the type that its operator declares, and each call is made
once on fake tensors, which have shapes and no values, so that ``meta["val"]`` is what the operator
gives and not what the file says; the two are compared.
"""

from __future__ import annotations

import logging
import math
import operator
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.export.graph_signature import (
    ConstantArgument,
    ExportGraphSignature,
    InputKind,
    OutputKind,
)
from torch.export.graph_signature import InputSpec as TorchInputSpec
from torch.export.graph_signature import OutputSpec as TorchOutputSpec
from torch.export.graph_signature import TensorArgument as TorchTensorArgument
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from ...errors import SourceError
from ...system.files import GIB
from ...system.memory import memory_here
from ...system.torch_private import FakeTensorMode, OpOverload, TrainingIRVerifier, Verifier
from . import schema
from .archive import Contents, damaged, dtype_of, extents_of, static, unsafe
from .arguments import CONSTANTS, plain_value, refused, value_of
from .memory import peak_bytes
from .names import python_name
from .nesting import example_inputs, module_calls
from .operators import MAX_ELEMENTS, arguments_of, check_values, operator_of

__all__ = ["build_program"]

MAX_TOTAL = 2**37
"""Elements of all values of a graph together"""

_USER = ("user_input", "constant_input")


def build_program(contents: Contents, name: str) -> torch.export.ExportedProgram:
    """The program of an archive.

    Args:
        name: of the file, for messages.

    Raises:
        SourceError: the program is not static, calls what may not be called, or contradicts itself.
    """
    try:
        return _Builder(contents, name).program()
    except SourceError:
        raise
    except Exception as error:  # PyTorch's checks raise whatever a foreign file provokes
        raise damaged(name, error) from error


class _Builder:
    def __init__(self, contents: Contents, name: str) -> None:
        self.name = name
        self.contents = contents
        self.source = contents.program.graph_module
        self.graph = torch.fx.Graph()
        self.nodes: dict[str, torch.fx.Node] = {}
        self.values: dict[torch.fx.Node, Any] = {}
        self.total = 0
        self.specs = [schema.only(spec) for spec in self.source.signature.input_specs]
        self.fake = FakeTensorMode(
            allow_fallback_kernels=False, shape_env=ShapeEnv(assume_static_by_default=True)
        )

    def program(self) -> torch.export.ExportedProgram:
        self._check_kind()
        for meta in self.source.graph.tensor_values.values():  # those of no node, too
            extents_of(meta, self.name)
        with _quiet(), self.fake, torch.no_grad():
            inputs = self._inputs()
            for node in self.source.graph.nodes:
                try:
                    self._call(node)
                except SourceError:
                    raise
                except Exception as error:  # the operators' own checks
                    text = str(error).strip().splitlines() or [type(error).__name__]
                    raise damaged(self.name, f"{node.target[:80]}: {text[0]}") from error
            outputs = self._outputs()
        calls = module_calls(
            self.source.module_call_graph,
            sum(kind in _USER for kind, _ in self.specs),
            sum(spec.kind is OutputKind.USER_OUTPUT for spec in outputs),
            self.name,
        )
        placeholders = zip(self.graph.find_nodes(op="placeholder"), self.specs, strict=True)
        users = [node for node, (kind, _) in placeholders if kind in _USER]
        self._check_memory(users)
        given = [node.meta["val"] for node in users]
        return torch.export.ExportedProgram(
            root=torch.nn.Module(),
            graph=self.graph,
            graph_signature=ExportGraphSignature(inputs, outputs),
            state_dict=dict(self.contents.state),
            range_constraints={},
            module_call_graph=calls,
            example_inputs=example_inputs(calls, given),
            constants=dict(self.contents.constants),
            verifiers=[self._verifier()],
        )

    def _check_kind(self) -> None:
        program, graph = self.contents.program, self.source.graph
        if program.schema_version.major != 8:
            raise damaged(self.name, f"its schema is {program.schema_version.major}, not 8")
        if program.range_constraints:
            raise static(self.name, "dynamic shapes")
        if program.guards_code:
            raise static(self.name, "guards on its inputs")
        if graph.sym_int_values or graph.sym_bool_values or graph.sym_float_values:
            raise static(self.name, "symbolic sizes")
        if graph.custom_obj_values:
            raise unsafe(self.name, "it holds a custom object")
        if self.source.treespec_namedtuple_fields:
            raise unsafe(self.name, "its inputs or outputs are named tuples")

    # ------------------------------------------------------------------ inputs

    def _inputs(self) -> list[TorchInputSpec]:
        specs = self.specs
        if len(specs) != len(self.source.graph.inputs):
            raise ValueError(f"{len(self.source.graph.inputs)} inputs have {len(specs)} specs")
        made = []
        for given, (kind, value) in zip(self.source.graph.inputs, specs, strict=True):
            if kind in ("custom_obj", "token"):
                raise refused(kind, self.name)
            if kind == "constant_input":
                made.append(self._constant_input(given, value))
                continue
            declared = value.arg if kind != "user_input" else schema.only(value.arg)[1]
            label, argument = schema.only(given)
            if label != "as_tensor":
                made.append(self._odd_input(label, given))
                continue
            if argument != declared:
                raise ValueError(f"the input {argument.name!r} has the spec of another")
            made.append(self._tensor_input(argument.name, kind, value))
        return made

    def _tensor_input(self, given: str, kind: str, spec: Any) -> TorchInputSpec:
        fake = self._declared(given)
        kinds = {
            "user_input": (InputKind.USER_INPUT, None, None),
            "parameter": (InputKind.PARAMETER, "parameter_name", self.contents.state),
            "buffer": (InputKind.BUFFER, "buffer_name", self.contents.state),
            "tensor_constant": (
                InputKind.CONSTANT_TENSOR,
                "tensor_constant_name",
                self.contents.constants,
            ),
        }
        role, field, store = kinds[kind]
        target = None if field is None else str(getattr(spec, field))
        persistent = spec.persistent if kind == "buffer" else None
        if persistent is False:
            store = self.contents.constants
        if target is not None and store is not None:
            self._check_stored(target, store, fake)
        node = self._placeholder(given)
        self._record(given, node, fake)
        return TorchInputSpec(role, TorchTensorArgument(node.name), target, persistent)

    def _check_stored(self, target: str, store: dict[str, Tensor], fake: Tensor) -> None:
        plain = torch.nn.Module()
        if any(hasattr(plain, part) for part in target.split(".")):
            raise ValueError(f"a tensor is called {target!r}, which a module has already")
        value = store.get(target)
        if value is None:
            raise ValueError(f"it has no tensor {target!r}")
        if value.shape != fake.shape or value.dtype != fake.dtype:
            raise ValueError(f"its tensor {target!r} is {list(value.shape)}, not as its graph says")

    def _constant_input(self, given: schema.Argument, spec: schema.ConstantInput) -> TorchInputSpec:
        value = plain_value(spec.value, self.name)
        if not _same(plain_value(given, self.name), value):
            raise ValueError(f"the input {spec.name!r} has two values")
        node = self._placeholder(spec.name)
        node.meta["val"] = value
        return TorchInputSpec(InputKind.USER_INPUT, ConstantArgument(node.name, value), None)

    def _odd_input(self, label: str, given: schema.Argument) -> TorchInputSpec:
        if label not in CONSTANTS:
            raise refused(label, self.name)
        value = plain_value(given, self.name)
        node = self._placeholder(f"arg{len(self.graph.nodes)}")
        node.meta["val"] = value
        return TorchInputSpec(InputKind.USER_INPUT, ConstantArgument(node.name, value), None)

    def _placeholder(self, given: str) -> torch.fx.Node:
        node = self.graph.placeholder(python_name(given))
        node.target = node.name
        return node

    def _declared(self, given: str) -> Tensor:
        """A fake tensor with the sizes, strides and dtype that the file declares for a value."""
        meta = self.source.graph.tensor_values.get(given)
        if meta is None:
            raise ValueError(f"the value {given!r} is not declared")
        sizes, strides, _ = extents_of(meta, self.name)
        dtype = dtype_of(meta, self.name)
        self._count(given, sizes)
        if sum((n - 1) * step for n, step in zip(sizes, strides, strict=True)) >= MAX_ELEMENTS:
            raise ValueError(f"the value {given!r} has the strides {strides}")
        wanted = meta.requires_grad and (dtype.is_floating_point or dtype.is_complex)
        return torch.empty_strided(sizes, strides, dtype=dtype).requires_grad_(wanted)

    def _count(self, given: str, sizes: Sequence[int]) -> None:
        count = math.prod(sizes)
        self.total += count
        if count > MAX_ELEMENTS or self.total > MAX_TOTAL:
            raise SourceError(
                f"{self.name} was not loaded: its value {given!r} of shape {list(sizes)} has "
                f"{count:,} elements, and all together {self.total:,}.",
                hint=f"At most {MAX_ELEMENTS:,} are taken in one tensor.",
            )

    def _check_memory(self, inputs: Sequence[torch.fx.Node]) -> None:
        """Refuse a program whose values do not fit into the memory of this machine."""
        needed, there = peak_bytes(self.graph, self.values, inputs), memory_here()
        if there is not None and needed > there:
            raise SourceError(
                f"{self.name} was not loaded: its values take {needed / GIB:.1f} GiB at once in "
                f"float64, in which it is compared; there are {there / GIB:.1f} GiB here.",
                hint="Export it at a smaller size, or on a machine with more memory.",
            )

    def _record(self, given: str, node: torch.fx.Node, value: Tensor) -> None:
        if given in self.nodes:
            raise ValueError(f"two values are called {given!r}")
        self.nodes[given] = node
        self.values[node] = value
        node.meta["val"] = _snapshot(value)

    # ------------------------------------------------------------------ calls

    def _call(self, source: schema.Node) -> None:
        op = operator_of(source.target, self.name)
        given: dict[str, tuple[Any, int | None]] = {}
        for item in source.inputs:
            if item.name in given:
                raise ValueError(f"two arguments are called {item.name!r}")
            given[item.name] = (value_of(item.arg, self._node, self.name), item.kind)
        args, kwargs = arguments_of(op, given)
        fakes = torch.fx.node.map_arg(args, self.values.__getitem__)
        named = torch.fx.node.map_arg(kwargs, self.values.__getitem__)
        outputs = [schema.only(output) for output in source.outputs]
        parts = sum(len(value) if isinstance(value, list) else 1 for _, value in outputs)
        check_values(op, fakes, named, parts)
        result = op(*fakes, **named)
        first = source.name or next(
            (value.name for label, value in outputs if label == "as_tensor"), None
        )
        node = self.graph.create_node(
            "call_function", op, args, kwargs, None if first is None else python_name(first)
        )
        stack = _module_stack(source.metadata.get("nn_module_stack", ""))
        self._give(node, outputs, result, op, stack)

    def _give(
        self,
        node: torch.fx.Node,
        outputs: list[tuple[str, Any]],
        result: Any,
        op: OpOverload,
        stack: dict[str, tuple[str, str]],
    ) -> None:
        """Name the results of a call, through ``getitem`` where there are several."""
        node.meta["nn_module_stack"] = stack
        returns = op._schema.returns
        if not returns:
            node.meta["val"] = None
            return
        if len(returns) == 1 and isinstance(result, Tensor):
            if [label for label, _ in outputs] != ["as_tensor"]:
                raise ValueError("it gives one tensor")
            self._result(outputs[0][1].name, node, result)
            return
        if not isinstance(result, (tuple, list)):
            raise static(self.name, f"a call of {op}, whose result is no tensor")
        if len(returns) == 1:
            if [label for label, _ in outputs] != ["as_tensors"]:
                raise ValueError("it gives a list of tensors")
            outputs = [("as_tensor", value) for value in outputs[0][1]]
        if len(outputs) != len(result):
            raise ValueError(f"it gives {len(result)} values, not {len(outputs)}")
        values: list[Tensor | None] = []
        for index, ((label, argument), value) in enumerate(zip(outputs, result, strict=True)):
            if label == "as_none" and value is None:
                values.append(None)
                continue
            if label != "as_tensor" or not isinstance(value, Tensor):
                raise ValueError(f"its result {index} is a {type(value).__name__}")
            item = self.graph.create_node(
                "call_function", operator.getitem, (node, index), {}, python_name(argument.name)
            )
            item.meta["nn_module_stack"] = stack
            self._result(argument.name, item, value)
            values.append(item.meta["val"])
        node.meta["val"] = tuple(values)

    def _result(self, given: str, node: torch.fx.Node, value: Tensor) -> None:
        if any(not isinstance(extent, int) for extent in value.shape):
            raise static(self.name, f"a shape that depends on values ({given!r})")
        if value.layout is not torch.strided or value.device.type != "cpu":
            raise ValueError(f"{given!r} is not a dense tensor on the CPU")
        meta = self.source.graph.tensor_values.get(given)
        if meta is None:
            raise ValueError(f"the value {given!r} is not declared")
        sizes, _, _ = extents_of(meta, self.name)
        dtype = dtype_of(meta, self.name)
        if sizes != list(value.shape) or dtype != value.dtype:
            raise ValueError(
                f"{given!r} is {list(value.shape)} of {value.dtype}; "
                f"the file says {sizes} of {dtype}"
            )
        self._count(given, sizes)
        self._record(given, node, value)

    def _node(self, argument: schema.TensorArgument) -> torch.fx.Node:
        if argument.name not in self.nodes:
            raise ValueError(f"the value {argument.name!r} is used before it is computed")
        return self.nodes[argument.name]

    # ------------------------------------------------------------------ outputs and nesting

    def _outputs(self) -> list[TorchOutputSpec]:
        source, specs = self.source.graph, self.source.signature.output_specs
        if len(specs) != len(source.outputs):
            raise ValueError(f"{len(source.outputs)} outputs have {len(specs)} specs")
        results = []
        made = []
        for given, spec in zip(source.outputs, specs, strict=True):
            value = value_of(given, self._node, self.name)
            results.append(value)
            made.append(self._output(value, spec))
        if source.is_single_tensor_return:
            raise ValueError("its graph returns a bare tensor")
        node = self.graph.output(tuple(results))
        node.meta["val"] = tuple(
            value.meta["val"] if isinstance(value, torch.fx.Node) else value for value in results
        )
        return made

    def _output(self, value: Any, spec: schema.OutputSpec) -> TorchOutputSpec:
        kind, inside = schema.only(spec)
        argument = (
            TorchTensorArgument(value.name)
            if isinstance(value, torch.fx.Node)
            else ConstantArgument("", value)
        )
        if kind == "user_output":
            if not isinstance(value, torch.fx.Node) and isinstance(value, (list, torch.dtype)):
                raise ValueError("an output is no tensor and no constant")
            return TorchOutputSpec(OutputKind.USER_OUTPUT, argument, None)
        if kind == "buffer_mutation":
            return TorchOutputSpec(OutputKind.BUFFER_MUTATION, argument, inside.buffer_name)
        if kind == "user_input_mutation":
            target = self._node(schema.TensorArgument(inside.user_input_name)).name
            return TorchOutputSpec(OutputKind.USER_INPUT_MUTATION, argument, target)
        raise SourceError(
            f"{self.name} trains: it has an output of the kind {kind}.",
            hint="Export the model in eval mode: model.eval().",
        )

    def _verifier(self) -> type[Verifier]:
        """What PyTorch checks the graph with: as captured ("TRAINING"), or functional ("ATEN")."""
        named = self.contents.program.verifiers
        if named == ["TRAINING"]:
            return TrainingIRVerifier
        if named in ([], [""], ["ATEN"]):
            return Verifier
        raise ValueError(f"it is of the dialect {named[0][:40]!r}")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracebacks that PyTorch logs when an operator refuses fake tensors."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or one != one)


def _snapshot(value: Tensor) -> Tensor:
    """Another fake tensor of the same metadata: calls in place may still change ``value``'s."""
    copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype)
    return copy.requires_grad_(value.requires_grad)


def _module_stack(text: str) -> dict[str, tuple[str, str]]:
    """The modules around a call, from ``key,path,type;…``; none if the text is of another form."""
    found: dict[str, tuple[str, str]] = {}
    if not text.isascii() or not text.isprintable():
        return {}
    for item in filter(None, text.split(";")):
        key, _, rest = item.partition(",")
        path, _, kind = rest.partition(",")
        found[key] = (path, kind)
    return found
