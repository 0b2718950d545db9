"""Values on the way through a file that float16 cannot hold, by name.

Nothing here decides a status: the error does. But whoever sees an error, or runs the file on a
device that computes in float16 where this machine does not, is told which operation of which module
made the value, and how large it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..graph.float64 import double_copy, run_float64
from ..graph.program import Program
from .session import Tensor

if TYPE_CHECKING:
    from .samples import Sample

__all__ = [
    "LARGEST_FLOAT16",
    "OVERFLOWS",
    "Overflow",
    "beyond_float16",
    "in_the_model",
    "largest_of_each",
    "notes_on_values",
    "overflow_note",
]

LARGEST_FLOAT16 = 65504.0
OVERFLOWS = "float16 overflows"
"""How a note begins that names values of a file."""
_NAMED = 3
_LONGEST = 40  # of a name in a note; LiteRT's hold every module on the way


@dataclass(frozen=True)
class Overflow:
    """A value that a file computes and float16 cannot hold.

    Attributes:
        op: the operation's type in the file.
        output: the name of the value.
        magnitude: the largest |value| before rounding; infinity or NaN where it was that already.
        module: path of the PyTorch module it came from, where it is known.
    """

    op: str
    output: str
    magnitude: float
    module: str | None = None

    def __str__(self) -> str:
        size = f"{self.magnitude:.3g}"
        if math.isnan(self.magnitude):
            size = "NaN, such as 0 / 0 or log(-1)"
        elif math.isinf(self.magnitude):
            size = "infinity"
        place = f" in module {self.module!r}" if self.module else ""
        name = self.output if len(self.output) <= _LONGEST else f"…{self.output[-_LONGEST:]}"
        return f"{self.op} {name!r}{place} ({size})"


def beyond_float16(tensors: Iterable[Tensor]) -> Iterator[Overflow]:
    """The first of their kind among ``tensors``: too large, and made of what is not.

    Tensors that are made of nothing are stored: a mask of minus infinity is meant.
    """
    large: set[str] = set()
    for tensor in tensors:
        if not np.issubdtype(tensor.value.dtype, np.floating) or not tensor.value.size:
            continue
        magnitude = float(np.abs(tensor.value.astype(np.float64)).max())
        if magnitude <= LARGEST_FLOAT16:
            continue
        first = tensor.inputs and not large.intersection(tensor.inputs)
        large.add(tensor.name)
        if first:
            yield Overflow(tensor.op or "the value", tensor.name, magnitude, tensor.module)


def largest_of_each(found: Iterable[Overflow]) -> tuple[Overflow, ...]:
    """Of every value of several runs the largest, in the order of their first."""
    largest: dict[str, Overflow] = {}
    for overflow in found:
        known = largest.get(overflow.output)
        if known is None or not overflow.magnitude <= known.magnitude:
            largest[overflow.output] = overflow
    return tuple(largest.values())


def notes_on_values(
    tensors: Callable[[Sample], Iterable[Tensor]], samples: Iterable[Sample], advice: str
) -> tuple[str, ...]:
    """A note on the values beyond float16 of several runs, if there are any."""
    found = largest_of_each(each for s in samples for each in beyond_float16(tensors(s)))
    return (overflow_note(found, advice),) if found else ()


class _Magnitudes(torch.fx.Interpreter):
    """Runs a graph and keeps what is too large: parameters, and results made of what is not."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.parameters = {name for name, _ in module.named_parameters()}
        self.found: list[Overflow] = []
        self._large: set[torch.fx.Node] = set()

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        stored = n.op == "get_attr" and n.target in self.parameters
        if (n.op == "call_function" or stored) and isinstance(result, torch.Tensor):
            self._see(n, result)
        return result

    def _see(self, node: torch.fx.Node, value: torch.Tensor) -> None:
        if not value.is_floating_point() or not value.numel():
            return
        magnitude = float(value.abs().max())
        if magnitude <= LARGEST_FLOAT16:
            return
        first = not self._large.intersection(node.all_input_nodes)
        self._large.add(node)
        if first:
            path = _module_of(node if node.op == "call_function" else next(iter(node.users), node))
            op = str(node.target) if node.op == "call_function" else "the weight"
            self.found.append(Overflow(op, node.name, magnitude, path))


def _module_of(node: torch.fx.Node) -> str | None:
    paths = [entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values()]
    return str(paths[-1]) if paths and paths[-1] else None


def in_the_model(program: Program, samples: Iterable[Sample]) -> tuple[str, ...]:
    """A note on what float16 cannot hold of the model itself, run in float64: the first weights and
    results, with operator, module and magnitude. Files do not keep all of their names."""
    module = double_copy(program.module())
    assert isinstance(module, torch.fx.GraphModule)
    found: list[Overflow] = []
    for sample in samples:
        run = _Magnitudes(module)
        run_float64(run.run, *sample.all_given())
        found += run.found
    largest = largest_of_each(found)
    return (f"in the model these are {_listed(largest)}",) if largest else ()


def overflow_note(found: Sequence[Overflow], advice: str) -> str:
    """One sentence that names the first few, with what to do."""
    largest = f"its largest number is {LARGEST_FLOAT16:.0f}"
    return f"{OVERFLOWS} ({largest}): {_listed(found)}; {advice}"


def _listed(found: Sequence[Overflow]) -> str:
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(map(str, found[:_NAMED])) + more
