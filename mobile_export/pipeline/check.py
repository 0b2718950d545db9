"""Execute a file on every parity sample, and compare it with the original model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from ..detection import Detections
from ..detection.contract import class_names, pick
from ..exporters.row import Precision
from ..exporters.table import precision_named
from ..graph.ends import ends_in
from ..graph.program import Program
from ..graph.specs import PROBABILITIES
from ..graph.steps import steps_of
from ..operators.core import listed
from ..parity.detections import with_detections
from ..parity.index_ties import settle_ties
from ..parity.judge import judge
from ..parity.names import with_class_names
from ..parity.overflow import OVERFLOWS, in_the_model
from ..parity.reference import Reference, with_activation
from ..parity.report import ParityReport
from ..parity.session import Session
from ..parity.strong import with_strong_input
from .captured import References

__all__ = ["check_parity", "names_for", "names_of", "runtime_steps", "seen_by"]


def check_parity(
    session: Session,
    program: Program,
    references: References,
    precision: Precision,
    written_from: Program | None = None,
    names: Sequence[str] | None = None,
    *,
    kept: bool = False,
) -> ParityReport:
    """Execute an artifact on every parity sample and compare it with the original model.

    Args:
        names: of the classes, which the file has to have if it has any; None does not look.
        kept: whether it has to have them.
        precision: that the file was asked to have; what is allowed follows it, never what is found
            in the file.
        written_from: the program whose nodes name the file's values, where it is at hand.
    """
    reference = seen_by(session, references)
    detector = session.detector
    found: list[Detections] = []
    if detector is None:
        results = [session.run(sample) for sample in reference.samples]
    else:
        pairs = [detector.detect(sample) for sample in reference.samples]
        results, found = [outputs for outputs, _ in pairs], [kept for _, kept in pairs]
    ties: tuple[str, ...] = ()
    if session.arithmetic == "fp32" and precision.bits >= 32 and detector is None:
        allowed = precision.tolerance.allowed(reference.float32_error)
        results, ties = settle_ties(program, reference, results, allowed)
    judged = partial(
        judge,
        precision=precision,
        arithmetic=session.arithmetic,
        task=program.task,
        runtime=session.runtime,
        emulated=session.emulated,
        output_names=_output_names(session, program),
        steps=runtime_steps(session, program),
    )
    report = judged(reference, results)
    session.modules = (written_from or program).module_paths()
    said = (*ties, *session.overflow_notes(reference.samples), *session.notes())  # of these runs
    if report.status == "passed":
        for strong in references.strong(pixels=session.takes_pixels):
            if report.status == "passed":
                report = with_strong_input(
                    report, strong, session.arithmetic, session.activation, session.run, judged
                )
    if detector is not None:
        exact, inside = (
            [pick(program, outputs) for outputs in each] for each in (reference.outputs, results)
        )
        report = with_detections(report, detector.suppression, exact, inside, found)
    variants = tuple(
        check_parity(variant, program, references, precision_named(variant.precision))
        for variant in session.variants
    )
    notes = (*report.notes, *said)
    if any(note.startswith(OVERFLOWS) for note in notes):
        notes = (*notes, *in_the_model(program, reference.samples))
    if report.status != "passed" and (precision.arithmetic or precision.name) == "fp16":
        notes = (*notes, *_step_notes(program))
    report = replace(report, notes=notes, variants=variants)
    report = with_class_names(report, session.class_names(), names, kept=kept)
    if report.only_some:
        remedies = {variant.remedy for variant in session.variants if variant.remedy}
        only = f"{report.runtime} only ({report.deciding.runtime}: {report.deciding.status})"
        report = replace(report, notes=(*report.notes, f"right in {only}: {'; '.join(remedies)}"))
    return report


def runtime_steps(session: Session, program: Program) -> list[float]:
    """Absolute errors of the runtime's own code for what each output ends with."""
    found = ends_in(program, session.steps)
    return [max((session.steps[name] for name in ends), default=0.0) for ends in found]


def _output_names(session: Session, program: Program) -> list[str]:
    """What the outputs that are compared are: probabilities where the file adds a softmax."""
    if session.activation is not None:
        return [PROBABILITIES]
    return [output.name for output in program.outputs]


def names_of(session: Session, program: Program) -> tuple[str, ...] | None:
    """What a file that was written from a program calls its classes."""
    return program.labels if session.detector is None else class_names(program)


def names_for(
    session: Session,
    program: Program,
    references: References,
    manifest: Sequence[str] | None,
) -> Sequence[str] | None:
    """What a file that lies there should call its classes; None where nobody knows.

    The user's names, or those of its manifest. Without these the model's own, which the user of
    the file may have replaced when it was made: then only their order can be wrong.
    """
    if references.labels_given:
        return program.labels
    if manifest is not None:
        return manifest
    own = names_of(session, program)
    found = session.class_names().values()
    alike = own is not None and any(sorted(each) == sorted(own) for each in found)
    return own if alike else None


def _step_notes(program: Program) -> Iterator[str]:
    """What an error of a file in float16 may come from."""
    calls = listed(steps_of(program))
    if calls:
        yield (
            f"float16 may fall on the other side of a step, where the result jumps: {calls}. Write "
            '`precision="fp32"`, or return what comes before and take the step in the app.'
        )


def seen_by(session: Session, references: References) -> Reference:
    """The reference for the input that an artifact takes and the activation that it adds."""
    return with_activation(references.get(pixels=session.takes_pixels), session.activation)
