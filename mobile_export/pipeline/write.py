"""Write one file, execute it, judge it, and move it into place when it passed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..artifacts.content import size_of
from ..artifacts.expected import MOST_ALLOWED, Expected
from ..artifacts.manifest import (
    Nms,
    NmsOutput,
    artifact_manifest,
)
from ..artifacts.names import (
    manifest_path,
    plan_path,
)
from ..artifacts.workspace import Workspace
from ..detection import Suppression
from ..detection.contract import class_names
from ..errors import (
    BUG,
    ArtifactError,
    ExecutionError,
    ExportError,
    MobileExportError,
    PassError,
)
from ..exporters.config import ExportConfig
from ..exporters.interface import (
    Prepared,
    WriteJob,
    runtime_of,
    sizes_writer_of,
    writer_of,
)
from ..exporters.record import file_interface, preprocessing
from ..exporters.row import Format
from ..exporters.table import precision_named
from ..graph.program import Program
from ..lowering.ir import repeated_bytes
from ..parity.judge import expected_outputs
from ..parity.names import with_class_names
from ..parity.report import ParityReport, of_sizes
from ..parity.session import Session
from ..parity.stored import known_constants, with_stored_weights
from ..passes import PassReport, select_passes
from ..passes.bisect import guilty_passes
from ..passes.prove import fingerprint
from ..quantization.judge import judge_integers, plan_outputs
from ..quantization.quantized import (
    Quantized,
    explained,
    write_plan,
)
from ..system.quiet import unwarned
from ..system.threads import one_thread
from ..system.versions import installed_versions

if TYPE_CHECKING:
    import numpy as np
from .captured import Progress
from .check import check_parity, names_of, runtime_steps, seen_by
from .reports import ArtifactReport
from .sizes import AtSize, freed, size_records

__all__ = [
    "Attempt",
    "Run",
    "Stopwatch",
    "constants_of",
    "explained_plan",
    "nms_record",
    "record_files",
]


class Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Attempt:
    """One file of a run that was written and executed, still in the workspace."""

    prepared: Prepared
    passes: tuple[PassReport, ...]
    session: Session
    parity: ParityReport
    seconds: dict[str, float]
    quantized: Quantized | None = None


@dataclass(frozen=True)
class Run:
    """What the formats of one run share.

    Attributes:
        sizes: one, unless a file is to take several.
    """

    sizes: tuple[AtSize, ...]
    work: Workspace
    config: ExportConfig
    seconds: dict[str, float]
    progress: Progress

    @property
    def first(self) -> AtSize:
        """The first that was named: that of the manifest."""
        return next(each for each in self.sizes if each.named)

    @property
    def program(self) -> Program:
        """As traced at the first size."""
        return self.first.program

    def write(self, row: Format, stem: str) -> tuple[ArtifactReport, tuple[PassReport, ...]]:
        """Write, execute and judge one artifact, and move it into place when it passed.

        When it cannot be written or is wrong, the passes to blame are found and left out.
        """
        path = self.work.path(stem + row.suffix)
        with unwarned(not self.config.verbose), one_thread(), _of_the_draft(path):
            attempt, left_out, because = self._best(row, path)
        size = sum(size_of(file) for file in row.files(path))
        final = None
        if attempt.parity.usable or self.config.keep_failed:
            final = self._commit(row, path, attempt)
            self._keep_plan(attempt)
        seconds = {**self.seconds}
        for stage, value in attempt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        report = ArtifactReport(
            format=row.name,
            path=final,
            files=() if final is None else (*row.files(final), *record_files(final, attempt)),
            bytes=size,
            precision=row.precision(self.config.precision).name,
            seconds=seconds,
            parity=attempt.parity,
            left_out=left_out,
            because=because,
        )
        return report, (*attempt.passes, *explained_plan(attempt))

    def _best(self, row: Format, path: Path) -> tuple[Attempt, tuple[str, ...], str]:
        """With all passes or, where that fails, without those to blame; their names, and why."""
        problem: MobileExportError | None = None
        first: Attempt | None = None
        if row.precision(self.config.precision).integers:
            return self._integers(row, path), (), ""
        try:
            first = self._attempt(row, path)
            if first.parity.status != "failed":
                return first, (), ""
            direct = self._directly(row, path, first) if row.faster_forms else None
            if direct is not None:
                return direct, (), ""
        except (ExportError, ExecutionError, PassError) as error:
            problem = error
        kept: list[Attempt] = []

        def works(without: frozenset[str]) -> bool:
            self.progress(f"{row.title}: again without {', '.join(sorted(without))}")
            try:
                attempt = self._attempt(row, path, sorted(without))
            except (ExportError, ExecutionError, PassError):
                return False
            if attempt.parity.passed:
                kept[:] = [attempt]
            return attempt.parity.passed

        suspects = self._suspects(row)
        guilty = guilty_passes(suspects, works)
        if guilty:
            return kept[0], guilty, _because(first, problem)
        if first is None:
            assert problem is not None
            raise problem
        # What was tried since has replaced the file.
        tried = suspects or row.faster_forms
        return self._attempt(row, path) if tried else first, (), ""

    def _directly(self, row: Format, path: Path, first: Attempt) -> Attempt | None:
        """Without the faster forms of layers that the runtime chooses; None where that fails, too.

        What was wrong with them is said: the file is right, and slower.
        """
        self.progress(f"{row.title}: again without {row.faster_forms}")
        attempt = self._attempt(row, path, direct=True)
        if not attempt.parity.passed:
            return None
        error = f"{first.parity.max_rel:.1e} ({first.parity.tolerance:.1e} allowed)"
        note = f"{row.faster_forms} is switched off in the file: with it, its error was {error}"
        parity = replace(attempt.parity, notes=(*attempt.parity.notes, note))
        return replace(attempt, parity=parity)

    def _suspects(self, row: Format) -> list[str]:
        """The passes that rewrote something; all where one of them failed.

        Without `normalize_ops` and the decomposition of operators, on which every other pass
        relies.
        """
        try:
            _, passes = self.sizes[0].preparation.passed(row, self.config.no_passes)
            names = [report.name for report in passes if report.changes]
        except PassError:
            without = (*self.config.no_passes, *row.passes.without)
            names = [function.__name__ for function in select_passes(without, row.passes.add)]
        return [name for name in names if name not in ("normalize_ops", "operators")]

    def _attempt(
        self, row: Format, path: Path, without: Sequence[str] = (), *, direct: bool = False
    ) -> Attempt:
        """Write the file and execute it; what an earlier attempt left there is replaced."""
        job = replace(self.config.job(row, self.program.suppression), direct=direct)
        watch = Stopwatch()
        self.work.clear(file.name for file in row.files(path))
        left_out = (*self.config.no_passes, *without)
        sizes = [e for e in self.sizes if e.named or row.any_size or e.dynamic is not None]
        with watch("passes"):
            made_from = [each for each in self.sizes if each.makes] if row.one_graph else sizes
            passed = [each.preparation.passed(row, left_out) for each in made_from]
        with watch("export"):
            self.progress(f"{row.title}: exporting")
            prepared = [
                each.preparation.adapted(row, program, job)
                for each, (program, _) in zip(made_from, passed, strict=True)
            ]
            if row.one_graph and len(prepared) > 1:
                prepared = [freed(prepared, made_from, self.sizes)]
            _write(row, prepared, path, job, self.config.out_dir)
        with watch("parity"):
            self.progress(f"{row.title}: checking")
            sessions = [_load(row, path, each.program) for each in sizes]
            parity = of_sizes(
                [
                    check_parity(
                        session,
                        each.program,
                        each.references,
                        job.precision,
                        prepared[0].program,
                        names_of(session, each.program),
                    )
                    for session, each in zip(sessions, sizes, strict=True)
                ],
                [each.said for each in sizes],
            )
            notes = (*parity.notes, *_notes_on_sharing(row, prepared[0]))
        first = sessions[sizes.index(self.first)]
        parity = with_stored_weights(
            replace(parity, notes=notes), first.stored_weights(), constants_of(prepared)
        )
        return Attempt(prepared[0], passed[0][1], first, parity, watch.seconds)

    def _integers(self, row: Format, path: Path) -> Attempt:
        """Write a file of integers and execute it."""
        job, options = self.config.job(row), self.config.quantization
        precision = job.precision.name
        watch = Stopwatch()
        with watch("passes"):
            self.progress(f"{row.title}: calibrating")
            preparation = self.sizes[0].preparation
            quantized = preparation.integers(row, precision)
            program = preparation.finished(row, quantized.rounded)
        with watch("export"):
            self.progress(f"{row.title}: exporting")
            prepared = preparation.adapted(row, program, job)
            _write(row, [prepared], path, job, self.config.out_dir)
        with watch("parity"):
            self.progress(f"{row.title}: checking")
            session = _load(row, path, self.program)
            reference = self.sizes[0].references.get(pixels=session.takes_pixels)
            parity = judge_integers(session, quantized, reference, options, precision)
            parity = with_class_names(
                parity, session.class_names(), names_of(session, self.program)
            )
        return Attempt(
            prepared, quantized.passes, session, parity, watch.seconds, quantized=quantized
        )

    def _keep_plan(self, attempt: Attempt) -> None:
        """Write the plan of a file that passed where the user wants it."""
        wanted = self.config.quantization.plan
        if attempt.quantized is not None and wanted is not None and attempt.parity.usable:
            write_plan(attempt.quantized.plan, wanted)

    def _expected(self, row: Format, attempt: Attempt, size: AtSize) -> Expected:
        """What a device must compute at one size: what the model does or, of integers, what their
        plan does."""
        session, names = attempt.session, [o.name for o in attempt.prepared.program.outputs]
        reference = seen_by(session, size.references)
        if attempt.quantized is None:
            executed = [
                (row.precision(self.config.precision), session.arithmetic),
                *((precision_named(each.precision), each.arithmetic) for each in session.variants),
            ]
            steps = runtime_steps(session, size.program)
            error = max(reference.float32_error, attempt.parity.float32_error)
            judged_by = replace(reference, float32_error=error)
            return expected_outputs(judged_by, names, executed, steps)
        samples = size.references.get(pixels=session.takes_pixels).samples[:1]
        outputs = tuple(plan_outputs(attempt.quantized, samples))
        facts = expected_outputs(replace(reference, samples=samples, outputs=outputs), names)
        held = {attempt.parity.precision: attempt.parity.tolerance}
        allowed = {name: value for name, value in held.items() if value <= MOST_ALLOWED}
        return msgspec.structs.replace(facts, tolerance=allowed)

    def _commit(self, row: Format, path: Path, attempt: Attempt) -> Path:
        session, prepared = attempt.session, attempt.prepared.program
        named = [each for each in self.sizes if each.named]
        if self.first.dynamic == "size":
            named += [each for each in self.sizes if not each.named]
        suppression = None if session.detector is None else session.detector.suppression
        plan = None
        if attempt.quantized is not None:
            plan = plan_path(path)
            write_plan(attempt.quantized.plan, plan)
        expected = [self._expected(row, attempt, each) for each in named]
        manifest = artifact_manifest(
            prepared,
            path,
            row.name,
            companions=row.companions_of(path),
            plan=plan,
            precision=row.precision(self.config.precision).name,
            expected=expected[0],
            sizes=size_records(row, [each.program for each in named], expected),
            passes=[report.to_dict() for report in attempt.passes],
            parity=attempt.parity.to_dict(),
            tools=installed_versions(row.libraries),
            nms=None if suppression is None else nms_record(prepared, suppression),
            interface=file_interface(session, prepared),
            preprocessing=preprocessing(self.program),
            task=self.program.task if suppression is None else "detection",
        )
        others = (*row.companions_of(path), *(() if plan is None else (plan,)))
        companions = [file.name for file in others]
        return self.work.commit(path.name, manifest.to_dict(), companions)


@contextmanager
def _of_the_draft(path: Path) -> Iterator[None]:
    """Errors name a file that was not moved into place yet without its hidden folder."""
    try:
        yield
    except MobileExportError as error:
        error.message = error.message.replace(f"{path.parent}{os.sep}", "")
        raise


def _because(failed: Attempt | None, problem: MobileExportError | None) -> str:
    """Why a file was written again without passes. Only float16 is not our mistake."""
    if failed is None:
        assert problem is not None
        return f"with all passes, {problem.message.rstrip('.')}. Please report the model"
    parity = failed.parity
    error = f"with all passes, its error was {parity.max_rel:.1e} ({parity.tolerance:.1e} allowed)"
    if parity.precision == "fp16":
        return f"{error}; in float16 each order of operations rounds differently"
    return f"{error}. Please report the model"


def explained_plan(attempt: Attempt) -> tuple[PassReport, ...]:
    """The plan of a file of integers, for those who want to see what was rewritten."""
    return () if attempt.quantized is None else (explained(attempt.quantized.carried_out),)


def record_files(path: Path, attempt: Attempt) -> tuple[Path, ...]:
    """What stands beside a file and is not needed to run it."""
    plan = () if attempt.quantized is None else (plan_path(path),)
    return (*plan, manifest_path(path))


def constants_of(prepared: Sequence[Prepared]) -> list[np.ndarray]:
    """Every array of floats that a writer was given."""
    programs = [each.program.exported for each in prepared]
    stored = [(each.state_dict, each.constants) for each in programs]
    return known_constants([*stored, *(each.layers for each in prepared)])


_REPEATED = 2**16
"""Bytes of weights that a file has twice from which that is said."""


def _notes_on_sharing(row: Format, prepared: Prepared) -> Iterator[str]:
    """What it costs that layers of a format cannot share their weights."""
    repeated = 0 if prepared.layers is None else repeated_bytes(prepared.layers)
    if repeated >= _REPEATED:
        yield (
            f"{repeated / 1e6:.1f} MB of float32 weights that several layers share are in the file "
            f"once for each of them: {row.title} stores them layer by layer"
        )


def nms_record(program: Program, suppression: Suppression) -> Nms:
    """What a manifest says of the suppression inside a file."""
    return Nms(
        iou_threshold=suppression.iou_threshold,
        score_threshold=suppression.score_threshold,
        max_detections=suppression.limit,
        candidates="the best class of each box"
        if suppression.best_class_only
        else "every pair of box and class",
        outputs=tuple(NmsOutput(o.name, o.shape, o.layout) for o in suppression.outputs),
        labels=class_names(program),
    )


def _write(
    row: Format, prepared: Sequence[Prepared], path: Path, job: WriteJob, out_dir: Path
) -> None:
    """Write one file, and see that the writer did not edit what was proven."""
    proven = [p.program.exported if p.layers is None else p.layers for p in prepared]
    before = fingerprint(proven)
    try:
        if len(prepared) > 1:
            sizes_writer_of(row).write_sizes(prepared, path, job)
        else:
            writer_of(row).write(prepared[0], path, job)
    except OSError as error:
        raise ArtifactError(
            f"Cannot write {path.name} to {out_dir}: {error.strerror or error}.",
            hint="Free some space, or choose another folder with `out_dir`.",
        ) from error
    if fingerprint(proven) != before:
        raise ExportError(
            f"{BUG}: the writer of {row.title} files changed the proven graph.",
            hint="Nothing was kept. Please report it with the model.",
        )


def _load(row: Format, path: Path, program: Program) -> Session:
    """What was just written. That it does not load is our mistake, not the user's."""
    try:
        return runtime_of(row).load(path, program.outputs)
    except ArtifactError as error:
        raise ExportError(
            f"{BUG}: it wrote a {row.title} file that does not load: {error.message}",
            hint="Nothing was kept. Please report it with the model.",
        ) from error
