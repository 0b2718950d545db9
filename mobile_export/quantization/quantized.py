"""Quantized: a program, its plan, and the program with the plan in it, which files are made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import ArtifactError, UsageError
from ..graph.changes import Change, PassReport, Refusal
from ..passes.prove import float64_outputs, require_same
from .equalize import choose_factors, equalized
from .insert import insert
from .make import make_plan
from .options import QuantizationOptions
from .plan import (
    Chosen,
    Equalized,
    PlannedTensor,
    QuantizationPlan,
    program_hash,
    read_plan,
    require_plan_of,
)
from .samples import SYNTHETIC, CalibrationData, calibration_data, require_data
from .schemes import SCHEMES
from .sensitivity import left_out, with_layers_left
from .spell import spell_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..graph.program import Program
    from ..parity.samples import Sample

__all__ = [
    "Quantized",
    "explained",
    "quantize",
    "require_calibration",
    "require_plan",
    "write_plan",
]


@dataclass(frozen=True)
class Quantized:
    """See the module's docstring.

    Attributes:
        exact: the program that the plan is of.
        rounded: the same with quantise and dequantise operators: the reference of *faithful*.
        passes: what was done before the plan was made.
        data: samples that were calibrated on, and others to judge by.
        projected: what the format takes of the plan, where that is less (`project`).
    """

    exact: Program
    plan: QuantizationPlan
    rounded: Program
    data: CalibrationData
    passes: tuple[PassReport, ...] = ()
    projected: QuantizationPlan | None = None

    @property
    def carried_out(self) -> QuantizationPlan:
        """The plan as the file has it."""
        return self.projected or self.plan

    @property
    def on_synthetic(self) -> bool:
        """Whether the file is judged on synthetic images."""
        return self.data.data == SYNTHETIC and not self.data.given

    @property
    def rounds(self) -> bool:
        """Whether anything computed is rounded to integers: else weights alone are."""
        scheme = SCHEMES[self.plan.precision]
        return scheme.activations is not None or scheme.dynamic

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of any report of the file must know."""
        notes = []
        if self.plan.chosen.data == SYNTHETIC and self.plan.by_name("activation"):
            notes.append(
                "calibrated on synthetic images: this file is not for shipping; give pictures like "
                "those that the model will see as `calibration`"
            )
        elif self.on_synthetic:
            notes.append("judged on synthetic images: give pictures as `calibration` or `samples`")
        if self.plan.sensitivity:
            notes.append(left_out(self.plan))
        return tuple(notes)


def require_calibration(precision: str, options: QuantizationOptions) -> None:
    """Refuse a static precision without calibration data or a plan that is there, or with a folder
    that has none.

    Raises:
        UsageError: it says what to run.
    """
    static = precision in SCHEMES and SCHEMES[precision].activations is not None
    planned = options.plan is not None and options.plan.exists()
    if static and options.calibration is None and not planned:
        raise UsageError(
            f"The precision {precision} needs pictures to choose the scales of activations by, "
            "and others to judge the file by.",
            hint="Give `calibration`: a folder of pictures like those that the model will see; "
            "`calibration='synthetic'` for a trial that is not for shipping; or a `plan` that "
            "was made before.",
        )
    if static and options.calibration is not None:
        require_data(options.calibration)


def require_plan(options: QuantizationOptions) -> None:
    """Refuse a plan that cannot be read, or could not be written when all work is done.

    Raises:
        UsageError: the file is no plan, or the folder for a new one is not there.
    """
    plan = options.plan
    if plan is None:
        return
    if plan.exists():
        read_plan(plan)
    elif not plan.parent.is_dir():
        raise UsageError(
            f"The folder of `plan` {plan} is not there.",
            hint="Make it, or give a file in another folder.",
        )


def quantize(
    program: Program,
    precision: str,
    options: QuantizationOptions,
    sample: Sample,
    pictures: Sequence[Sample] = (),
) -> Quantized:
    """Plan a prepared program, or take the plan of a file, and insert it.

    Args:
        precision: of `SCHEMES`.
        sample: that the spelling is proven on.
        pictures: the user's own samples, to judge by where the calibration has not seen them.

    Raises:
        UsageError: calibration data or the plan cannot be taken.
    """
    exact = spell_out(program)
    if exact is not program:
        given = sample.all_given(pixels=program.input.pixels)
        got, wanted = (float64_outputs(each, *given) for each in (exact, program))
        require_same("The program for integers", program.spec, got, wanted)
    if options.calibration is None and pictures:
        data = CalibrationData((), tuple(pictures), "folder")
    else:
        data = calibration_data(
            options.calibration or SYNTHETIC, program.inputs, options.calibration_samples
        ).judged_by(pictures)
    if options.plan is not None and options.plan.exists():
        plan = read_plan(options.plan)
        require_plan_of(plan, exact, precision, options.plan)
        exact = _equalized(exact, plan.equalized, sample, options.plan)
    else:
        own, factors = exact, []
        if options.equalize and SCHEMES[precision].activations is not None:
            factors = choose_factors(exact, data.calibration)
            exact = _equalized(exact, factors, sample)
        chosen = Chosen(options.calibrator, data.data, data.records, data.seed)
        if SCHEMES[precision].activations is None:
            chosen = Chosen(options.calibrator, "none")
        plan = make_plan(exact, precision, data.calibration, chosen)
        if exact is not own:
            plan = msgspec.structs.replace(plan, program=program_hash(own))
        plan = msgspec.structs.replace(plan, equalized=factors)
        if options.gated and plan.by_name("activation"):
            plan = with_layers_left(exact, plan, data.calibration, options)
    return Quantized(exact, plan, insert(exact, plan), data)


def _equalized(
    exact: Program, factors: Sequence[Equalized], sample: Sample, file: Path | None = None
) -> Program:
    """``exact`` with factors of channels in its weights, proven in float64.

    Raises:
        UsageError: they do not fit it.
    """
    try:
        made = equalized(exact, factors)
    except ValueError as error:
        raise UsageError(
            f"The plan in {file} does not fit {exact.spec}: {error}.",
            hint="Give another file as `plan`: it is written when it does not exist.",
        ) from error
    if made is exact:
        return exact
    given = sample.all_given(pixels=exact.input.pixels)
    got, wanted = (float64_outputs(each, *given) for each in (made, exact))
    require_same("The program with equalised channels", exact.spec, got, wanted)
    return made.in_float32()


def explained(plan: QuantizationPlan) -> PassReport:
    """A plan as what a pass did: what each layer does alone where that was measured, each tensor
    with its integers and why, each operator that stays in floating point and why."""
    ranking = (
        Change(each.name, f"alone, its integer weights make {each.sqnr:.1f} dB")
        for each in plan.sensitivity
    )
    changes = tuple(
        Change(
            f"{each.module} ({each.name})" if each.module else each.name,
            f"{each.kind}: {each.bits} bits, {_scales(each)}, {each.why}",
        )
        for each in plan.tensors
    )
    refusals = tuple(
        Refusal(
            f"{each.module} ({each.name})" if each.module else each.name,
            f"{each.operator} stays in floating point: {each.why}",
        )
        for each in plan.floating
    )
    factors = tuple(
        Change(
            each.label or each.name,
            f"{len(each.factors)} channels divided by {min(each.factors):.3g} to "
            f"{max(each.factors):.3g}, {each.why}",
        )
        for each in plan.equalized
        if each.factors
    )
    left = tuple(
        Refusal(each.label or each.name, f"channels {each.why}")
        for each in plan.equalized
        if not each.factors
    )
    changes = (*ranking, *factors, *changes)
    return PassReport(f"plan of {plan.precision}", changes, (*left, *refusals))


def _scales(planned: PlannedTensor) -> str:
    """In words."""
    if len(planned.scale) > 1:
        return f"{len(planned.scale)} scales, {min(planned.scale):.3g} to {max(planned.scale):.3g}"
    zero = f", zero point {planned.zero_point[0]}" if not planned.symmetric else ""
    return f"scale {planned.scale[0]:.3g}{zero}"


def write_plan(plan: QuantizationPlan, path: Path) -> None:
    """Write a plan where there is no file yet.

    Raises:
        ArtifactError: it cannot be written.
    """
    if path.exists():
        return
    try:
        path.write_bytes(plan.to_json())
    except OSError as error:
        raise ArtifactError(
            f"Cannot write the plan to {path}: {error.strerror or error}.",
            hint="Give another file as `plan`.",
        ) from error
