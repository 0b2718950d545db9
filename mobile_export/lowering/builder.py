"""Builder: the layer graph while it is being made."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LoweringError
from ..graph.movement import Movement, identity, refine, split, steps_of
from . import ir
from .view import Atom, View

if TYPE_CHECKING:
    import numpy as np
    from torch.fx import Node

__all__ = ["Builder", "module_path", "price"]

LayerT = TypeVar("LayerT", bound=ir.Layer)

_RESHAPE_PRICE = 0.1
_SCATTERED_PRICE = 1.4


def module_path(node: Node) -> str:
    """Path of the module whose forward made ``node``, as the model names it."""
    stack = node.meta.get("nn_module_stack")
    path: str = next(reversed(stack.values()))[0] if stack else ""
    return path


class Builder:
    """Appends layers. Everything is named after ``node``, the ATen call that is being lowered."""

    def __init__(self) -> None:
        self.layers: list[ir.Layer] = []
        self.node: Node | None = None
        self._names: set[str] = set()
        self._counts: Counter[str] = Counter()
        self._placed: dict[ir.Value, dict[Movement, ir.Value]] = {}
        self._constants: dict[tuple[ir.Shape, bytes], ir.Value] = {}

    def refuse(self, what: str, hint: str | None = None) -> LoweringError:
        """The error that says what of the current call has no layers."""
        assert self.node is not None
        path = module_path(self.node)
        where = f"module {path!r}" if path else "the model itself"
        return LoweringError(
            f"{self.node.target} in {where} ({self.node.name}) cannot be lowered: {what}.",
            hint=hint
            or "Write it with convolutions, matrix products and elementwise functions, "
            "or export to onnx, coreml or tflite.",
        )

    def reserve(self, name: str) -> None:
        """Keep ``name``, which a value has that this builder did not make."""
        self._names.add(name)

    # Layers -------------------------------------------------------------------------------------

    def value(self, shape: Sequence[int], suffix: str = "") -> ir.Value:
        """A new value of the current call."""
        base = self.node.name if self.node is not None else "value"
        base = f"{base}_{suffix}" if suffix else base
        name = base
        while name in self._names:
            self._counts[base] += 1
            name = f"{base}_{self._counts[base]}"
        self._names.add(name)
        path = module_path(self.node) if self.node is not None else ""
        return ir.Value(name, tuple(shape), self.node.name if self.node else "", path)

    def add(
        self, kind: type[LayerT], inputs: Sequence[ir.Value], shape: Sequence[int], **given: Any
    ) -> ir.Value:
        """Append a layer of ``kind`` whose output has ``shape``."""
        if not 1 <= len(shape) <= ir.LayerGraph.MAX_RANK:
            raise self.refuse(f"it needs a {kind.__name__} of rank {len(shape)}: {tuple(shape)}")
        moves = kind in (ir.Reshape, ir.Permute, ir.PixelShuffle, ir.PixelUnshuffle)
        output = self.value(shape, kind.__name__.lower() if moves else "")
        self.layers.append(kind(inputs=tuple(inputs), output=output, **given))
        return output

    def constant(self, array: np.ndarray) -> ir.Value:
        """A stored array; equal ones are stored once."""
        import numpy as np

        array = np.ascontiguousarray(array)
        key = (array.shape, array.astype(np.float64).tobytes())
        if key not in self._constants:
            output = self.value(array.shape, "constant")
            self.layers.append(ir.Constant(inputs=(), output=output, value=array))
            self._constants[key] = output
        return self._constants[key]

    def reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        """``value`` in another shape."""
        return self._moved(value, dataclasses.replace(identity(value.shape), after=tuple(shape)))

    # Placement ----------------------------------------------------------------------------------

    def place(self, view: View, *groups: Sequence[int]) -> ir.Value:
        """The tensor with its axes in the order of ``groups``; each group becomes one axis.

        Axes that no group names must have size 1.
        """
        wanted = [view.of_axes(group) for group in groups]
        return self.put(view, wanted)

    def put(self, view: View, runs: Sequence[Sequence[Atom]]) -> ir.Value:
        """The tensor with its atoms in the order of ``runs``; each run becomes one axis."""
        shape = tuple(math.prod(atom.size for atom in run) for run in runs)
        wanted = [atom for run in runs for atom in run]
        source, movement = self._nearest(view, wanted, shape)
        return self._moved(source, movement)

    def contiguous(self, view: View) -> View:
        """The same tensor in memory as ATen has it."""
        sizes = [axis for axis, size in enumerate(view.shape) if size != 1]
        groups = [[axis] for axis in sizes[: ir.LayerGraph.MAX_RANK - 1]]
        groups.append(sizes[ir.LayerGraph.MAX_RANK - 1 :])
        kept = [group for group in groups if group] or [[]]
        return View.of(self.place(view, *kept), view.shape)

    def cost(self, view: View, wanted: Sequence[Atom]) -> float:
        """Elements moved to bring the tensor to the order ``wanted``; a reshape counts little."""
        flat = (view.size,)
        if self.is_placed(view, wanted):
            return 0.0
        _, movement = self._nearest(view, wanted, flat)
        return view.size * price(movement)

    def is_placed(self, view: View, wanted: Sequence[Atom]) -> bool:
        """Whether a value with the atoms in the order ``wanted`` exists, reshapes aside."""
        flat = (view.size,)
        known = (view, *self.variants(view))
        return any(not variant.movement(wanted, flat).cost for variant in known)

    def variants(self, view: View) -> list[View]:
        """The same tensor on other values that were made of ``view.value`` by placement."""
        found = []
        sizes = [atom.size for atom in view.atoms]
        for movement, value in self._placed.get(view.value, {}).items():
            if refine(movement.atoms, sizes) != sizes:
                continue  # it was made for a tensor that cuts the value elsewhere
            runs = split(movement.atoms, sizes)
            memory = tuple(view.atoms[i] for turn in movement.order for i in runs[turn])
            found.append(View(value, view.shape, memory))
        return found

    def _nearest(
        self, view: View, wanted: Sequence[Atom], shape: ir.Shape
    ) -> tuple[ir.Value, Movement]:
        """The value to start from, the view's own or a variant, and the movement from there."""
        best = (view.value, view.movement(wanted, shape))
        for variant in self.variants(view):
            movement = variant.movement(wanted, shape)
            if price(movement) < price(best[1]):
                best = (variant.value, movement)
        return best

    def _moved(self, value: ir.Value, movement: Movement) -> ir.Value:
        if not movement.cost and value.shape == movement.after:
            return value
        known = self._placed.setdefault(value, {})
        if movement not in known:
            known[movement] = self._write(value, movement)
        return known[movement]

    def _write(self, value: ir.Value, movement: Movement) -> ir.Value:
        shuffled = self._as_shuffle(value, movement)
        if shuffled is not None:
            return shuffled
        for kind, numbers in steps_of(movement):
            if kind == "reshape":
                value = self.add(ir.Reshape, [value], numbers)
            else:
                shape = [value.shape[axis] for axis in numbers]
                value = self.add(ir.Permute, [value], shape, order=tuple(numbers))
        return value

    def _as_shuffle(self, value: ir.Value, movement: Movement) -> ir.Value | None:
        """As one PixelShuffle or PixelUnshuffle, where it is that."""
        before, after = movement.before, movement.after
        if len(before) != 3 or len(after) != 3 or movement.cost < 2:
            return None
        up, down = after[1] // before[1], before[1] // after[1]
        if up > 1 and movement == _shuffle(before, up):
            return self.add(ir.PixelShuffle, [value], after, factor=up)
        if down > 1 and movement == _shuffle(after, down).inverse.simplified():
            return self.add(ir.PixelUnshuffle, [value], after, factor=down)
        return None


def _shuffle(before: ir.Shape, factor: int) -> Movement:
    """The movement of a PixelShuffle of ``before``."""
    channels, height, width = before
    rest = channels // factor**2
    return Movement(
        before,
        (rest, factor, factor, height, width),
        (0, 3, 1, 4, 2),
        (rest, height * factor, width * factor),
    ).simplified()


@functools.cache
def price(movement: Movement) -> float:
    """Passes over the data: a permute counts 1, or more when the last axis moves."""
    total = 0.0
    for kind, numbers in steps_of(movement):
        if kind == "reshape":
            total += _RESHAPE_PRICE
        else:
            total += 1.0 if numbers[-1] == len(numbers) - 1 else _SCATTERED_PRICE
    return total
