"""The pipeline: source -> Program -> passes -> adapt -> proof -> file -> session -> parity report.

`export_program` is the line of docs/architecture.md, in the order of the calls.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts.content import size_of
from .artifacts.manifest import Nms, NmsOutput, artifact_manifest
from .artifacts.names import PROGRAM_FORMAT, artifact_stem, manifest_path, require_file_name
from .artifacts.workspace import Workspace
from .detection import Detections, Suppression
from .detection.contract import check_values, class_names, pick
from .errors import (
    BUG,
    ArtifactError,
    ExecutionError,
    ExportError,
    MobileExportError,
    PassError,
    summary,
)
from .exporters.config import ExportConfig
from .exporters.interface import Prepared, WriteJob, loader_of, runtime_of, writer_of
from .exporters.processing import check_processing, gives_probabilities, processed
from .exporters.record import file_interface, preprocessing
from .exporters.row import Format, Precision
from .exporters.table import get_format, precision_named
from .graph.capture import trace
from .graph.program import Program
from .graph.source import Source
from .graph.specs import InputSpec
from .graph.steps import steps_of
from .lowering.lower import lower
from .lowering.reference import run_graph
from .operators.core import listed
from .parity.detections import with_detections
from .parity.judge import expected_outputs, judge
from .parity.overflow import OVERFLOWS, in_the_model
from .parity.pictures import picture_files, read_pictures
from .parity.reference import Reference, make_reference, with_activation
from .parity.report import ParityReport
from .parity.samples import Sample, parity_samples, pixel_samples, stronger_samples
from .parity.session import Session
from .passes import PassReport, PassRunner, notes_on, run_passes, select_passes
from .passes.bisect import guilty_passes
from .passes.prove import fingerprint, float64_outputs, require_same
from .system.quiet import unwarned
from .system.threads import one_thread
from .system.versions import installed_versions

if TYPE_CHECKING:
    import numpy as np
    import torch

    from .parity.localise import LayerReport

__all__ = [
    "ArtifactReport",
    "ExportReport",
    "Failure",
    "check_parity",
    "export_program",
    "prepare_program",
    "require_destination",
    "save_program",
    "verify_artifact",
]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact: where it is, how long each stage took, and how it compares with the model.

    Attributes:
        path: final path, or None when the file was removed because it did not pass.
        left_out: passes that the file was written without, because with them it could not be
            written or was wrong.
        seconds: wall time of ``load`` (source to captured program; shared by all formats of a run),
            ``passes``, ``export`` and ``parity``.
    """

    format: str
    path: Path | None
    files: tuple[Path, ...]
    bytes: int
    precision: str
    seconds: dict[str, float]
    parity: ParityReport
    left_out: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "format": self.format,
            "path": None if self.path is None else str(self.path),
            "files": [str(file) for file in self.files],
            "bytes": self.bytes,
            "precision": self.precision,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "parity": self.parity.to_dict(),
            "left_out": list(self.left_out),
        }


@dataclass(frozen=True)
class Failure:
    """A format that could not be written."""

    format: str
    error: MobileExportError

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"format": self.format, "error": self.error.message, "hint": self.error.hint}


@dataclass(frozen=True)
class ExportReport:
    """The result of one run.

    Attributes:
        inputs: what the model takes, in its order.
        passes: of all formats; one that differs between them stands there once for each result.
    """

    source: str
    weights: str
    weights_kind: str
    artifacts: tuple[ArtifactReport, ...]
    inputs: tuple[InputSpec, ...]
    failures: tuple[Failure, ...] = ()
    passes: tuple[PassReport, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of the first input."""
        return self.inputs[0].shape

    @property
    def taken(self) -> str:
        """What the model takes: the size of its one image, or every input."""
        first, *others = self.inputs
        if not others and first.role == "image":
            return "x".join(map(str, first.size))
        return ", ".join(map(str, self.inputs))

    @property
    def exit_code(self) -> int:
        """0 when everything asked for was written and passed, 2 for an error, 1 for parity."""
        if self.failures:
            return max(failure.error.exit_code for failure in self.failures)
        return 0 if all(artifact.parity.passed for artifact in self.artifacts) else 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "source": self.source,
            "weights": {"kind": self.weights_kind, "description": self.weights},
            "input_shape": list(self.input_shape),
            "inputs": [
                {"name": i.name, "shape": list(i.shape), "dtype": i.dtype, "role": i.role}
                for i in self.inputs
            ],
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
            "failures": [failure.to_dict() for failure in self.failures],
            "skipped": self.skipped,
            "passes": [
                {
                    "name": p.name,
                    **({"formats": list(p.formats)} if p.formats else {}),
                    "changes": len(p.changes),
                    "refusals": len(p.refusals),
                }
                for p in self.passes
            ],
            "notes": list(self.notes),
        }


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


class _References:
    """The reference of a model, computed once for normalised inputs and once for pixels.

    Args:
        pictures: the user's own samples, which are run as well.
    """

    def __init__(self, source: Source, program: Program, pictures: Sequence[Sample] = ()) -> None:
        self._source, self._program = source, program
        self._pictures = tuple(pictures)
        depends = enumerate(program.depends_on_input())
        self._fixed = frozenset(index for index, reached in depends if not reached)
        self._made: dict[bool, Reference] = {}

    def get(self, *, pixels: bool = False) -> Reference:
        if pixels not in self._made:
            specs = self._program.inputs
            samples = pixel_samples(specs[0]) if pixels else parity_samples(*specs)
            own = [each for each in self._pictures if each.pixels is not None or not pixels]
            self._made[pixels] = make_reference(
                self._source.module,
                (*samples[:-1], *own, samples[-1]),
                stronger_samples(*specs, pixels=pixels),
                self._fixed,
            )
        return self._made[pixels]


def _capture(
    load: Callable[[], Source],
    progress: Progress,
    label: str = "loading",
    samples: Path | None = None,
) -> tuple[Program, _References]:
    """Load and trace a model; its references are computed when they are asked for.

    Args:
        samples: a folder of the user's own.
    """
    if samples is not None:
        picture_files(samples)  # before anything that takes time
    progress(label)
    source = load()
    pictures = () if samples is None else read_pictures(samples, source.input, *source.others)
    progress("tracing")
    program = trace(source)
    return program, _References(source, program, pictures)


class _Preparation:
    """Programs as writers take them: passes, what a format adapts, layer graphs; all proven.

    What several formats share is done once.
    """

    def __init__(self, program: Program, references: _References, config: ExportConfig) -> None:
        self._program = program
        self._references = references
        self._config = config
        self._runners: dict[tuple[bool, bool], PassRunner] = {}
        self._passed: dict[tuple[Any, ...], tuple[Program, tuple[PassReport, ...]]] = {}
        self._exact: dict[int, tuple[Program, tuple[np.ndarray, ...]]] = {}
        self._layers: dict[int, Prepared] = {}

    def passed(self, row: Format, without: Sequence[str]) -> tuple[Program, tuple[PassReport, ...]]:
        """After the passes of a format, without those named.

        What its options ask for in front of the model and behind it is in the program.
        """
        options = self._config.job(row).options
        processing = (options.image_input, gives_probabilities(self._program, options))
        chosen = select_passes((*without, *row.passes.without), row.passes.add)
        key = (processing, chosen, row.passes.native)
        if processing not in self._runners:
            program = processed(self._program, options)
            reference = self._references.get(pixels=options.image_input)
            if processing[1]:
                reference = with_activation(reference, "softmax")
            self._runners[processing] = PassRunner(program, reference)
        if key not in self._passed:
            self._passed[key] = self._runners[processing].run(chosen, row.passes.native)
        return self._passed[key]

    def adapted(self, row: Format, program: Program, job: WriteJob) -> Prepared:
        """``program``, of `passed`, as the writer of a format takes it.

        Raises:
            PassError: what was adapted or lowered computes something else in float64.
        """
        if row.made_from == "layers":
            if id(program) not in self._layers:
                graph = lower(program)
                given = [each.double().numpy() for each in self._given(program)]
                got = run_graph(graph, *given)
                require_same("The layer graph", program.spec, got, self._exactly(program))
                self._layers[id(program)] = Prepared(program, graph)
            return self._layers[id(program)]
        adapted = writer_of(row).adapt(program, job)
        if adapted.program is not program:
            got = float64_outputs(adapted.program, *self._given(program))
            exact = tuple(adapted.expected(self._exactly(program)))
            require_same(f"What {row.title}'s converter is given", program.spec, got, exact)
        return Prepared(adapted.program)

    def _given(self, program: Program) -> tuple[torch.Tensor, ...]:
        pixels = program.input.pixels
        return self._references.get(pixels=pixels).samples[-1].all_given(pixels=pixels)

    def _exactly(self, program: Program) -> tuple[np.ndarray, ...]:
        if id(program) not in self._exact:
            got = float64_outputs(program, *self._given(program))
            self._exact[id(program)] = (program, got)
        return self._exact[id(program)][1]


@dataclass(frozen=True)
class _Attempt:
    """One file of a run that was written and executed, still in the workspace."""

    prepared: Prepared
    passes: tuple[PassReport, ...]
    session: Session
    parity: ParityReport
    seconds: dict[str, float]


@dataclass(frozen=True)
class _Run:
    """What the formats of one run share; ``program`` is as traced, before any pass."""

    program: Program
    references: _References
    preparation: _Preparation
    work: Workspace
    config: ExportConfig
    seconds: dict[str, float]
    progress: Progress

    def write(self, row: Format, stem: str) -> tuple[ArtifactReport, tuple[PassReport, ...]]:
        """Write, execute and judge one artifact, and move it into place when it passed.

        When it cannot be written or is wrong, the passes to blame are found and left out.
        """
        path = self.work.path(stem + row.suffix)
        with unwarned(not self.config.verbose), one_thread():
            attempt, left_out = self._best(row, path)
        size = sum(size_of(file) for file in row.files(path))
        final = None
        if attempt.parity.usable or self.config.keep_failed:
            final = self._commit(row, path, attempt)
        seconds = {**self.seconds}
        for stage, value in attempt.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        report = ArtifactReport(
            format=row.name,
            path=final,
            files=() if final is None else (*row.files(final), manifest_path(final)),
            bytes=size,
            precision=row.precision(self.config.precision).name,
            seconds=seconds,
            parity=attempt.parity,
            left_out=left_out,
        )
        return report, attempt.passes

    def _best(self, row: Format, path: Path) -> tuple[_Attempt, tuple[str, ...]]:
        """With all passes or, where that fails, without those to blame; and their names."""
        problem: MobileExportError | None = None
        first: _Attempt | None = None
        try:
            first = self._attempt(row, path)
            if first.parity.status != "failed":
                return first, ()
        except (ExportError, ExecutionError, PassError) as error:
            problem = error
        kept: list[_Attempt] = []

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
            return kept[0], guilty
        if first is None:
            assert problem is not None
            raise problem
        # What was tried since has replaced the file.
        return self._attempt(row, path) if suspects else first, ()

    def _suspects(self, row: Format) -> list[str]:
        """The passes that rewrote something; all where one of them failed.

        Without `normalize_ops` and the decomposition of operators, on which every other pass
        relies.
        """
        try:
            _, passes = self.preparation.passed(row, self.config.no_passes)
            names = [report.name for report in passes if report.changes]
        except PassError:
            without = (*self.config.no_passes, *row.passes.without)
            names = [function.__name__ for function in select_passes(without, row.passes.add)]
        return [name for name in names if name not in ("normalize_ops", "operators")]

    def _attempt(self, row: Format, path: Path, without: Sequence[str] = ()) -> _Attempt:
        """Write the file and execute it; what an earlier attempt left there is replaced."""
        job = self.config.job(row)
        watch = _Stopwatch()
        self.work.clear(file.name for file in row.files(path))
        with watch("passes"):
            program, passes = self.preparation.passed(row, (*self.config.no_passes, *without))
        with watch("export"):
            self.progress(f"{row.title}: exporting")
            prepared = self.preparation.adapted(row, program, job)
            _write(row, prepared, path, job, self.config.out_dir)
        with watch("parity"):
            self.progress(f"{row.title}: checking")
            session = _load(row, path, self.program)
            parity = check_parity(
                session, self.program, self.references, job.precision, prepared.program
            )
        return _Attempt(prepared, passes, session, parity, watch.seconds)

    def _commit(self, row: Format, path: Path, attempt: _Attempt) -> Path:
        session, prepared = attempt.session, attempt.prepared.program
        reference = _seen_by(session, self.references)
        suppression = None if session.detector is None else session.detector.suppression
        manifest = artifact_manifest(
            prepared,
            path,
            row.name,
            companions=row.companions_of(path),
            precision=row.precision(self.config.precision).name,
            expected=expected_outputs(reference, [output.name for output in prepared.outputs]),
            passes=[report.to_dict() for report in attempt.passes],
            parity=attempt.parity.to_dict(),
            tools=installed_versions(row.libraries),
            nms=None if suppression is None else _nms_record(prepared, suppression),
            interface=file_interface(session, prepared),
            preprocessing=preprocessing(self.program),
            task=self.program.task if suppression is None else "detection",
        )
        companions = [file.name for file in row.companions_of(path)]
        return self.work.commit(path.name, manifest.to_dict(), companions)


def _nms_record(program: Program, suppression: Suppression) -> Nms:
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


def _write(row: Format, prepared: Prepared, path: Path, job: WriteJob, out_dir: Path) -> None:
    """Write one file, and see that the writer did not edit what was proven."""
    proven = prepared.program.exported if prepared.layers is None else prepared.layers
    before = fingerprint(proven)
    try:
        writer_of(row).write(prepared, path, job)
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
            hint="Nothing was kept. Please report it with the model; try another format.",
        ) from error


def export_program(
    load: Callable[[], Source],
    spec: str,
    formats: Sequence[Format],
    config: ExportConfig,
    *,
    name: str | None = None,
    progress: Progress = lambda stage: None,
    finished: Callable[[ArtifactReport | Failure], None] = lambda result: None,
) -> ExportReport:
    """Write one model in every format, tracing it once, and check every file.

    Args:
        load: makes the source; called after the destination was found to be writable.
        spec: the source as the user names it.
        name: file name without suffix; None derives it from ``spec``.
        progress: told the current stage.
        finished: told what became of each format, at once.

    Raises:
        MobileExportError: nothing could be written. In a run with several formats, one that fails
            is a `Failure` of the report instead.
    """
    stem = artifact_stem(spec) if name is None else require_file_name(name)
    for row in formats:
        select_passes((*config.no_passes, *row.passes.without), row.passes.add)
        config.job(row)
        row.require()
    names = [file.name for row in formats for file in row.files(Path(stem + row.suffix))]
    with Workspace(config.out_dir, names, force=config.force) as work:
        shared = _Stopwatch()
        with unwarned(not config.verbose), one_thread():
            with shared("load"):
                program, references = _capture(load, progress, f"loading {spec}", config.samples)
                program = replace(program, notes=(*program.notes, *notes_on(config.no_passes)))
            for row in formats:
                check_processing(program, config.job(row).options)
                writer_of(row).check(program, config.job(row))
            with shared("parity"):
                progress("running the reference in float64")
                reference = references.get()
            if config.nms is not None:
                check_values(program, reference.outputs)
            with shared("passes"):
                progress("passes")
                preparation = _Preparation(program, references, config)
                for row in formats:
                    with suppress(Exception):  # raised again when the format is written
                        preparation.passed(row, config.no_passes)
        run = _Run(program, references, preparation, work, config, shared.seconds, progress)
        artifacts: list[ArtifactReport] = []
        passes: dict[str, tuple[PassReport, ...]] = {}
        failures: list[Failure] = []
        for number, row in enumerate(formats, 1):
            here = replace(run, progress=_counted(progress, number, len(formats)))
            try:
                artifact, passes[row.name] = here.write(row, stem)
                artifacts.append(artifact)
                finished(artifact)
            except (KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:  # a converter of others failed; Rust panics, too
                if len(formats) == 1:
                    raise
                failures.append(Failure(row.name, _of_others(error, row)))
                finished(failures[-1])
    for failure in failures:
        _name_takers(failure.error, artifacts)
    return ExportReport(
        source=spec,
        weights=program.weights.describe(),
        weights_kind=program.weights.kind,
        artifacts=tuple(artifacts),
        inputs=program.inputs,
        failures=tuple(failures),
        passes=_by_format(passes),
        notes=(*program.notes, *_left_out_notes(artifacts)),
    )


def _counted(progress: Progress, number: int, count: int) -> Progress:
    """Stages of one format of several: which one of how many it is."""
    return progress if count == 1 else lambda stage: progress(f"{number} of {count}: {stage}")


def _of_others(error: BaseException, row: Format) -> MobileExportError:
    """What one format raised, so that the others are written all the same."""
    if isinstance(error, MobileExportError):
        return error
    failure = ExportError(
        f"{BUG} when it wrote the {row.title} file: {summary(error)}",
        hint="Please report it with the model; `verbose=True` shows more.",
    )
    failure.__cause__ = error
    return failure


def _name_takers(error: MobileExportError, artifacts: Sequence[ArtifactReport]) -> None:
    """Say which formats of the run took the model that another one did not."""
    titles = [get_format(a.format).title for a in artifacts if a.parity.passed]
    if titles:
        error.hint = " ".join(
            filter(None, [error.hint, f"Written and right in this run: {', '.join(titles)}."])
        )


def _left_out_notes(artifacts: Sequence[ArtifactReport]) -> Iterator[str]:
    for artifact in artifacts:
        for name in artifact.left_out:
            yield f"{artifact.format}: pass {name} left out: please report the model"


def _by_format(reports: dict[str, tuple[PassReport, ...]]) -> tuple[PassReport, ...]:
    """Every report once, with the formats that it is of unless it is of all."""
    formats: dict[PassReport, list[str]] = {}
    for name, passes in reports.items():
        for report in passes:
            formats.setdefault(report, []).append(name)
    return tuple(
        report if len(names) == len(reports) else replace(report, formats=tuple(names))
        for report, names in formats.items()
    )


def prepare_program(
    load: Callable[[], Source],
    config: ExportConfig,
    progress: Progress = lambda stage: None,
) -> tuple[Program, tuple[PassReport, ...]]:
    """The proven program that the exporters would be given.

    Raises:
        MobileExportError: the source cannot be loaded or traced, or a pass is not exact.
    """
    chosen = select_passes(config.no_passes)
    with unwarned(not config.verbose), one_thread():
        program, references = _capture(load, progress, samples=config.samples)
        program = replace(program, notes=(*program.notes, *notes_on(config.no_passes)))
        progress("running the reference in float64")
        reference = references.get()
        progress("passes")
        return run_passes(program, reference, chosen)


def require_destination(path: Path, *, force: bool) -> None:
    """Raise ArtifactError or UsageError where `save_program` could not write: before the work."""
    with Workspace(path.parent, [path.name], force=force):
        pass


def save_program(
    program: Program, path: Path, passes: Sequence[PassReport] = (), *, force: bool = False
) -> Path:
    """Write ``program`` as a ``.pt2`` file with a manifest beside it.

    Raises:
        ArtifactError: the file exists (without ``force``) or cannot be written.
    """
    import torch

    sample = parity_samples(*program.inputs)[:1]
    with Workspace(path.parent, [path.name], force=force) as work, one_thread():
        draft = work.path(path.name)
        content = io.BytesIO()  # PyTorch's own writer ends the process when the disk is full
        torch.export.save(program.exported, content)
        try:
            draft.write_bytes(content.getbuffer())
        except OSError as error:
            raise ArtifactError(
                f"Cannot write {path}: {error.strerror or error}.",
                hint="Free some space, or choose another folder.",
            ) from error
        reference = make_reference(program.module(), sample)
        manifest = artifact_manifest(
            program,
            draft,
            PROGRAM_FORMAT,
            expected=expected_outputs(reference, [output.name for output in program.outputs]),
            passes=[report.to_dict() for report in passes],
            preprocessing=preprocessing(program),
            task=program.task,
        )
        return work.commit(path.name, manifest.to_dict())


def check_parity(
    session: Session,
    program: Program,
    references: _References,
    precision: Precision,
    written_from: Program | None = None,
) -> ParityReport:
    """Execute an artifact on every parity sample and compare it with the original model.

    Args:
        precision: that the file was asked to have; what is allowed follows it, never what is found
            in the file.
        written_from: the program whose nodes name the file's values, where it is at hand.
    """
    reference = _seen_by(session, references)
    detector = session.detector
    found: list[Detections] = []
    if detector is None:
        results = [session.run(sample) for sample in reference.samples]
    else:
        pairs = [detector.detect(sample) for sample in reference.samples]
        results, found = [outputs for outputs, _ in pairs], [kept for _, kept in pairs]
    report = judge(
        reference,
        results,
        precision=precision,
        runtime=session.runtime,
        emulated=session.emulated,
        output_names=[output.name for output in program.outputs],
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
    session.modules = (written_from or program).module_paths()
    beyond = session.overflow_notes(reference.samples)
    notes = (*report.notes, *beyond, *session.notes())
    if any(note.startswith(OVERFLOWS) for note in notes):
        notes = (*notes, *in_the_model(program, reference.samples))
    if report.status == "failed" and (precision.arithmetic or precision.name) == "fp16":
        notes = (*notes, *_step_notes(program))
    report = replace(report, notes=notes, variants=variants)
    if report.only_some:
        remedies = {variant.remedy for variant in session.variants if variant.remedy}
        only = f"{report.runtime} only ({report.deciding.runtime}: {report.deciding.status})"
        report = replace(report, notes=(*notes, f"right in {only}: {'; '.join(remedies)}"))
    return report


def _step_notes(program: Program) -> Iterator[str]:
    """What an error of a file in float16 may come from."""
    calls = listed(steps_of(program))
    if calls:
        yield (
            f"float16 may fall on the other side of a step, where the result jumps: {calls}. Write "
            '`precision="fp32"`, or return what comes before and take the step in the app.'
        )


def _seen_by(session: Session, references: _References) -> Reference:
    """The reference for the input that an artifact takes and the activation that it adds."""
    return with_activation(references.get(pixels=session.takes_pixels), session.activation)


def verify_artifact(
    row: Format,
    path: Path,
    load: Callable[[], Source],
    precision: Precision,
    *,
    runtime: str | None = None,
    samples: Path | None = None,
    layers: bool,
    verbose: bool,
    progress: Progress,
) -> tuple[ParityReport, LayerReport | None]:
    """Parity of an existing artifact and, with ``layers``, where it diverges from the model.

    In a file that passed nothing does: what has no counterpart in the model was rewritten.

    ``runtime`` is one of the row's others; None is the format's own.
    """
    from .parity.localise import localise

    with unwarned(not verbose), one_thread():
        program, references = _capture(load, progress, samples=samples)
        progress(f"{row.title}: checking")
        session = loader_of(row, runtime)(path, program.outputs)
        parity = check_parity(session, program, references, precision)
        if not layers:
            return parity, None
        progress(f"{row.title}: comparing layers")
        sample = references.get(pixels=session.takes_pixels).samples[0]
        found = localise(session, program, sample, parity.tolerance)
        return parity, replace(found, errors=()) if parity.passed else found
