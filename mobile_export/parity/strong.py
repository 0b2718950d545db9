"""Inputs beyond the ordinary ones: much stronger, and as bright and as dark as pictures become.

With ordinary inputs and random weights, values stay within a few units: a file that has lost the
upper bound of a ReLU6, or gained one, computes the same. And their mean is near zero: a branch that
only a bright or a dark image opens is never run, and a file in which it is wrong looks right. So a
file that passed runs again, on noise of `STRENGTH` times the range, on bright and on dark noise (on
black and white pixels, few of them black or few of them white, where it takes pixels). It is judged
by the size of its error alone on each, and apart from the other inputs, whose changes they would
hide.

Such an input judges nobody where the model amplifies rounding on it: one float32 run of PyTorch's
may be near float64 by luck, so before a file is called wrong the runs with moved results are asked
as well (`parity.rounding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..errors import MobileExportError, SourceError
from ..graph.specs import InputSpec
from ..graph.user_code import described, guarded
from ..system.torch_private import TorchDispatchMode
from .reference import ILL_CONDITIONED, Reference, make_reference, with_activation
from .report import ParityReport
from .rounding import float32_copy
from .samples import Sample, normalise, parity_samples, pixel_samples

__all__ = ["BRIGHT", "STRENGTH", "Strong", "strong_references", "with_strong_input"]

STRENGTH = 8.0
"""Behind normal noise, values of random weights are 2 to 6; with this they are 16 and more."""

BRIGHT = 3.0
"""Behind normal noise without its sign: a mean of 2.4. White is 2.2 to 2.6 with the mean and
deviation of ImageNet, and black -2.1 to -1.8."""

_FEW = 26.0
"""Of 8-bit pixels, the tenth part that is black in a bright image, and white in a dark one."""

ROOM = 255.0
"""Largest value whose square float16 holds: norms square what they are given."""


@dataclass(frozen=True)
class Strong:
    """What the model returns for one such input, and the largest magnitude on the way."""

    reference: Reference
    largest: float


def strong_references(
    module: torch.nn.Module, specs: Sequence[InputSpec], *, pixels: bool
) -> tuple[Strong, ...]:
    """What the model returns for the strong, the bright and the dark input.

    None of them where the first input is not one of real numbers; without those where such values
    are nothing to judge a file by: the model refuses them, overflows, or amplifies rounding.
    """
    first, *_ = specs
    if pixels:
        drawn = pixel_samples(first)[0]
        assert drawn.pixels is not None
        given = {
            name: (drawn.pixels > bound).float() * 255.0
            for name, bound in (("strong", 127.0), ("bright", _FEW), ("dark", 255.0 - _FEW))
        }
        samples = [
            replace(drawn, name=f"{name}-noise", image=normalise(each, first), pixels=each)
            for name, each in given.items()
        ]
    elif first.dtype == "float32" and first.role in ("image", "values"):
        drawn = parity_samples(*specs)[1]
        bright = drawn.image.abs() * BRIGHT
        images = {"strong": drawn.image * STRENGTH, "bright": bright, "dark": -bright}
        samples = [
            replace(drawn, name=f"{name}-noise", image=image, pixels=None)
            for name, image in images.items()
        ]
    else:
        return ()
    found = (_strong(module, sample) for sample in samples)
    return tuple(each for each in found if each is not None)


def _strong(module: torch.nn.Module, sample: Sample) -> Strong | None:
    try:
        reference = make_reference(module, (sample,))
        with guarded(_refused), torch.no_grad(), _Largest() as seen:  # type: ignore[no-untyped-call]
            module(*map(float32_copy, sample.all_given()))
    except MobileExportError:
        return None
    finite = all(np.isfinite(array).all() for array in reference.outputs[0])
    sound = finite and reference.float32_error <= ILL_CONDITIONED
    return Strong(reference, seen.largest) if sound else None


def _refused(error: BaseException) -> SourceError:
    return SourceError(f"The model does not take strong values: {described(error)}")


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Dispatch mode that keeps the largest magnitude of all results."""

    largest = 0.0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for each in result if isinstance(result, tuple | list) else (result,):
            if isinstance(each, torch.Tensor) and each.is_floating_point() and each.numel():
                self.largest = max(self.largest, float(each.abs().max()))
        return result


def with_strong_input(
    report: ParityReport,
    strong: Strong,
    arithmetic: str,
    activation: str | None,
    run: Callable[[Sample], Sequence[np.ndarray]],
    judged: Callable[[Reference, Sequence[Sequence[np.ndarray]]], ParityReport],
) -> ParityReport:
    """``report`` of a file that passed, failed where such an input shows a fault.

    A file that computes in float16 may overflow with such values, which says nothing: one that
    returns infinity, or whose model has values on the way the squares of which are beyond float16,
    is not judged. Nor is any where PyTorch's own float32 is more than `ILL_CONDITIONED` off as soon
    as results are moved by a unit in their last place: a note says so. Labels jump more often with
    such values, and are not looked at.

    Args:
        arithmetic: of the file, ``fp16`` or ``fp32``.
        activation: that the file adds to the model's outputs.
        run: the file.
        judged: how its results on a reference are judged.
    """
    reference = with_activation(strong.reference, activation)
    if arithmetic == "fp16" and strong.largest > ROOM:
        return report
    got = list(run(reference.samples[0]))
    for index, exact in enumerate(reference.outputs[0][: len(got)]):
        if not np.issubdtype(exact.dtype, np.floating):
            got[index] = exact
        elif report.precision != "fp32" and not np.isfinite(got[index]).all():
            return report
    found = judged(reference, [got])
    if found.faithful is not False:
        return report
    (sample,) = reference.samples
    moved = 0.0 if reference.moved_error is None else reference.moved_error()
    if not moved <= ILL_CONDITIONED:
        return replace(report, notes=(*report.notes, _note_on_amplified(sample.name, moved)))
    if sample.name.startswith("strong"):
        note = (
            f"right on the other inputs, and wrong on one of {STRENGTH:g} times their range (black "
            "and white, of pixels): the file bounds values that the model does not bound, or the "
            "other way"
        )
    else:
        kind = sample.name.partition("-")[0]
        note = (
            f"right on the other inputs, and wrong on a {kind} one: what only {kind} images reach "
            "is wrong in the file"
        )
    return replace(
        report,
        status="failed",
        faithful=False,
        tolerance=found.tolerance,
        float16_error=found.float16_error,
        max_abs=found.max_abs,
        max_rel=found.max_rel,
        worst=found.worst,
        worst_index=found.worst_index,
        notes=(*report.notes, note),
    )


def _note_on_amplified(name: str, moved: float) -> str:
    return (
        f"not judged by {name}: the model amplifies rounding there, PyTorch's own float32 run is "
        f"{moved:.1e} off where every operator's result is moved by up to a unit in its last place"
    )
