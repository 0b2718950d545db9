"""coremltools' private interfaces, each once. What breaks when they change:

- `add_graph_pass`: Core ML files get two transposes around every layer norm over channels.
- `integer_type`: Core ML files have no weights of 4 bits.
- `divide_by_itself`: 1 / x is wrong near 0.
- `keep_gelus_apart`: GELU by tanh is written as the exact one, 5e-4 off.
- `keep_whole_quotients`: models that divide indices are refused, or wrong in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "add_graph_pass",
    "builder",
    "divide_by_itself",
    "integer_type",
    "keep_gelus_apart",
    "keep_whole_quotients",
]

_NAMESPACE = "mobile_export"


def add_graph_pass(pipeline: Any, name: str, apply: Callable[[Any], None], *, behind: str) -> None:
    """Let coremltools run ``apply`` on every function of a MIL program.

    coremltools 9.0: ``AbstractGraphPass`` and its registry.

    Args:
        pipeline: a ``coremltools.PassPipeline``.
        behind: the pass behind which it runs.
    """
    from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

    if f"{_NAMESPACE}::{name}" not in PASS_REGISTRY:

        def run(self: Any, prog: Any) -> None:
            for function in prog.functions.values():
                apply(function)

        made = type(name, (AbstractGraphPass,), {"apply": run, "__doc__": apply.__doc__})
        register_pass(namespace=_NAMESPACE)(made)
    pipeline.insert_pass(pipeline.passes.index(behind) + 1, f"{_NAMESPACE}::{name}")


def builder() -> Any:
    """What makes MIL operations (``coremltools.converters.mil.Builder``)."""
    from coremltools.converters.mil import Builder

    return Builder


def integer_type(bits: int) -> Any:
    """The type of an array whose integers coremltools stores in 4 or 8 bits.

    coremltools 9.0: ``types.nptype_from_builtin``.
    """
    from coremltools.converters.mil.mil import types

    return types.nptype_from_builtin(types.string_to_builtin(f"int{bits}"))


def divide_by_itself() -> None:
    """Let coremltools write 1 / x as a division.

    coremltools 9.0 (``frontend/torch/ops.py``, ``reciprocal``) writes ``inverse`` with the epsilon
    of its own, which is 1 / (x + 1e-4) (MIL reference): at 1e-3 it is 9 % off, at 0 it is 10000.
    """
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    if ops.reciprocal.__module__ != ops.__name__:
        return

    def reciprocal(context: Any, node: Any) -> None:
        x = context[node.inputs[0]]
        context.add(builder().real_div(x=1.0, y=x, name=node.name))

    register_torch_op(override=True)(reciprocal)
    ops.reciprocal = reciprocal


def keep_gelus_apart() -> None:
    """Let coremltools write the approximation of GELU that a call names.

    coremltools 9.0 (``frontend/torch/ops.py``, ``gelu``) reads ``approximate`` where a TorchScript
    graph has it, as the second argument; in a program of torch.export it is a keyword, which is
    left out: ``gelu(x, approximate="tanh")`` becomes the exact GELU, up to 4.7e-4 off.
    """
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    if ops.gelu.__module__ != ops.__name__:
        return

    def gelu(context: Any, node: Any) -> None:
        x = context[node.inputs[0]]
        named = [*(node.kwinputs or {}).get("approximate", ()), *node.inputs[1:2]]
        words = [each if each in ("tanh", "none") else context[each].val for each in named]
        mode = "TANH_APPROXIMATION" if "tanh" in words else "EXACT"
        context.add(builder().gelu(x=x, mode=mode, name=node.name))

    register_torch_op(override=True)(gelu)
    ops.gelu = gelu


def keep_whole_quotients() -> None:
    """Let coremltools leave the quotient of whole numbers an int32.

    coremltools 9.0 (``frontend/torch/ops.py``, ``floor_divide``) casts it to float32, which becomes
    float16: an index beyond 2048 is then another one, and it cannot be stacked with other indices.
    """
    from coremltools.converters.mil.frontend.torch import ops
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op
    from coremltools.converters.mil.mil import types

    theirs = ops.floor_divide
    if theirs.__module__ != ops.__name__:
        return

    def floor_divide(context: Any, node: Any) -> None:
        theirs(context, node)
        cast = context[node.name].op
        if cast is not None and cast.op_type == "cast" and cast.x.dtype == types.int32:
            context.add(cast.x, torch_name=node.name, override=True)

    register_torch_op(override=True)(floor_divide)
    ops.floor_divide = floor_divide
