"""Mixed precision: the fewest layers whose weights are left in float32 so that a gate holds.

Each layer is made integers alone, and what that does to the outputs is its rank. Layers are left in
float32 from the worst on, as few as hold the gate on the calibration samples; on samples that the
calibration has not seen, the file is judged afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from ..graph.editor import GraphEditor
from .assign import assign, module_of, name_of
from .calibrate import float32_outputs
from .good import least_noise_ratio, measured, missed_by
from .insert import insert
from .options import QuantizationOptions
from .plan import Floating, QuantizationPlan, Sensitivity

if TYPE_CHECKING:
    from ..graph.program import Program
    from ..parity.samples import Sample

__all__ = ["left_out", "ranked", "with_layers_left"]

_OF_LAYERS = ("weight", "bias")
_FOR_THE_GATE = "left in float32 for the gate"
_RANKED_ON = 8
_HELD_ON = 64
"""Samples that layers are ranked on, and that the gate is held on."""


def _spread(samples: Sequence[Sample], most: int) -> list[Sample]:
    count = min(most, len(samples))
    return [samples[index * len(samples) // count] for index in range(count)]


def ranked(
    program: Program, plan: QuantizationPlan, samples: Sequence[Sample]
) -> list[Sensitivity]:
    """What the weights of each layer do alone, with the bias that is corrected for them, the worst
    first."""
    given = _spread(samples, _RANKED_ON)
    exact = [float32_outputs(program, each) for each in given]
    found = []
    for weight in plan.tensors:
        if weight.kind == "weight":
            of_layer = [e for e in plan.tensors if e.kind in _OF_LAYERS and e.name == weight.name]
            alone = insert(program, msgspec.structs.replace(plan, tensors=of_layer))
            results = (float32_outputs(alone, each) for each in given)
            ratio = least_noise_ratio(measured(program, results, exact, QuantizationOptions()))
            found.append(Sensitivity(weight.name, round(min(ratio, _QUIETEST), 2)))
    return sorted(found, key=lambda each: each.sqnr)


_QUIETEST = 1000.0


def with_layers_left(
    program: Program,
    plan: QuantizationPlan,
    samples: Sequence[Sample],
    options: QuantizationOptions,
) -> QuantizationPlan:
    """``plan`` without the weights of the fewest layers with which the gates hold.

    A plan by which they hold, or do not even with all weights in float32, is returned as it is, but
    for the ranking.

    Args:
        plan: of ``program``.
        samples: that were calibrated on.
        options: its ``sqnr`` and ``agreement`` are the gates.
    """
    given = _spread(samples, _HELD_ON)
    exact = [float32_outputs(program, each) for each in given]

    def holds(tried: QuantizationPlan) -> bool:
        rounded = insert(program, tried)
        results = (float32_outputs(rounded, each) for each in given)
        return not missed_by(measured(program, results, exact, options), options)

    if holds(plan):
        return plan
    ranking = ranked(program, plan, samples)
    plan = msgspec.structs.replace(plan, sensitivity=ranking)
    fewest, most = 0, len(ranking)
    if not holds(_without(program, plan, most)):
        return plan
    while most - fewest > 1:  # `most` holds, `fewest` does not
        middle = (fewest + most) // 2
        fewest, most = (
            (fewest, middle) if holds(_without(program, plan, middle)) else (middle, most)
        )
    return _without(program, plan, most)


def _without(program: Program, plan: QuantizationPlan, count: int) -> QuantizationPlan:
    """The plan with the weights of the worst layers in float32."""
    left = {each.name: each for each in plan.sensitivity[:count]}
    floating = [
        Floating(
            node.name,
            name_of(node),
            f"{_FOR_THE_GATE}: alone its weights make {left[node.name].sqnr:.1f} dB",
            module_of(node),
        )
        for node in assign(GraphEditor(program)).layers
        if node.name in left
    ]
    tensors = [
        each for each in plan.tensors if each.kind not in _OF_LAYERS or each.name not in left
    ]
    return msgspec.structs.replace(plan, tensors=tensors, floating=[*plan.floating, *floating])


_NAMED = 3


def left_out(plan: QuantizationPlan) -> str:
    """In a sentence, which layers of a plan with a ranking are left in float32."""
    left = [each.name for each in plan.floating if each.why.startswith(_FOR_THE_GATE)]
    if not left:
        return (
            "the gate does not hold on the calibration samples, nor with the weights of all layers "
            "in float32, so that none is left: 8 bits of activations are too few; try int16"
        )
    worst = [each.name for each in plan.sensitivity[:_NAMED]]
    more = f" and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    return (
        f"{len(left)} of {len(plan.sensitivity)} layers are left in float32 so that the gate holds "
        f"on the calibration samples: {', '.join(worst[: len(left)])}{more}"
    )
