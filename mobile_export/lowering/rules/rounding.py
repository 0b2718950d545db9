"""Lowerings of quantise and dequantise: numbers on a grid, which stay numbers.

What was stored as integers is an array before any rule is asked; here is what is computed.
"""

from __future__ import annotations

from ...graph.ops import argument
from ...system.torch_private import quantization_operators
from .. import ir
from ..table import Call, lowers
from ..view import View

__all__: list[str] = []

_OPERATORS = quantization_operators()


@lowers(_OPERATORS.quantize_per_tensor.default)
def _quantize(call: Call) -> View:
    """Not the integers but what they stand for, which `_dequantize` hands on."""
    scale, zero, low, high = (
        argument(call.node, name) for name in ("scale", "zero_point", "quant_min", "quant_max")
    )
    if zero:
        raise call.refuse(f"integers with the zero point {zero}")
    x = call.x
    limits = (int(low), int(high))
    value = call.builder.add(ir.Round, [x.value], x.value.shape, step=float(scale), limits=limits)
    return x.on(value)


@lowers(_OPERATORS.dequantize_per_tensor.default)
def _dequantize(call: Call) -> View:
    return call.x
