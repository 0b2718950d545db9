"""The table of lowerings: one decorated function per ATen op, or per family of ops.

    @lowers(aten.relu.default)
    def _relu(call: Call) -> View: ...

A function reads the call's arguments, appends layers to ``call.builder`` and returns the result: a
`View`, or a tuple of them where the op returns several tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from torch.fx import Node

from ..graph.ops import argument, argument_names
from .builder import Builder
from .view import View

if TYPE_CHECKING:
    import torch

    from ..errors import LoweringError

__all__ = ["RULES", "Call", "Operand", "Rule", "lowers"]

Operand: TypeAlias = View | np.ndarray
"""A tensor that depends on the image, or a stored one."""

Rule: TypeAlias = "Callable[[Call], Operand | tuple[View, ...]]"

RULES: dict[Any, Rule] = {}


def lowers(*targets: Any) -> Callable[[Rule], Rule]:
    """Register the lowering of ``targets``."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, rule))
        return rule

    return register


@dataclass(frozen=True)
class Call:
    """One ATen call whose operands are lowered."""

    builder: Builder
    node: Node
    known: Mapping[Node, Any]
    live: AbstractSet[Node]

    @property
    def target(self) -> Any:
        """The op."""
        return self.node.target

    @property
    def names(self) -> list[str]:
        """Names of the arguments in the schema."""
        return argument_names(self.node)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result, or of the first of several."""
        value: Any = self.node.meta["val"]
        first: torch.Tensor = value[0] if isinstance(value, list | tuple) else value
        return tuple(first.shape)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of all results."""
        return [tuple(item.shape) for item in self.node.meta["val"]]

    @property
    def items(self) -> set[int]:
        """Which of several results are used."""
        return {user.args[1] for user in self.node.users if user in self.live}  # type: ignore[misc]

    def get(self, name: str) -> Any:
        """An argument by its name in the schema; tensors are operands."""
        return self._known(argument(self.node, name))

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor by the name of its argument."""
        dtype: torch.dtype = argument(self.node, name).meta["val"].dtype
        return dtype

    def first(self) -> Operand:
        """The first argument."""
        operand: Operand = self._known(self.node.args[0])
        return operand

    @property
    def x(self) -> View:
        """The first argument as a view, stored in the graph if it is a constant."""
        return self.view(self.first())

    def view(self, operand: Operand) -> View:
        """``operand`` as a view, stored in the graph if it is a constant."""
        if isinstance(operand, View):
            return operand
        flat = operand.reshape(-1)
        return View.of(self.builder.constant(flat), operand.shape)

    def array(self, name: str, why: str) -> np.ndarray | None:
        """A stored tensor by the name of its argument, or None.

        Raises:
            LoweringError: it is computed from the image.
        """
        value = self.get(name)
        if value is not None and not isinstance(value, np.ndarray):
            raise self.refuse(f"its {name} is computed from the image; {why}")
        return value

    def refuse(self, what: str, hint: str | None = None) -> LoweringError:
        """The error that says why this call has no layers."""
        return self.builder.refuse(what, hint)

    def _known(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self.known[value]
        if isinstance(value, list | tuple):
            return [self._known(item) for item in value]
        return value
