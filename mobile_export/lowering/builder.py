"""Builder: the layer graph while it is being made."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import LoweringError
from ..graph.raised import FAILED_RULE, line_of
from ..graph.rearrange import LAYER_PRICES, Rearrangement, common_cut, parts_of
from . import ir
from .view import Factor, View

if TYPE_CHECKING:
    import numpy as np
    from torch.fx import Node

__all__ = ["Builder", "module_path"]

LayerT = TypeVar("LayerT", bound=ir.Layer)


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
        self._placed: dict[ir.Value, dict[Rearrangement, ir.Value]] = {}
        self._constants: dict[tuple[ir.Shape, bytes], ir.Value] = {}

    def refuse(self, what: str, hint: str | None = None) -> LoweringError:
        """The error that says what of the current call has no layers."""
        assert self.node is not None
        path = module_path(self.node)
        where = f"module {path!r}" if path else "the model itself"
        line, problem = line_of(self.node), self.node.meta.get(FAILED_RULE)
        called = f" It is called in {line}." if line else ""
        failed = f" Its decomposition failed: {problem}; please report it." if problem else ""
        return LoweringError(
            f"{self.node.target} in {where} ({self.node.name}) cannot be lowered: {what}."
            f"{called}{failed}",
            hint=hint or "Write it with convolutions, matrix products and elementwise functions.",
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
        return self._moved(value, Rearrangement.reshape(value.shape, shape).simplified())

    # Order in memory ------------------------------------------------------------------------------

    def place(self, view: View, *groups: Sequence[int]) -> ir.Value:
        """The tensor with its axes in the order of ``groups``; each group becomes one axis.

        Axes that no group names must have size 1.
        """
        wanted = [view.of_axes(group) for group in groups]
        return self.put(view, wanted)

    def put(self, view: View, groups: Sequence[Sequence[Factor]]) -> ir.Value:
        """The tensor with its factors in the order of ``groups``; each group becomes one axis."""
        shape = tuple(math.prod(factor.size for factor in group) for group in groups)
        wanted = [factor for group in groups for factor in group]
        return self._moved(*self._nearest(view, wanted, shape))

    def contiguous(self, view: View) -> View:
        """The same tensor in memory as ATen has it."""
        sizes = [axis for axis, size in enumerate(view.shape) if size != 1]
        groups = [[axis] for axis in sizes[: ir.LayerGraph.MAX_RANK - 1]]
        groups.append(sizes[ir.LayerGraph.MAX_RANK - 1 :])
        kept = [group for group in groups if group] or [[]]
        return View.of(self.place(view, *kept), view.shape)

    def cost(self, view: View, wanted: Sequence[Factor]) -> float:
        """Elements moved to bring the tensor to the order ``wanted``; a reshape counts little."""
        flat = (view.size,)
        if self.is_placed(view, wanted):
            return 0.0
        _, rearrangement = self._nearest(view, wanted, flat)
        return view.size * rearrangement.cost(LAYER_PRICES)

    def is_placed(self, view: View, wanted: Sequence[Factor]) -> bool:
        """Whether a value with the factors in the order ``wanted`` exists, reshapes aside."""
        flat = (view.size,)
        known = (view, *self.variants(view))
        return any(not variant.rearranged(wanted, flat).disorder for variant in known)

    def variants(self, view: View) -> list[View]:
        """The same tensor on other values that were made of ``view.value`` by placement."""
        found = []
        sizes = list(view.pending.factors)
        for rearrangement, value in self._placed.get(view.value, {}).items():
            if common_cut(rearrangement.factors, sizes) != sizes:
                continue  # it was made for a tensor that cuts the value elsewhere
            parts = parts_of(rearrangement.factors, sizes)
            memory = [view.factors[i] for factor in rearrangement.order for i in parts[factor]]
            found.append(View.of_factors(value, view.shape, memory))
        return found

    def _nearest(
        self, view: View, wanted: Sequence[Factor], shape: ir.Shape
    ) -> tuple[ir.Value, Rearrangement]:
        """The value to start from, the view's own or a variant, and what leads from there."""
        best = (view.value, view.rearranged(wanted, shape))
        for variant in self.variants(view):
            rearrangement = variant.rearranged(wanted, shape)
            if rearrangement.cost(LAYER_PRICES) < best[1].cost(LAYER_PRICES):
                best = (variant.value, rearrangement)
        return best

    def _moved(self, value: ir.Value, rearrangement: Rearrangement) -> ir.Value:
        if not rearrangement.disorder and value.shape == rearrangement.after:
            return value
        known = self._placed.setdefault(value, {})
        if rearrangement not in known:
            known[rearrangement] = self._write(value, rearrangement)
        return known[rearrangement]

    def _write(self, value: ir.Value, rearrangement: Rearrangement) -> ir.Value:
        shuffled = self._as_shuffle(value, rearrangement)
        if shuffled is not None:
            return shuffled
        for kind, numbers in rearrangement.steps():
            if kind == "reshape":
                value = self.add(ir.Reshape, [value], numbers)
            else:
                shape = [value.shape[axis] for axis in numbers]
                value = self.add(ir.Permute, [value], shape, order=tuple(numbers))
        return value

    def _as_shuffle(self, value: ir.Value, rearrangement: Rearrangement) -> ir.Value | None:
        """As one PixelShuffle or PixelUnshuffle, where it is that."""
        before, after = rearrangement.before, rearrangement.after
        if len(before) != 3 or len(after) != 3 or rearrangement.disorder < 2:
            return None
        up, down = after[1] // before[1], before[1] // after[1]
        if up > 1 and rearrangement == _shuffle(before, up):
            return self.add(ir.PixelShuffle, [value], after, factor=up)
        if down > 1 and rearrangement == _shuffle(after, down).inverse.simplified():
            return self.add(ir.PixelUnshuffle, [value], after, factor=down)
        return None


def _shuffle(before: ir.Shape, factor: int) -> Rearrangement:
    """The rearrangement of a PixelShuffle of ``before``."""
    channels, height, width = before
    rest = channels // factor**2
    return Rearrangement(
        before,
        (rest, factor, factor, height, width),
        (0, 3, 1, 4, 2),
        (rest, height * factor, width * factor),
    ).simplified()
