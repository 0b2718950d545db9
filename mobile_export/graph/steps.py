"""Calls whose result jumps where a number computed from the image passes another.

A file that rounds to float16 may fall on the other side of such a step, and is then off by the
height of the jump, however small the rounding is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from ..system.torch_private import OpOverload
from .ops import operator_name

if TYPE_CHECKING:
    from .program import Program

__all__ = ["STEPS", "steps_of"]

_NAMES = """
    argmax argmin argsort ceil eq floor floor_divide fmod frac ge gt heaviside le lt ne remainder
    round sign sort topk trunc
"""
STEPS = frozenset(_NAMES.split())
"""Names of ATen without their overloads."""


def steps_of(program: Program) -> Iterator[torch.fx.Node]:
    """The calls of `STEPS` on floating-point numbers that are computed from the image."""
    images = set(program.exported.graph_signature.user_inputs)
    reached: set[torch.fx.Node] = set()
    for node in program.exported.graph.nodes:
        computed = [each for each in node.all_input_nodes if each in reached]
        if node.name in images or computed:
            reached.add(node)
        if isinstance(node.target, OpOverload) and operator_name(node.target) in STEPS:
            values = [each.meta.get("val") for each in computed]
            if any(isinstance(v, torch.Tensor) and v.is_floating_point() for v in values):
                yield node
