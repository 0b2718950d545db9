"""What a run of an ML Program showed that its outputs alone do not say.

* An operation whose meaning is not settled: sources differ on it, so a device may compute something
  else (docs/coreml-evaluator.md, "Not settled").
* An operation whose float16 result left float16: the first of its kind, that is one whose inputs
  are all finite. Masks of minus infinity that a model stores are no overflow.

Tested by tests/exporters/coreml/evaluator/test_findings.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ....parity.overflow import LARGEST_FLOAT16, Overflow, overflow_note

__all__ = ["LARGEST_FLOAT16", "Findings", "Overflow"]

_NAMED = 3
_ADDED = ("_cast_fp16", "_cast_fp32")
"""What coremltools appends to the name of a value."""


class Findings:
    """What all runs of one program showed, in order of execution.

    Attributes:
        overflows: by output name, the largest one of all runs.
        unsettled: by operation name, its type and what is not settled.
    """

    def __init__(self) -> None:
        self.overflows: dict[str, Overflow] = {}
        self.unsettled: dict[str, tuple[str, str]] = {}

    def see_result(self, op: str, output: str, value: Any, inputs: Iterable[Any]) -> None:
        """Look at a float16 result before it is rounded.

        Args:
            inputs: the arguments that it was computed from; those that are tensors count.
        """
        if (
            not isinstance(value, torch.Tensor)
            or not value.is_floating_point()
            or not value.numel()
        ):
            return
        low, high = (float(bound) for bound in torch.aminmax(value))
        magnitude = max(-low, high)
        if magnitude <= LARGEST_FLOAT16 or not _finite(inputs):
            return
        known = self.overflows.get(output)
        if known is None or not magnitude <= known.magnitude:
            self.overflows[output] = Overflow(op, output, magnitude)

    def see_unsettled(self, op: str, name: str, reason: str) -> None:
        """Note that the operation ``name`` was used in a form whose meaning is not settled."""
        self.unsettled[name] = (op, reason)

    def notes(self, modules: Mapping[str, str] | None = None) -> tuple[str, ...]:
        """One sentence per kind, for a parity report.

        Args:
            modules: as of `parity.session.Session`.
        """
        notes = []
        if self.overflows:
            known = modules or {}
            found = [
                replace(each, module=known.get(_node_of(each.output)))
                for each in self.overflows.values()
            ]
            notes.append(overflow_note(found, "`precision='fp32'` writes float32"))
        by_reason: dict[str, list[str]] = {}
        for name, (op, reason) in self.unsettled.items():
            by_reason.setdefault(reason, []).append(f"{op} {name!r}")
        for reason, names in by_reason.items():
            notes.append(
                f"not settled: {_listed(names, len(names))}: {reason} (docs/coreml-evaluator.md)"
            )
        return tuple(notes)


def _node_of(output: str) -> str:
    """The name in the program of a value in the package."""
    for suffix in _ADDED:
        output = output.removesuffix(suffix)
    return output


def _listed(names: Iterable[str], count: int) -> str:
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return ", ".join([name for name, _ in zip(names, range(_NAMED), strict=False)]) + more


def _finite(inputs: Iterable[Any]) -> bool:
    for value in inputs:
        if isinstance(value, tuple):
            if not _finite(value):
                return False
        elif isinstance(value, torch.Tensor) and not bool(torch.isfinite(value).all()):
            return False
    return True
