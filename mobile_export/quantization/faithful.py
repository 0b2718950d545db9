"""Faithful: does a file of integers compute what its plan says?

Three questions, each with an answer from first principles:

1. Are the integers, scales and zero points that it stores those of the plan? They must be equal.
2. Does every operator round to the integer that the plan says, or to one beside it? Each tensor of
   integers is computed in float64 from the *file's own* tensors before it: nothing adds up.
   Exact rounding is half a step off, and a kernel's another half: one step (`LARGEST_STEP`). A
   tensor of the plan that the file has not (no tensor of its scale, zero point and shape) fails,
   unless it is one that was only moved or padded: nothing is rounded there.
3. Does the file as an app runs it, its operators fused, give the outputs of the plan? The
   layers behind a rounding that falls on the other side amplify it, in every model differently. So
   the plan itself is run with every tensor rounded to either neighbour, at random
   (`graph.quantized.tie_window`), and the file may be `FACTOR` times as far off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..graph.float64 import run_float64
from ..graph.quantized import NAMESPACE, is_dynamic, is_quantization, tie_window
from ..parity.compare import compare
from ..passes.prove import float64_outputs
from .assign import module_of, name_of, sources
from .insert import STORED
from .roles import ROLES

if TYPE_CHECKING:
    from torch.fx import Node

    from ..graph.program import Program
    from ..parity.samples import Sample
    from ..parity.session import IntegerTensor

__all__ = [
    "FACTOR",
    "LARGEST_STEP",
    "Steps",
    "TensorSteps",
    "allowed_error",
    "missing_integers",
    "missing_values",
    "steps_of",
]

LARGEST_STEP = 1
FACTOR = 2.0
_SEEDS = (0, 1)


@dataclass(frozen=True)
class TensorSteps:
    """How far one tensor of a file is from the plan.

    Attributes:
        name: in the prepared program.
        module: of the user's that it comes from.
        off: largest difference, in steps of the tensor's scale.
        relative: the same, over the largest magnitude of what the plan computes.
    """

    name: str
    module: str
    shape: tuple[int, ...]
    off: int
    relative: float


@dataclass(frozen=True)
class Steps:
    """How far the tensors of a file are from the plan, each computed from the file's own.

    Attributes:
        tensors: of the plan that are computed and were found in the file, in order.
        missing: names of those that were not found.
        equal: share of the integers that are the plan's.
    """

    tensors: tuple[TensorSteps, ...]
    missing: tuple[str, ...]
    equal: float

    @property
    def worst(self) -> TensorSteps | None:
        """The tensor that is the furthest off; None where none was compared."""
        return max(self.tensors, key=lambda each: each.off, default=None)

    @property
    def wrong(self) -> tuple[TensorSteps, ...]:
        """The tensors that are further off than `LARGEST_STEP`."""
        return tuple(each for each in self.tensors if each.off > LARGEST_STEP)


def _key(scale: float, zero_point: int) -> tuple[float, int]:
    return float(np.float32(scale)), int(zero_point)


class _Forced(torch.fx.Interpreter):
    """Runs a program with a plan in it, each tensor of integers replaced by the file's."""

    def __init__(self, program: Program, found: Iterable[IntegerTensor]) -> None:
        super().__init__(program.exported.graph_module, garbage_collect_values=True)
        self.extra_traceback = False
        self.found: dict[tuple[float, int], list[np.ndarray]] = {}
        for each in found:
            self.found.setdefault(_key(each.scale, each.zero_point), []).append(each.value)
        self.tensors: list[TensorSteps] = []
        self.missing: list[str] = []
        self.equal = self.all = 0

    def run_node(self, n: Node) -> Any:
        value = super().run_node(n)
        if not _quantizes(n):
            return value
        near = self._nearest(value.numpy(), _key(n.args[1], n.args[2]))  # type: ignore[arg-type]
        if _only_moves(n) and not (near is not None and np.array_equal(near, value.numpy())):
            return value
        if near is None:
            self.missing.append(str(n.args[0]))
            return value
        self._count(n, value.numpy(), near)
        return torch.from_numpy(np.ascontiguousarray(near)).to(value.dtype)

    def _nearest(self, wanted: np.ndarray, key: tuple[float, int]) -> np.ndarray | None:
        """The file's tensor of that scale that is most like ``wanted``, in its layout."""
        best, least = None, np.inf
        for value in self.found.get(key, ()):
            for each in _layouts(value, wanted.shape):
                distance = np.abs(each.astype(np.int64) - wanted).mean()
                if distance < least:
                    best, least = each, distance
        return best

    def _count(self, n: Node, wanted: np.ndarray, got: np.ndarray) -> None:
        off = np.abs(got.astype(np.int64) - wanted)
        self.equal += int((off == 0).sum())
        self.all += off.size
        worst = int(off.max(initial=0))
        source: Any = n.args[0]
        zero: Any = n.args[2]
        size = int(np.abs(wanted.astype(np.int64) - zero).max(initial=1))
        name, module = str(source), module_of(source)
        self.tensors.append(TensorSteps(name, module, wanted.shape, worst, worst / max(size, 1)))


def _quantizes(node: Node) -> bool:
    target: Any = node.target
    known = getattr(target, "namespace", None) == NAMESPACE and not is_dynamic(node)
    return known and str(target._schema.name).endswith("::quantize_per_tensor")


def _only_moves(node: Node) -> bool:
    """Whether what ``node`` quantises was on its grid before, and only moved or padded since.

    Nothing is rounded there: a converter may do it inside the operator that follows (TFLite's SAME
    padding), or move it elsewhere (a permute behind a softmax), where what is computed next shows
    whether it was done.
    """
    source: Any = node.args[0]
    if ROLES.get(name_of(source)) not in ("sharing", "joining"):
        return False
    key = _key(*node.args[1:3])  # type: ignore[arg-type]
    before = sources(source)
    return bool(before) and all(is_quantization(each) and _grid(each) == key for each in before)


def _grid(node: Node) -> tuple[float, int] | None:
    """The scale and the zero point of one that dequantises a tensor."""
    scale, zero = node.args[1:3]
    if isinstance(scale, float) and isinstance(zero, int):
        return _key(scale, zero)
    return None


def _layouts(value: np.ndarray, shape: tuple[int, ...]) -> Iterable[np.ndarray]:
    """A tensor of a file in a shape of the program: as it is, or with channels first where the
    program has them last, or the other way round. A file may have fewer axes, and those of one
    element elsewhere."""
    if value.size != int(np.prod(shape)):
        return
    if len(shape) != value.ndim or _longer_axes(value.shape) == _longer_axes(shape):
        yield value.reshape(shape)
    if len(shape) < 3 or value.ndim < 2:
        return
    if value.shape[-1] == shape[1]:
        yield value.reshape(shape[0], -1, shape[1]).swapaxes(1, 2).reshape(shape)
    if value.shape[int(value.ndim == len(shape))] == shape[-1]:
        yield value.reshape(shape[0], shape[-1], -1).swapaxes(1, 2).reshape(shape)


def _longer_axes(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


def steps_of(rounded: Program, sample: Sample, found: Iterable[IntegerTensor]) -> Steps:
    """How far the integers that a file computed for ``sample`` are from the plan's.

    Args:
        rounded: the program with the plan in it.
    """
    forced = _Forced(rounded, found)
    exported = rounded.exported
    stored = {**exported.state_dict, **exported.constants}
    values = [
        stored.get(spec.target) if spec.target is not None else None
        for spec in exported.graph_signature.input_specs
    ]

    def run(*given: torch.Tensor) -> Any:
        left = iter(given)
        bound = [next(left) if value is None else _exact(value) for value in values]
        return forced.run(*bound, enable_io_processing=False)

    run_float64(run, *sample.all_given(pixels=rounded.input.pixels))
    share = forced.equal / forced.all if forced.all else 0.0
    return Steps(tuple(forced.tensors), tuple(forced.missing), share)


def _exact(value: Any) -> Any:
    """A stored tensor in float64; integers as they are."""
    floating = isinstance(value, torch.Tensor) and value.is_floating_point()
    return value.detach().double() if floating else value


def allowed_error(
    rounded: Program, samples: Sequence[Sample], exact: Sequence[Sequence[np.ndarray]]
) -> float:
    """How far a file may be off, relative to max |reference|: `FACTOR` times what rounding every
    tensor to either neighbour does to the plan itself, at least that of float32 sums.

    Args:
        exact: outputs of ``rounded`` for the samples.
    """
    worst = 0.0
    for seed in _SEEDS:
        for sample, outputs in zip(samples, exact, strict=True):
            with tie_window(0.5, seed):
                drawn = float64_outputs(rounded, *sample.all_given(pixels=rounded.input.pixels))
            for a, b in zip(drawn, outputs, strict=True):
                worst = max(worst, compare(a, b).max_rel)
    return max(FACTOR * worst, 1e-5)


def missing_integers(
    rounded: Program, stored: Iterable[IntegerTensor], floats: Iterable[np.ndarray] = ()
) -> tuple[str, ...]:
    """Stored tensors of a plan that are not in a file, in whatever layout: their integers, scales
    or zero points differ.

    Args:
        rounded: the program with the plan in it.
        stored: what the file stores.
        floats: what it stores as float32, of a format without integers of 32 bits: these must be
            the float32 numbers next to what the plan's biases stand for.
    """
    real = {_sorted(each.astype(np.float32)) for each in floats}
    have = {_content(each.value, each.scales, each.zero_point) for each in stored}
    constants = _constants(rounded)
    missing = []
    for node in rounded.exported.graph.nodes:
        source = node.args[0] if is_quantization(node) else None
        integers = constants.get(source.name) if isinstance(source, torch.fx.Node) else None
        if integers is None:
            continue
        scale, zero = (
            constants[each.name].tolist() if isinstance(each, torch.fx.Node) else [each]
            for each in node.args[1:3]
        )
        if _content(integers.numpy(), scale, max(zero, key=abs)) in have:
            continue
        bias = integers.dtype == torch.int32
        if not bias or _sorted(_stands_for(integers.numpy(), scale)) not in real:
            missing.append(str(source))
    return tuple(missing)


def missing_values(rounded: Program, looked_up: Iterable[np.ndarray]) -> tuple[str, ...]:
    """Weights of palettes, or of integers in blocks, that are not in a file, in whatever layout:
    what it stores stands for other values.

    Args:
        rounded: the program with the plan in it.
        looked_up: the tensors that the file makes of its indices and tables, integers and scales.
    """
    exported = rounded.exported
    stored = {**exported.state_dict, **exported.constants}
    wanted = {name: each for name, each in stored.items() if name.endswith(f".weight.{STORED}")}
    if not wanted:
        return ()  # nothing of the file is looked up
    have = {_sorted(each.astype(np.float32)) for each in looked_up}
    return tuple(
        name.removesuffix(f".{STORED}")
        for name, value in wanted.items()
        if _sorted(value.float().numpy()) not in have
    )


def _stands_for(integers: np.ndarray, scales: Sequence[float]) -> np.ndarray:
    """The float32 numbers next to what the integers of a bias stand for."""
    return (integers.astype(np.float64) * np.asarray(scales, np.float32)).astype(np.float32)


def _sorted(values: np.ndarray) -> bytes:
    return np.sort(values.reshape(-1)).tobytes()


def _constants(program: Program) -> dict[str, torch.Tensor]:
    """The stored tensors of a program by the names of their nodes."""
    exported = program.exported
    stored = {**exported.state_dict, **exported.constants}
    return {
        spec.arg.name: stored[spec.target].detach()
        for spec in exported.graph_signature.input_specs
        if spec.target is not None and isinstance(stored.get(spec.target), torch.Tensor)
    }


def _content(
    integers: np.ndarray, scales: Sequence[float], zero_point: int
) -> tuple[bytes, bytes, int]:
    """The same for every layout of the same integers."""
    content = np.sort(integers.reshape(-1)).astype(np.int64)
    return content.tobytes(), np.asarray(scales, np.float32).tobytes(), int(zero_point)
