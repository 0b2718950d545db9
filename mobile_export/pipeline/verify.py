"""Parity of a file that lies there already."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.manifest import read_manifest, refuse_link_out
from ..artifacts.names import plan_path
from ..errors import ArtifactError
from ..exporters.config import ExportConfig
from ..exporters.interface import loader_of
from ..exporters.record import found_interface
from ..exporters.row import Format, Precision
from ..graph.program import Program
from ..graph.source import Source
from ..parity.names import with_class_names
from ..parity.report import ParityReport, of_sizes
from ..parity.session import Session
from ..passes import select_passes
from ..quantization.good import with_gates
from ..quantization.judge import judge_integers, localise_steps, plan_outputs
from ..quantization.options import QuantizationOptions
from ..system.quiet import unwarned
from ..system.threads import one_thread

if TYPE_CHECKING:
    import numpy as np

    from ..artifacts.interface import Interface
    from ..artifacts.words import Task
    from ..parity.localise import LayerReport
from .captured import Progress, References, capture, said
from .check import check_parity, names_for, seen_by
from .preparation import Preparation

__all__ = ["Verified", "verify_artifact"]


@dataclass(frozen=True)
class Verified:
    """What came of an artifact that was compared with its model.

    Attributes:
        layers: where it diverges; None where nobody asked.
        interface: what the file takes and gives; None by another runtime.
        sample: name of the first input, and ``outputs``, what must be computed of it: those of the
            model in float64 or, of integers, of their plan.
    """

    parity: ParityReport
    layers: LayerReport | None
    interface: Interface | None
    sample: str
    outputs: tuple[np.ndarray, ...]


def verify_artifact(
    row: Format,
    path: Path,
    load: Callable[[], Source],
    precision: Precision,
    *,
    runtime: str | None = None,
    samples: Path | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    dynamic: str | None = None,
    names: Sequence[str] | None = None,
    task: Task | None = None,
    layers: bool,
    verbose: bool,
    progress: Progress,
) -> Verified:
    """Parity of an existing artifact, where it diverges from the model with ``layers``, and what
    the file takes and gives, as the format's own runtime has it.

    In a file that passed nothing does: what has no counterpart in the model was rewritten.

    ``runtime`` is one of the row's others; None is the format's own. ``names`` are those of the
    classes that the manifest beside it has, ``task`` is what the model is for where the model does
    not say. A file of integers is held against the plan beside it,
    after the passes that its manifest names.
    """
    from ..parity.localise import localise

    with unwarned(not verbose), one_thread():
        captured = capture(
            load, progress, samples=samples, sizes=sizes, free=row.any_size, dynamic=dynamic
        )
        captured = tuple((_with_task(program, task), known) for program, known in captured)
        progress(f"{row.title}: checking")
        if precision.integers:
            session = loader_of(row, runtime)(path, captured[0][0].outputs)
            judged = _verify_integers(
                row, path, captured[0], precision, session, names, layers=layers
            )
            return replace(judged, interface=_interface(session, captured[0][0], runtime))
        reports, sessions = [], []
        for program, references in captured:
            sessions.append(loader_of(row, runtime)(path, program.outputs))
            wanted = names_for(sessions[-1], program, references, names)
            kept = bool(names) and sessions[-1].keeps_names(program, names or ())
            reports.append(
                check_parity(sessions[-1], program, references, precision, names=wanted, kept=kept)
            )
        parity = of_sizes(reports, [said(program.input, dynamic) for program, _ in captured])
        (program, references), session = captured[0], sessions[0]
        reference = seen_by(session, references)
        sample, outputs = reference.samples[0], reference.outputs[0]
        found = None
        if layers:
            progress(f"{row.title}: comparing layers")
            found = localise(session, program, sample, parity.tolerance)
            found = replace(found, errors=()) if parity.passed else found
        interface = _interface(session, program, runtime)
        return Verified(parity, found, interface, sample.name, outputs)


def _with_task(program: Program, task: Task | None) -> Program:
    """``program``, for ``task`` if it does not say itself what it is for."""
    return replace(program, task=task) if program.task is None else program


def _interface(session: Session, program: Program, runtime: str | None) -> Interface | None:
    """What the file takes and gives; None by another runtime, which has other words for it."""
    return None if runtime is not None else found_interface(session, program)


def _verify_integers(
    row: Format,
    path: Path,
    captured: tuple[Program, References],
    precision: Precision,
    session: Session,
    names: Sequence[str] | None,
    *,
    layers: bool,
) -> Verified:
    """Whether a file of integers is what the plan beside it says of the model, and good for it;
    its interface is left out.
    """
    from ..parity.localise import localise

    program, references = captured
    manifest = read_manifest(path)
    plan = plan_path(path)
    if manifest.plan is None or not plan.exists():
        raise ArtifactError(
            f"{path} is a file of integers ({precision.name}), and the plan that it was written by "
            f"({plan.name}) is not beside it.",
            hint="Copy it from where the file was made, or export it again.",
        )
    refuse_link_out(plan, path)
    done = {each.name for each in manifest.passes}
    defaults = (function.__name__ for function in select_passes(()))
    judged = manifest.parity is not None and references.own(pixels=session.takes_pixels)
    options = QuantizationOptions(plan=plan)
    if judged and manifest.parity is not None:
        options = with_gates(options, manifest.parity.qualities)
    own = row.options(image_input=session.takes_pixels, softmax=session.activation == "softmax")
    config = ExportConfig(
        no_passes=tuple(name for name in defaults if name not in done),
        precision=precision.name,
        quantization=options,
        options={row.name: own},
    )
    preparation = Preparation(program, references, config)
    quantized = preparation.integers(row, precision.name)
    reference = references.get(pixels=session.takes_pixels)
    report = judge_integers(session, quantized, reference, options, precision.name)
    report = with_class_names(
        report,
        session.class_names(),
        names_for(session, program, references, names),
        kept=bool(names) and session.keeps_names(program, names or ()),
    )
    sample, found = reference.samples[0], None
    if layers and quantized.plan.by_name("activation"):
        found = localise_steps(session, quantized, sample)
    elif layers:
        found = localise(session, quantized.rounded, sample, report.tolerance)
        found = replace(found, errors=()) if report.faithful else found
    (outputs,) = plan_outputs(quantized, [sample])
    return Verified(report, found, None, sample.name, outputs)
