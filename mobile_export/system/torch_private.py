"""PyTorch's private interfaces, each once. Imports torch.

What breaks when they change: passes and readers that ask whether a node calls an ATen operator
(`OpOverload`), the reader of .pt2 files (`Verifier`, `FakeTensorMode`), the float64 run
(`TorchDispatchMode`, `tree_map`), programs of several
inputs (`tree_unflatten`), operators that some format lacks (`decomposition_of`, `make_fx`),
Core ML files of models with bicubic resizing (`decompositions`), operators without a rule of their
own in ncnn and TNN (`core_decompositions`, `trace_call`), files of integers
(`quantization_operators`), TorchScript modules (`script_forward`), modules whose forward was
compiled (`compiled_method`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._decomp import core_aten_decompositions, decomposition_table, get_decompositions
from torch._export.verifier import TrainingIRVerifier, Verifier
from torch._ops import OpOverload, OpOverloadPacket
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map, tree_unflatten

__all__ = [
    "FakeTensorMode",
    "OpOverload",
    "OpOverloadPacket",
    "TorchDispatchMode",
    "TrainingIRVerifier",
    "Verifier",
    "compiled_method",
    "core_decompositions",
    "decomposition_of",
    "decompositions",
    "make_fx",
    "quantization_operators",
    "script_forward",
    "trace_call",
    "tree_map",
    "tree_unflatten",
]


def quantization_operators() -> Any:
    """``torch.ops.quantized_decomposed``, whose operators this import registers."""
    from torch.ao.quantization.fx import _decomposed  # noqa: F401

    return torch.ops.quantized_decomposed


def compiled_method(function: Any) -> Any:
    """The method that ``torch.compile`` was given; None of what it did not make."""
    given = getattr(function, "_torchdynamo_orig_callable", None)
    # a function around the methods of PyTorch's own modules
    return (
        given if given is None or inspect.ismethod(given) else getattr(given, "__wrapped__", None)
    )


def script_forward(module: torch.jit.ScriptModule) -> Callable[..., Any]:
    """A script's forward as it is compiled.

    ``module(x)`` does the same, but not while torch.export watches calls of modules.
    """
    return module._c.forward  # type: ignore[no-any-return]


def decompositions(
    exported: torch.export.ExportedProgram, operators: Sequence[OpOverload]
) -> dict[Any, Any]:
    """PyTorch's own decompositions of those of ``operators`` that a program calls."""
    present = {node.target for node in exported.graph.nodes}
    return dict(get_decompositions([op for op in operators if op in present]))


def core_decompositions() -> dict[Any, Any]:
    """Of operators outside PyTorch's core set that it decomposes: operator -> function.

    With some that it counts as core, or forgets.
    """
    aten = torch.ops.aten
    others = (
        aten._native_batch_norm_legit_functional.default,
        aten.dist.default,
        aten.narrow_copy.default,
        aten.native_batch_norm.default,
        aten.native_group_norm.default,
        aten.native_layer_norm.default,
        aten.permute_copy.default,
        aten.view_copy.default,
    )
    return {**core_aten_decompositions(), **{op: decomposition_table[op] for op in others}}


def trace_call(
    call: Callable[..., Any], tensors: Sequence[torch.Tensor], table: Mapping[Any, Any]
) -> torch.fx.Graph:
    """The ATen calls of ``call(*tensors)``, whose placeholders are ``tensors``.

    Operators of ``table`` and those that are compositions in C++ are taken apart, and nothing is
    written in place but into ``tensors``. Only shapes and dtypes of these count.
    """
    fakes = FakeTensorMode(static_shapes=True)
    with fakes, torch.no_grad():
        given = [torch.empty(t.shape, dtype=t.dtype) for t in tensors]
        traced = make_fx(call, decomposition_table=dict(table))(*given)
        functional = make_fx(torch.func.functionalize(traced))(*given)
    graph: torch.fx.Graph = functional.graph
    return graph


def decomposition_of(operator: OpOverload) -> Callable[..., Any] | None:
    """PyTorch's own decomposition of an operator, in Python or compiled, or None."""
    if torch._C._dispatch_has_kernel_for_dispatch_key(operator._name, _COMPOSITE):
        compiled: Callable[..., Any] = operator.decompose
        return compiled
    found: Callable[..., Any] | None = decomposition_table.get(operator)
    return found


_COMPOSITE = "CompositeImplicitAutograd"
