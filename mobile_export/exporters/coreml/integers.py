"""Files of integers: a program with a plan in it as coremltools takes it.

Weights are ``constexpr_affine_dequantize`` (iOS 16), ``constexpr_blockwise_shift_scale`` (iOS 18);
computed tensors ``quantize`` and ``dequantize`` (iOS 17). Core ML has no integers of 32 bits there:
a bias is stored as the float32 next to what its integers stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ...errors import UsageError
from ...graph.editor import GraphEditor
from ...graph.quantized import is_quantization
from ...graph.stored_integers import exact_floats

if TYPE_CHECKING:
    from ...graph.program import Program
    from ..row import Precision

__all__ = ["CHANGING", "as_stored", "target_of"]

CHANGING = frozenset(
    (
        "common::dequantize_quantize_pair_elimination",
        "common::distributive_quantized_binary_op_scale_normalization",
        "common::nullify_redundant_quantization_zero_point",
    )
)
"""coremltools' passes that change scales and zero points, which are the plan's."""


def as_stored(program: Program) -> Program:
    """``program`` with exact floats, in float64, in the place of integers of 32 bits.

    Zero points have the type of their integers: coremltools cannot cast to it for iOS 16.
    The writer rounds the floats (`Program.in_float32`), behind the proof.
    """
    graph = GraphEditor(program)
    for node in graph.nodes:
        if not is_quantization(node):
            continue
        integers = graph.constant(node.args[0])
        zero = graph.constant(node.args[2])
        if integers is None:
            continue
        if integers.dtype == torch.int32:
            name = graph.name_of(node.args[0]).replace(".integers", ".values")
            stored = graph.add_constant(exact_floats(graph, node), name)
            graph.replace(node, stored, "a bias as floats")
        elif zero is not None:
            name = graph.name_of(node.args[2])
            own = graph.add_constant(zero.to(integers.dtype), name)
            node.args = (*node.args[:2], own, *node.args[3:])
            graph.changed(node, "a zero point of its own type")
    return graph.result().program


def target_of(target: str, precision: Precision) -> str:
    """The deployment target of a file: at least the one that has the operations of its integers.

    Raises:
        UsageError: iOS 15 has none of them.
    """
    if precision.integers and target == "ios15":
        raise UsageError(
            f"Core ML stores no integers for iOS 15: {precision.name} needs iOS 16, int8 iOS 17.",
            hint="Leave `target` out, or ask for a later one.",
        )
    if precision.block is not None:
        return "ios18"
    if precision.integers and precision.calibrated and target == "ios16":
        return "ios17"
    return target
