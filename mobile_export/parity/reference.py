"""What the original model returns: the eager module in float64, before any pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch

from ..errors import MobileExportError, SourceError
from ..graph.capture import flatten_outputs
from ..graph.float64 import double_copy, run_float64
from ..graph.kept_results import fresh_caches
from ..graph.ties import TiesInOrder
from ..graph.user_code import described, guarded
from .compare import compare
from .rounding import Outputs, Rounded, float32_copy, moved_outputs, rounded_outputs
from .samples import Sample
from .spread import relative_spread

if TYPE_CHECKING:
    pass

__all__ = [
    "ILL_CONDITIONED",
    "Reference",
    "make_reference",
    "require_independent",
    "softmax",
    "with_activation",
]

ILL_CONDITIONED = 1e-4
"""Error of PyTorch's own float32 above which no file can be judged."""

MOVES = 3
"""Runs with moved results. The worst error of three is at least a third of that of twelve
(docs/parity.md has the figures)."""

_WEAK = 0.02
"""Relative spread of an output below which stronger samples are tried: float16 files are often
2e-3 of an output's size off, which is the part of this spread that a file may be off. Other models
do without: their random weights fit ordinary images, and amplify rounding with strong colours."""


@dataclass(frozen=True)
class Reference:
    """What the original model returns, and how exactly PyTorch's own float32 reproduces it.

    Attributes:
        samples: the inputs, in order.
        outputs: per sample, one float64 (or integer) array per output.
        float32_error: worst error of eager float32, relative to max |reference|.
        notes: warnings about what these inputs can prove.
        fixed: positions of the outputs that no value of the input reaches, such as anchors.
        rounded: what the model returns when it rounds as a file does; None where the model is not
            at hand.
        moved_error: makes `float32_error` of the runs in which every operator's result is moved by
            up to a unit in its last place, of the worst of `MOVES`; None where the model is not at
            hand.
    """

    samples: tuple[Sample, ...]
    outputs: tuple[tuple[np.ndarray, ...], ...]
    float32_error: float
    notes: tuple[str, ...] = ()
    fixed: frozenset[int] = frozenset()
    rounded: Rounded | None = None
    moved_error: Callable[[], float] | None = None


def make_reference(
    module: torch.nn.Module,
    samples: Sequence[Sample],
    stronger: Sequence[Sequence[Sample]] = (),
    fixed: frozenset[int] = frozenset(),
) -> Reference:
    """Run the original eager module on ``samples`` in float64 and in float32.

    Args:
        stronger: sets of samples that are run as well, one set after the other, as long as some
            output hardly changes with the samples so far. A set that makes it change more is put in
            front of the last sample.
        fixed: as `Reference.fixed`.
    """
    double = double_copy(module)
    runs = [_run_both(module, double, sample) for sample in samples]
    for more in stronger:
        if _weakest(runs, fixed) >= _WEAK:
            break
        try:
            added = [_run_both(module, double, sample) for sample in more]
        except MobileExportError:  # a model may refuse such values
            continue
        joined = [*runs[:-1], *added, runs[-1]]
        if all(run.sound for run in added) and _more(joined, runs, fixed):
            runs = joined
    outputs = tuple(run.outputs for run in runs)
    chosen = tuple(run.sample for run in runs)
    return Reference(
        chosen,
        outputs,
        max(0.0, *(run.float32_error for run in runs)),
        _not_finite(outputs),
        fixed,
        rounded_outputs(module, chosen),
        _moved_error(module, chosen, outputs),
    )


def _moved_error(
    module: torch.nn.Module, samples: Sequence[Sample], exact: Outputs
) -> Callable[[], float]:
    @cache
    def error() -> float:
        runs = (moved_outputs(module, samples, seed) for seed in range(MOVES))
        return max(
            (
                compare(a, b).max_rel
                for outputs in runs
                if outputs is not None
                for ours, theirs in zip(outputs, exact, strict=True)
                for a, b in zip(ours, theirs, strict=True)
            ),
            default=0.0,
        )

    return error


_SAME = 1e-9
"""Relative difference in float64 of an answer in a batch from that on the image alone: rounding."""


def require_independent(
    module: torch.nn.Module, reference: Reference, names: Sequence[str]
) -> None:
    """Refuse a model whose answer on an image depends on the others of its batch.

    Args:
        reference: of batches of images, the model's only input.
        names: of the outputs.

    Raises:
        SourceError: it names the output; or the model does not take the images one by one.
    """
    sample, outputs = reference.samples[-1], reference.outputs[-1]
    images = len(sample.image)
    double = double_copy(module)
    for place in range(images):
        alone = _arrays(_run_exactly(double, [sample.image[place : place + 1]]))
        for name, whole, one in zip(names, outputs, alone, strict=True):
            part = _part(whole, one.shape, place, images)
            if part is None or not compare(part, one).max_rel <= _SAME:
                had = f"of shape {one.shape} alone and {whole.shape} for all {images}"
                raise SourceError(
                    f"In a `batch` of {images}, {type(module).__name__} does not give {name} "
                    f"({had}) for image {place + 1} as it does for that image alone: its code "
                    "mixes the images of a batch, or takes one only.",
                    hint="Leave `batch` out and run the file once for each image, or keep the "
                    "first axis of every tensor in forward.",
                )


def _part(whole: np.ndarray, shape: tuple[int, ...], place: int, images: int) -> np.ndarray | None:
    """What belongs to one of ``images`` in an output: a part along the one axis that has the length
    1 for a single image, all of what is as large; None where there is no such axis."""
    if whole.shape == shape:
        return whole
    extents = list(zip(whole.shape, shape, strict=False))
    longer = [axis for axis, (n, one) in enumerate(extents) if n != one]
    if whole.ndim != len(shape) or len(longer) != 1 or extents[longer[0]] != (images, 1):
        return None
    return np.split(whole, images, longer[0])[place]


@dataclass(frozen=True)
class _Run:
    sample: Sample
    outputs: tuple[np.ndarray, ...]
    float32_error: float

    @property
    def sound(self) -> bool:
        """Whether files can be judged by it: finite outputs that float32 reproduces."""
        finite = all(np.isfinite(array).all() for array in self.outputs)
        return finite and self.float32_error <= ILL_CONDITIONED


def _run_both(module: torch.nn.Module, double: torch.nn.Module, sample: Sample) -> _Run:
    exact = _arrays(_run_exactly(double, sample.all_given()))
    with guarded(partial(_failed_again, module)), torch.no_grad(), TiesInOrder():  # type: ignore[no-untyped-call]
        single = _arrays(module(*map(float32_copy, sample.all_given())))
    errors = [compare(b, a).max_rel for a, b in zip(exact, single, strict=True)]
    return _Run(sample, exact, max(errors, default=0.0))


def _spreads(runs: Sequence[_Run], fixed: frozenset[int]) -> list[float]:
    """Relative spread of every output that the input reaches."""
    outputs = zip(*(run.outputs for run in runs), strict=True)
    return [relative_spread(each) for index, each in enumerate(outputs) if index not in fixed]


def _weakest(runs: Sequence[_Run], fixed: frozenset[int]) -> float:
    """Smallest relative spread of the outputs that the input reaches; 0 when there is none."""
    return min(_spreads(runs, fixed), default=0.0)


def _more(runs: Sequence[_Run], before: Sequence[_Run], fixed: frozenset[int]) -> bool:
    """Whether the least spread is larger than before, or one output fewer does not change."""
    after, old = _spreads(runs, fixed), _spreads(before, fixed)
    return after.count(0.0) < old.count(0.0) or (
        after.count(0.0) == old.count(0.0) and _least_moved(after) > _least_moved(old)
    )


def _least_moved(spreads: Sequence[float]) -> float:
    return min((value for value in spreads if value > 0), default=0.0)


def _failed_again(module: torch.nn.Module, error: BaseException) -> SourceError:
    return SourceError(
        f"{type(module).__name__} ran once, and fails when it is called again: {described(error)}",
        hint="The model is called several times, with several images.",
    )


def _run_exactly(double: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> Any:
    def refuse(error: BaseException) -> SourceError:  # an operator may not know float64
        return SourceError(
            f"{type(double).__name__} runs in float32, but not in float64, which is the reference: "
            f"{described(error)}",
            hint="Every operator of the model must take float64 on the CPU.",
        )

    with guarded(refuse), fresh_caches(double):
        return run_float64(double, *inputs)


def _arrays(result: Any) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().numpy() for tensor in flatten_outputs(result)[1])


def _not_finite(outputs: Sequence[tuple[np.ndarray, ...]]) -> tuple[str, ...]:
    """A warning when the model itself returns NaN or infinity."""
    if any(np.isnan(array).any() for arrays in outputs for array in arrays):
        return ("the model itself returns NaN on these inputs",)
    if not all(np.isfinite(arrays[0]).all() for arrays in outputs):
        return ("the model itself returns infinity on these inputs",)
    return ()


def with_activation(reference: Reference, activation: str | None) -> Reference:
    """``reference`` as seen behind the activation that an artifact adds to the logits."""
    if activation is None:
        return reference
    assert activation == "softmax", activation
    rounded = reference.rounded
    return replace(
        reference,
        outputs=_softmaxed(reference.outputs),
        rounded=None if rounded is None else lambda rounding: _softmaxed(rounded(rounding)),
    )


@overload
def _softmaxed(outputs: Outputs) -> Outputs: ...
@overload
def _softmaxed(outputs: None) -> None: ...
def _softmaxed(outputs: Outputs | None) -> Outputs | None:
    if outputs is None:
        return None
    return tuple(tuple(softmax(array) for array in arrays) for arrays in outputs)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))
