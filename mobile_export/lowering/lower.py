"""The lowering: prepared Program -> LayerGraph.

    graph = lower(program)

Every ATen call has its rule in a module of `rules`, by family of ops; see `table`. Tensors are kept
as views (`view`), so reshapes and permutes of any rank are written only where a layer needs another
order.

What has no rule, or would need a value of rank above 4, is refused by op, module and node before
anything is written.
"""

from __future__ import annotations

import math
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from ..errors import LoweringError, MobileExportError, summary
from ..graph.float64 import Float64Mode
from ..graph.ops import argument, called_name
from ..operators import expand
from ..operators.core import way_out
from ..passes.normalize_ops import REPLACED, SPELLINGS, normalize_ops
from . import ir
from .builder import Builder
from .integers import multiply_integers, weight_steps
from .rules import affine as _affine
from .rules import comparing as _comparing
from .rules import elementwise as _elementwise
from .rules import functions as _functions
from .rules import linear as _linear
from .rules import masking as _masking
from .rules import moving_ops as _moving_rules
from .rules import ordering as _ordering
from .rules import products as _products
from .rules import recurrent as _recurrent
from .rules import rounding as _rounding
from .rules import sampling as _sampling
from .rules import statistics as _statistics
from .rules import windows as _windows
from .simplify import simplify
from .table import RULES, Call
from .view import View

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..graph.specs import InputSpec

__all__ = ["lower"]

aten = torch.ops.aten

_FAMILIES = (
    _affine,
    _comparing,
    _elementwise,
    _functions,
    _linear,
    _masking,
    _moving_rules,
    _ordering,
    _products,
    _recurrent,
    _rounding,
    _sampling,
    _statistics,
    _windows,
)  # fill RULES


def lower(program: Program, *, giving: bool = False) -> ir.LayerGraph:
    """The layer graph of ``program``, whose passes have run.

    Args:
        giving: layers of integers give integers (`multiply_integers`).

    Raises:
        LoweringError: an op, with its module, that has no layers of rank 4 or less; or the program
            holds ops that `normalize_ops` replaces, so its passes have not run.
    """
    _refuse_other_spellings(program)
    program = _in_known_operators(program)
    builder = Builder()
    exported = program.exported
    signature = exported.graph_signature
    stored = {**exported.state_dict, **exported.constants}
    known: dict[Node, Any] = {}
    live = _live(exported.graph)
    inputs: list[ir.Value] = []
    specs = iter(signature.input_specs)
    taken = iter(program.inputs)
    for node in exported.graph.nodes:
        if node.op == "placeholder":
            spec = next(specs)
            if spec.kind is InputKind.USER_INPUT:
                inputs.append(_input(builder, node, next(taken), program.spec))
                known[node] = View.of(inputs[-1], node.meta["val"].shape)
            elif isinstance(value := stored.get(spec.target), torch.Tensor):
                known[node] = _array(value)
        elif node in live:
            known[node] = _lower_call(builder, node, known, live)
    (returned,) = exported.graph.output_node().args
    results = [
        result
        for result, spec in zip(returned, signature.output_specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    outputs = tuple(_output(builder, known[result], result) for result in results)
    names = tuple(output.name for output in program.outputs)
    shapes = tuple(tuple(result.meta["val"].shape) for result in results)
    scales = weight_steps(exported.graph, known)
    graph = ir.LayerGraph(tuple(inputs), outputs, tuple(builder.layers), names, shapes)
    return multiply_integers(simplify(graph, scales), scales, giving=giving)


def _in_known_operators(program: Program) -> Program:
    """With what has no rule as PyTorch defines it by what may have one."""
    for _ in range(_ROUNDS):
        expanded = expand(program, {*RULES, *REPLACED, *SPELLINGS}, _is_taken)
        if not expanded.changes:
            break
        program = normalize_ops(expanded.program).program
    return program


_ROUNDS = 4
"""Decompositions of decompositions; operators need two."""


def _is_taken(node: Node) -> bool:
    """Whether the rule of an operator takes this call of it."""
    if node.target is aten.einsum.default:
        return len(node.args[1]) == 2 and "." not in str(node.args[0])  # type: ignore[arg-type]
    if node.target is aten.scaled_dot_product_attention.default:
        return not argument(node, "enable_gqa")
    return True


def _refuse_other_spellings(program: Program) -> None:
    for node in program.exported.graph.nodes:
        if node.op == "call_function" and node.target in REPLACED:
            raise LoweringError(
                f"{program.spec} holds {node.target} ({node.name}), which normalize_ops replaces.",
                hint="lower takes programs that mobile_export.passes.run_passes has returned.",
            )


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().numpy()
    return array


_AS_FLOAT32 = {
    "image": "Let forward take the pixels as float32; the app converts their bytes.",
    "indices": "Let forward take float32, and look up what indices stand for in the app.",
    "mask": "Let forward take the mask as float32 of 0 and 1.",
}
"""What to do about an input of another type, by its role."""


def _input(builder: Builder, node: Node, given: InputSpec, spec: str) -> ir.Value:
    shape = tuple(node.meta["val"].shape)
    if given.dtype != "float32":
        raise LoweringError(
            f"The input {given.name} of {spec} is of {given.dtype}; ncnn and TNN files take "
            "float32.",
            hint=_AS_FLOAT32.get(given.role, "Let forward take float32."),
        )
    if shape[:1] != (1,) or not 2 <= len(shape) <= 1 + ir.LayerGraph.MAX_RANK:
        name = "" if given.role == "image" else f" {given.name}"
        raise LoweringError(
            f"The input{name} of {spec} has the shape {shape}.",
            hint="ncnn and TNN take one image at a time: (1, channels, height, width)."
            if given.role == "image"
            else "ncnn and TNN take two to five axes, of which the first has the length 1.",
        )
    builder.node = None
    value = ir.Value(given.name, shape[1:], node.name)
    builder.reserve(value.name)
    return value


def _live(graph: torch.fx.Graph) -> set[Node]:
    """The calls that an output depends on."""
    live = {graph.output_node()}
    for node in reversed(graph.nodes):
        if node in live:
            live.update(node.all_input_nodes)
    return {node for node in live if node.op == "call_function"}


def _lower_call(
    builder: Builder, node: Node, known: dict[Node, Any], live: AbstractSet[Node]
) -> Any:
    """The result of one call: views, or arrays where nothing depends on the image."""
    builder.node = node
    sources = node.all_input_nodes
    _refuse_dynamic(builder, node)
    if all(_is_stored(known[source]) for source in sources):
        return _computed(node, known)
    _refuse_wrapping(builder, node)
    rule = RULES.get(node.target)
    if rule is None:
        raise builder.refuse("there is no rule for it", way_out(node))
    try:
        return rule(Call(builder, node, known, live))
    except MobileExportError:
        raise
    except Exception as error:  # a call that its rule did not expect; any type
        raise builder.refuse(summary(error), "Please report the model.") from error


def _refuse_dynamic(builder: Builder, node: Node) -> None:
    values = node.meta.get("val")
    for value in values if isinstance(values, list | tuple) else [values]:
        if isinstance(value, torch.Tensor) and not all(isinstance(n, int) for n in value.shape):
            raise builder.refuse(
                f"its shape {tuple(value.shape)} is not static", "Export with a fixed `size`."
            )


_SMALL = (torch.uint8, torch.int8, torch.int16)
_BEYOND = ("add", "sub", "rsub", "mul", "neg", "pow", "square")


def _refuse_wrapping(builder: Builder, node: Node) -> None:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or value.dtype not in _SMALL:
        return
    if called_name(node) in _BEYOND:
        kind = str(value.dtype).removeprefix("torch.")
        raise builder.refuse(
            f"{kind} begins again where it ends, and layers compute with real numbers",
            "Convert to float first, or compute it in the app.",
        )


def _is_stored(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(item, np.ndarray) for item in value)
    return isinstance(value, np.ndarray)


def _computed(node: Node, known: dict[Node, Any]) -> Any:
    """A call on stored tensors only, executed in float64."""

    def tensor(source: Node) -> Any:
        value = known[source]
        if isinstance(value, np.ndarray):
            return _in_float64(value)
        return [_in_float64(item) for item in value]

    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), tensor)
    with torch.no_grad(), Float64Mode():  # type: ignore[no-untyped-call]
        result = node.target(*args, **kwargs)  # type: ignore[operator]
    if isinstance(result, list | tuple):
        return tuple(_array(item) for item in result)
    return _array(result)


def _in_float64(array: np.ndarray) -> torch.Tensor:
    """Stored weights are float32, results of earlier calls float64; integers stay."""
    tensor = torch.from_numpy(array)
    return tensor.double() if tensor.is_floating_point() else tensor


def _output(builder: Builder, result: Any, node: Node) -> ir.Value:
    """In the shape of the program's output without its batch, in rank 1 to 4."""
    builder.node = node
    if isinstance(result, np.ndarray):
        shape = result.shape[1:] if result.shape[:1] == (1,) else result.shape
        first = len(shape) - ir.LayerGraph.MAX_RANK + 1
        if first > 1:
            shape = (math.prod(shape[:first]), *shape[first:])
        return builder.constant(result.reshape(shape or (1,)))
    axes = list(range(len(result.shape)))
    if axes and result.shape[0] == 1:
        axes = axes[1:]
    extra = max(len(axes) - ir.LayerGraph.MAX_RANK, 0)
    groups = [axes[: extra + 1], *[[axis] for axis in axes[extra + 1 :]]]
    return builder.place(result, *groups)
