"""The pipeline: source -> Program -> passes -> adapt -> proof -> file -> session -> parity report.

`export_program` is the line of docs/architecture.md, in the order of the calls.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from .artifacts.content import size_of
from .artifacts.expected import MOST_ALLOWED, Expected
from .artifacts.manifest import (
    Nms,
    NmsOutput,
    Size,
    artifact_manifest,
    read_manifest,
    refuse_link_out,
)
from .artifacts.names import (
    PROGRAM_FORMAT,
    artifact_stem,
    manifest_path,
    plan_path,
    require_file_name,
)
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
    SourceError,
    UsageError,
    summary,
)
from .exporters.config import ExportConfig
from .exporters.interface import (
    Prepared,
    WriteJob,
    loader_of,
    runtime_of,
    sizes_writer_of,
    writer_of,
)
from .exporters.processing import check_processing, gives_probabilities, processed
from .exporters.record import file_interface, preprocessing
from .exporters.row import Format, PassChoice, Precision
from .exporters.table import get_format, precision_named
from .graph.capture import trace
from .graph.ends import ends_in
from .graph.free_axes import unnamed_sizes, with_free_axes
from .graph.program import Program
from .graph.raised import call_at, node_of
from .graph.source import Source
from .graph.specs import InputSpec
from .graph.steps import steps_of
from .lowering.integers import integers_at
from .lowering.ir import repeated_bytes
from .lowering.lower import lower
from .lowering.reference import run_graph
from .operators.core import listed
from .parity.detections import with_detections
from .parity.index_ties import settle_ties
from .parity.judge import expected_outputs, judge
from .parity.names import with_class_names
from .parity.overflow import OVERFLOWS, in_the_model
from .parity.pictures import picture_files, read_pictures
from .parity.reference import (
    Reference,
    make_reference,
    require_independent,
    with_activation,
)
from .parity.report import ParityReport, of_sizes
from .parity.samples import Sample, parity_samples, pixel_samples, stronger_samples
from .parity.session import Session
from .parity.strong import Strong, strong_references, with_strong_input
from .passes import PassReport, PassRunner, notes_on, run_passes, select_passes
from .passes.bisect import guilty_passes
from .passes.prove import fingerprint, float64_outputs, require_same
from .quantization.good import with_gates
from .quantization.insert import insert
from .quantization.judge import judge_integers, localise_steps, plan_outputs
from .quantization.options import QuantizationOptions
from .quantization.project import project
from .quantization.quantized import (
    Quantized,
    explained,
    quantize,
    require_calibration,
    require_place,
    write_plan,
)
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
        sizes: that every file takes, in words; none of files of one.
        passes: of all formats; one that differs between them stands there once for each result.
    """

    source: str
    weights: str
    weights_kind: str
    artifacts: tuple[ArtifactReport, ...]
    inputs: tuple[InputSpec, ...]
    sizes: tuple[str, ...] = ()
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
        if self.sizes:
            return ", ".join(self.sizes)
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
            **({"sizes": list(self.sizes)} if self.sizes else {}),
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
        self._strong: dict[bool, tuple[Strong, ...]] = {}

    def strong(self, *, pixels: bool = False) -> tuple[Strong, ...]:
        """For the strong, the bright and the dark input, where there are any (`parity.strong`)."""
        if pixels not in self._strong:
            specs = self._program.inputs
            self._strong[pixels] = strong_references(self._source.module, specs, pixels=pixels)
        return self._strong[pixels]

    @property
    def labels_given(self) -> bool:
        """Whether the names of the classes are the user's."""
        return self._source.labels_given

    def own(self, *, pixels: bool = False) -> tuple[Sample, ...]:
        """The user's own samples that can be given so."""
        return tuple(each for each in self._pictures if each.pixels is not None or not pixels)

    def get(self, *, pixels: bool = False) -> Reference:
        if pixels not in self._made:
            specs = self._program.inputs
            samples = pixel_samples(specs[0]) if pixels else parity_samples(*specs)
            own = self.own(pixels=pixels)
            self._made[pixels] = make_reference(
                self._source.module,
                (*samples[:-1], *own, samples[-1]),
                stronger_samples(*specs, pixels=pixels),
                self._fixed,
            )
            asked = self._program.asked
            if (asked.get("batch") or 1) > 1 or (
                asked.get("dynamic") == "batch" and specs[0].shape[0] > 1
            ):
                names = [output.name for output in self._program.outputs]
                require_independent(self._source.module, self._made[pixels], names)
        return self._made[pixels]


def _capture(
    load: Callable[[], Source],
    progress: Progress,
    label: str = "loading",
    samples: Path | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    *,
    free: bool = False,
    dynamic: str | None = None,
) -> tuple[tuple[Program, _References], ...]:
    """Load a model and trace it at each size; its references are computed when they are asked for.

    Args:
        samples: a folder of the user's own.
        sizes: (height, width) of one image; none for what the source has.
        free: also at sizes that are not named, behind the others, of which a file with free axes
            is made and at which it is checked.
        dynamic: what files leave open, "batch" or "size"; then in all shapes that these are made
            from and checked in (`Source.with_open`).
    """
    if samples is not None:
        picture_files(samples)  # before anything that takes time
    progress(label)
    loaded = load()
    if dynamic is not None:
        return _in_open_shapes(loaded, dynamic, progress, samples)
    found = []
    for source in [loaded.at_size(size) for size in sizes] if len(sizes) > 1 else [loaded]:
        pictures = () if samples is None else read_pictures(samples, source.input, *source.others)
        progress("tracing" + (f" at {_said(source.input)}" if len(sizes) > 1 else ""))
        program = trace(source)
        found.append((program, _References(source, program, pictures)))
    for size in unnamed_sizes(sizes) if free else ():
        source = loaded.at_size(size)
        with suppress(MobileExportError):  # a model may take only what was named
            program = trace(source)
            references = _References(source, program)
            references.get()
            found.append((program, references))
    return tuple(found)


def _in_open_shapes(
    loaded: Source, dynamic: str, progress: Progress, samples: Path | None
) -> tuple[tuple[Program, _References], ...]:
    """A model traced in every shape that a file is made from and checked in; that which the user
    named has his own samples, too.

    Raises:
        SourceError: it does not take one of them.
    """
    found = []
    for source in loaded.with_open(dynamic):
        progress(f"tracing at {_said(source.input, dynamic)}")
        named = source.input.shape == loaded.input.shape
        pictures = () if samples is None or not named else read_pictures(samples, source.input)
        try:
            program = trace(source)
            references = _References(source, program, pictures)
            references.get()
        except MobileExportError as error:
            if named:
                raise
            raise SourceError(
                f"`dynamic` {dynamic}: {source.spec} does not take "
                f"{_said(source.input, dynamic)}. {error.message}",
                hint="Leave it out, or name the sizes that the model takes with `size`."
                if dynamic == "size"
                else "Leave it out, or name one number with `batch`.",
            ) from error
        found.append((program, references))
    return tuple(found)


def _said(image: InputSpec, dynamic: str | None = None) -> str:
    """Its size in words; or how many images there are, where files leave that open."""
    if dynamic == "batch":
        return "1 image" if image.shape[0] == 1 else f"{image.shape[0]} images"
    return "x".join(map(str, image.size))


class _Preparation:
    """Programs as writers take them: passes, what a format adapts, layer graphs; all proven.

    What several formats share is done once.
    """

    def __init__(
        self,
        program: Program,
        references: _References,
        config: ExportConfig,
        progress: Progress = lambda stage: None,
    ) -> None:
        self._program = program
        self._references = references
        self._config = config
        self._progress = progress
        self._runners: dict[tuple[bool, bool], PassRunner] = {}
        self._passed: dict[tuple[Any, ...], tuple[Program, tuple[PassReport, ...]]] = {}
        self._exact: dict[int, tuple[Program, tuple[np.ndarray, ...]]] = {}
        self._layers: dict[int, Prepared] = {}
        self._planned: dict[tuple[int, str], Quantized] = {}

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
            self._runners[processing] = PassRunner(program, reference, self._progress)
        if key not in self._passed:
            self._passed[key] = self._runners[processing].run(chosen, row.passes.native)
        return self._passed[key]

    def integers(self, row: Format, precision: str) -> Quantized:
        """The program of a format with a plan in it: one plan for all formats.

        The passes that formats have in common run before it; those that one format adds, behind it.

        Raises:
            UsageError: calibration data or a plan cannot be taken.
        """
        shared = replace(row, passes=PassChoice())
        program, passes = self.passed(shared, self._config.no_passes)
        key = (id(program), precision)
        if key not in self._planned:
            sample = self._references.get(pixels=program.input.pixels).samples[-1]
            pictures = self._references.own(pixels=program.input.pixels)
            self._planned[key] = quantize(
                program, precision, self._config.quantization, sample, pictures
            )
        quantized = replace(self._planned[key], passes=passes)
        return quantized if row.integer_layers is None else self._projected(row, quantized)

    def _projected(self, row: Format, quantized: Quantized) -> Quantized:
        """With what a format takes of the plan whose layers multiply integers.

        A layer whose integers do not come through the lowering is left in floating point.

        Raises:
            UsageError: no layer is left.
        """
        assert row.integer_layers is not None
        left: dict[str, str] = {}
        while True:
            exact, plan = quantized.exact, quantized.plan
            projected = project(exact, plan, row.integer_layers, left, row.title)
            rounded = insert(exact, projected)
            taken = integers_at(lower(self.finished(row, rounded)))
            lost = projected.by_name("weight").keys() - taken
            if not lost:
                return replace(quantized, projected=projected, rounded=rounded)
            left |= dict.fromkeys(lost, _NOT_ONE_LAYER)

    def finished(self, row: Format, rounded: Program) -> Program:
        """``rounded``, of `integers`, after the passes that only this format has.

        Raises:
            PassError: one of them is not exact.
        """
        names = set(row.passes.add) - set(self._config.no_passes)
        program = rounded
        for function in select_passes(self._config.no_passes, tuple(names)):
            if function.__name__ in names:
                program = function(program).program
        if program is rounded:
            return program
        # Before it is rounded to float32, which may move a sum to the other side of a rounding.
        got = float64_outputs(program, *self.given(program))
        require_same(f"The program for {row.title}", program.spec, got, self._exactly(rounded))
        return program.in_float32()

    def adapted(self, row: Format, program: Program, job: WriteJob) -> Prepared:
        """``program``, of `passed`, as the writer of a format takes it.

        Raises:
            PassError: what was adapted or lowered computes something else in float64.
        """
        if row.made_from == "layers":
            if id(program) not in self._layers:
                graph = lower(program)
                given = [each.double().numpy() for each in self.given(program)]
                got = run_graph(graph, *given)
                require_same("The layer graph", program.spec, got, self._exactly(program))
                self._layers[id(program)] = Prepared(program, graph)
            return self._layers[id(program)]
        adapted = writer_of(row).adapt(program, job)
        if adapted.program is not program:
            got = float64_outputs(adapted.program, *self.given(program))
            exact = tuple(adapted.expected(self._exactly(program)))
            require_same(f"What {row.title}'s converter is given", program.spec, got, exact)
        return Prepared(adapted.program)

    def given(self, program: Program) -> tuple[torch.Tensor, ...]:
        """What a program of this size is given in a proof."""
        pixels = program.input.pixels
        return self._references.get(pixels=pixels).samples[-1].all_given(pixels=pixels)

    def _exactly(self, program: Program) -> tuple[np.ndarray, ...]:
        if id(program) not in self._exact:
            got = float64_outputs(program, *self.given(program))
            self._exact[id(program)] = (program, got)
        return self._exact[id(program)][1]


_NOT_ONE_LAYER = "several images at once, or another order of its channels: no layer of integers"


@dataclass(frozen=True)
class _AtSize:
    """A model at one size of its image; ``program`` is as traced, before any pass.

    Attributes:
        named: by the user; others are what a file with free axes is made from and checked at.
        dynamic: what files leave open.
        makes: a file with free axes is made from it.
    """

    program: Program
    references: _References
    preparation: _Preparation
    named: bool = True
    dynamic: str | None = None
    makes: bool = False

    @property
    def said(self) -> str:
        """What tells it from the others, in words."""
        return _said(self.program.input, self.dynamic)


@dataclass(frozen=True)
class _Attempt:
    """One file of a run that was written and executed, still in the workspace."""

    prepared: Prepared
    passes: tuple[PassReport, ...]
    session: Session
    parity: ParityReport
    seconds: dict[str, float]
    quantized: Quantized | None = None


@dataclass(frozen=True)
class _Run:
    """What the formats of one run share.

    Attributes:
        sizes: one, unless a file is to take several.
    """

    sizes: tuple[_AtSize, ...]
    work: Workspace
    config: ExportConfig
    seconds: dict[str, float]
    progress: Progress

    @property
    def first(self) -> _AtSize:
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
        with unwarned(not self.config.verbose), one_thread():
            attempt, left_out = self._best(row, path)
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
            files=() if final is None else (*row.files(final), *_records(final, attempt)),
            bytes=size,
            precision=row.precision(self.config.precision).name,
            seconds=seconds,
            parity=attempt.parity,
            left_out=left_out,
        )
        return report, (*attempt.passes, *_explained(attempt))

    def _best(self, row: Format, path: Path) -> tuple[_Attempt, tuple[str, ...]]:
        """With all passes or, where that fails, without those to blame; and their names."""
        problem: MobileExportError | None = None
        first: _Attempt | None = None
        if row.precision(self.config.precision).integers:
            return self._integers(row, path), ()
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
            _, passes = self.sizes[0].preparation.passed(row, self.config.no_passes)
            names = [report.name for report in passes if report.changes]
        except PassError:
            without = (*self.config.no_passes, *row.passes.without)
            names = [function.__name__ for function in select_passes(without, row.passes.add)]
        return [name for name in names if name not in ("normalize_ops", "operators")]

    def _attempt(self, row: Format, path: Path, without: Sequence[str] = ()) -> _Attempt:
        """Write the file and execute it; what an earlier attempt left there is replaced."""
        job = self.config.job(row, self.program.suppression)
        watch = _Stopwatch()
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
                prepared = [_freed(prepared, made_from, self.sizes)]
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
                        _names_of(session, each.program),
                    )
                    for session, each in zip(sessions, sizes, strict=True)
                ],
                [each.said for each in sizes],
            )
            notes = (*parity.notes, *_notes_on_sharing(row, prepared[0]))
        first = sessions[sizes.index(self.first)]
        parity = replace(parity, notes=notes)
        return _Attempt(prepared[0], passed[0][1], first, parity, watch.seconds)

    def _integers(self, row: Format, path: Path) -> _Attempt:
        """Write a file of integers and execute it."""
        job, options = self.config.job(row), self.config.quantization
        precision = job.precision.name
        watch = _Stopwatch()
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
                parity, session.class_names(), _names_of(session, self.program)
            )
        return _Attempt(
            prepared, quantized.passes, session, parity, watch.seconds, quantized=quantized
        )

    def _keep_plan(self, attempt: _Attempt) -> None:
        """Write the plan of a file that passed where the user wants it."""
        wanted = self.config.quantization.plan
        if attempt.quantized is not None and wanted is not None and attempt.parity.usable:
            write_plan(attempt.quantized.plan, wanted)

    def _expected(self, row: Format, attempt: _Attempt, size: _AtSize) -> Expected:
        """What a device must compute at one size: what the model does or, of integers, what their
        plan does."""
        session, names = attempt.session, [o.name for o in attempt.prepared.program.outputs]
        reference = _seen_by(session, size.references)
        if attempt.quantized is None:
            executed = [
                (row.precision(self.config.precision), session.arithmetic),
                *((precision_named(each.precision), each.arithmetic) for each in session.variants),
            ]
            steps = _steps(session, size.program)
            return expected_outputs(reference, names, executed, steps)
        samples = size.references.get(pixels=session.takes_pixels).samples[:1]
        outputs = tuple(plan_outputs(attempt.quantized, samples))
        facts = expected_outputs(replace(reference, samples=samples, outputs=outputs), names)
        held = {attempt.parity.precision: attempt.parity.tolerance}
        allowed = {name: value for name, value in held.items() if value <= MOST_ALLOWED}
        return msgspec.structs.replace(facts, tolerance=allowed)

    def _commit(self, row: Format, path: Path, attempt: _Attempt) -> Path:
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
            sizes=_size_records(row, [each.program for each in named], expected),
            passes=[report.to_dict() for report in attempt.passes],
            parity=attempt.parity.to_dict(),
            tools=installed_versions(row.libraries),
            nms=None if suppression is None else _nms_record(prepared, suppression),
            interface=file_interface(session, prepared),
            preprocessing=preprocessing(self.program),
            task=self.program.task if suppression is None else "detection",
        )
        others = (*row.companions_of(path), *(() if plan is None else (plan,)))
        companions = [file.name for file in others]
        return self.work.commit(path.name, manifest.to_dict(), companions)


def _explained(attempt: _Attempt) -> tuple[PassReport, ...]:
    """The plan of a file of integers, for those who want to see what was rewritten."""
    return () if attempt.quantized is None else (explained(attempt.quantized.carried_out),)


def _records(path: Path, attempt: _Attempt) -> tuple[Path, ...]:
    """What stands beside a file and is not needed to run it."""
    plan = () if attempt.quantized is None else (plan_path(path),)
    return (*plan, manifest_path(path))


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


def _made_from(images: Sequence[InputSpec], named: int, dynamic: str | None) -> int:
    """How many shapes, the first ones, a file with free axes is made from: of those that were
    named all, and one more where these do not tell height and width apart; it is checked in all."""
    if dynamic is not None:
        return 2
    if named < 2:
        return 1
    square = [height == width for height, width in (each.size for each in images)]
    return named + (all(square[:named]) and square[named : named + 1] == [False])


def _on_others(sizes: Sequence[str]) -> str:
    """What to say of the sizes that nobody named."""
    if not sizes:
        return (
            "Files with free height and width were checked at the sizes that were named only; the "
            "model takes none of the others that were tried."
        )
    return f"Files with free height and width were checked at {', '.join(sizes)}, too."


def _freed(
    prepared: Sequence[Prepared], sizes: Sequence[_AtSize], all_: Sequence[_AtSize]
) -> Prepared:
    """One program of what was prepared at several sizes, proven at each of them.

    Args:
        all_: also those that it is only checked at.

    Raises:
        ExportError: the graph depends on the size.
        PassError: the program computes something else at one of them.
    """
    free = with_free_axes([each.program for each in prepared])
    for each, size in zip(prepared, sizes, strict=True):
        given = size.preparation.given(each.program)
        exact = float64_outputs(each.program, *given)
        what = f"The graph for several sizes, at {size.said},"
        require_same(what, free.spec, float64_outputs(free, *given), exact)
    if sizes[0].dynamic is None:
        return Prepared(free, sizes=tuple(e.program.input.size for e in sizes if e.named))
    named = next(each for each in all_ if each.named).program
    outputs = named.outputs
    free = replace(free, input=replace(free.input, shape=named.input.shape), outputs=outputs)
    return Prepared(free, shapes=tuple(each.program.input.shape for each in all_))


def _size_records(
    row: Format, programs: Sequence[Program], expected: Sequence[Expected]
) -> tuple[Size, ...]:
    """What a manifest says of a file's sizes, the named ones first; nothing of a file of one."""
    if len(programs) == 1:
        return ()
    return tuple(
        Size(
            size=program.input.size,
            signature=None
            if row.one_graph
            else sizes_writer_of(row).signature_of(index, program.input.size),
            expected=each,
        )
        for index, (program, each) in enumerate(zip(programs, expected, strict=True))
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


_Captured = tuple[tuple[Program, _References], ...]


def _captured(
    load: Callable[[], Source],
    spec: str,
    formats: Sequence[Format],
    config: ExportConfig,
    sizes: Sequence[tuple[int, int]],
    dynamic: str | None,
    progress: Progress,
) -> _Captured:
    """`_capture` for an export, with the notes of one in its programs."""
    free = any(row.one_graph for row in formats)
    label = f"loading {spec}"
    captured = _capture(load, progress, label, config.samples, sizes, free=free, dynamic=dynamic)
    notes = notes_on(config.no_passes)
    if dynamic is not None:
        shapes = ", ".join(_said(each.input, dynamic) for each, _ in captured)
        notes = (*notes, f"Files leave the {dynamic} open; they were checked at {shapes}.")
    if any(row.any_size for row in formats) and len(sizes) > 1:
        notes = (*notes, _on_others([_said(each.input) for each, _ in captured[len(sizes) :]]))
    return tuple((replace(each, notes=(*each.notes, *notes)), own) for each, own in captured)


def _at_sizes(
    captured: _Captured,
    formats: Sequence[Format],
    config: ExportConfig,
    named: Sequence[int],
    dynamic: str | None,
    progress: Progress,
) -> tuple[_AtSize, ...]:
    """What was captured, with the passes that the formats share done where files are made from it.

    Args:
        named: which of it the user named.
    """
    images = [program.input for program, _ in captured]
    making = _made_from(images, len(named), dynamic)
    found = tuple(
        _AtSize(
            program,
            own,
            _Preparation(program, own, config, progress),
            named=index in named,
            dynamic=dynamic,
            makes=index < making,
        )
        for index, (program, own) in enumerate(captured)
    )
    for row in formats:
        if config.job(row).precision.integers:
            continue
        with suppress(Exception):  # raised again when the format is written
            for each in found:
                if not (each.named or each.makes):
                    continue
                each.preparation.passed(row, config.no_passes)
    return found


def export_program(
    load: Callable[[], Source],
    spec: str,
    formats: Sequence[Format],
    config: ExportConfig,
    *,
    name: str | None = None,
    sizes: Sequence[tuple[int, int]] = (),
    dynamic: str | None = None,
    progress: Progress = lambda stage: None,
    finished: Callable[[ArtifactReport | Failure], None] = lambda result: None,
) -> ExportReport:
    """Write one model in every format, tracing it once, and check every file.

    Args:
        load: makes the source; called after the destination was found to be writable.
        spec: the source as the user names it.
        name: file name without suffix; None derives it from ``spec``.
        sizes: (height, width) that every file takes, if these are several.
        dynamic: what every file leaves open, "batch" or "size".
        progress: told the current stage.
        finished: told what became of each format, at once.

    Raises:
        MobileExportError: nothing could be written. In a run with several formats, one that fails
            is a `Failure` of the report instead.
    """
    stem = artifact_stem(spec) if name is None else require_file_name(name)
    for row in formats:
        select_passes((*config.no_passes, *row.passes.without), row.passes.add)
        _require_integers(row, config, len(sizes), dynamic)
        row.require()
    names = [name for row in formats for name in _names(row, stem, config)]
    with Workspace(config.out_dir, names, force=config.force) as work:
        shared = _Stopwatch()
        with unwarned(not config.verbose), one_thread():
            with shared("load"):
                captured = _captured(load, spec, formats, config, sizes, dynamic, progress)
                named = range(max(len(sizes), 1)) if dynamic is None else [_named_in(captured)]
                program = captured[named[0]][0]
            for row in formats:
                check_processing(program, config.job(row).options)
                writer_of(row).check(program, config.job(row, program.suppression))
            with shared("parity"):
                progress("running the reference in float64")
                reference = captured[named[0]][1].get()
            if config.nms is not None:
                check_values(program, reference.outputs)
            with shared("passes"):
                progress("passes")
                at_sizes = _at_sizes(captured, formats, config, named, dynamic, progress)
        run = _Run(at_sizes, work, config, shared.seconds, progress)
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
        sizes=tuple(f"{h}x{w}" for h, w in sizes) if len(sizes) > 1 else (),
        failures=tuple(failures),
        passes=_by_format(passes),
        notes=(*program.notes, *_left_out_notes(artifacts)),
    )


def _named_in(captured: _Captured) -> int:
    """Which of the shapes that files leave open is the one that the user named, or the model's."""
    program = captured[0][0]
    images = program.asked.get("batch") or 1
    return [each.input.shape[0] for each, _ in captured].index(images)


def _names(row: Format, stem: str, config: ExportConfig) -> Iterator[str]:
    """The files that a format writes, without the manifest."""
    path = Path(stem + row.suffix)
    yield from (file.name for file in row.files(path))
    if config.job(row).precision.integers:
        yield plan_path(path).name


def _require_integers(row: Format, config: ExportConfig, sizes: int, dynamic: str | None) -> None:
    """Refuse a precision that the format lacks, or that needs what was not given.

    Raises:
        UsageError: it says which.
    """
    job = config.job(row)
    if not job.precision.integers:
        return
    require_calibration(job.precision.name, config.quantization)
    require_place(config.quantization)
    if sizes > 1 or dynamic is not None:
        asked = f"`dynamic` leaves the {dynamic} open"
        if dynamic is None:
            asked = f"`size` names {sizes} sizes"
        raise UsageError(
            f"{asked}, and files of integers are calibrated at one.",
            hint="Give one of them; or leave `precision` out.",
        )
    if job.nms is not None:
        raise UsageError(
            "Detectors that end with non-maximum suppression are not written with integers yet.",
            hint="Leave `nms` out; or leave `precision` out.",
        )


def _counted(progress: Progress, number: int, count: int) -> Progress:
    """Stages of one format of several: which one of how many it is."""
    return progress if count == 1 else lambda stage: progress(f"{number} of {count}: {stage}")


def _of_others(error: BaseException, row: Format) -> MobileExportError:
    """What one format raised, so that the others are written all the same."""
    if isinstance(error, MobileExportError):
        return error
    node = node_of(error)
    place = "" if node is None else f", at {call_at(node)}"
    failure = ExportError(
        f"{BUG} when it wrote the {row.title} file{place}: {summary(error)}",
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
        ((program, references),) = _capture(load, progress, samples=config.samples)
        program = replace(program, notes=(*program.notes, *notes_on(config.no_passes)))
        progress("running the reference in float64")
        reference = references.get()
        progress("passes")
        return run_passes(program, reference, chosen, progress)


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
    reference = _seen_by(session, references)
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
        output_names=[output.name for output in program.outputs],
        steps=_steps(session, program),
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


def _steps(session: Session, program: Program) -> list[float]:
    """Absolute errors of the runtime's own code for what each output ends with."""
    found = ends_in(program, session.steps)
    return [max((session.steps[name] for name in ends), default=0.0) for ends in found]


def _names_of(session: Session, program: Program) -> tuple[str, ...] | None:
    """What a file that was written from a program calls its classes."""
    return program.labels if session.detector is None else class_names(program)


def _names_for(
    session: Session,
    program: Program,
    references: _References,
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
    own = _names_of(session, program)
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
    sizes: Sequence[tuple[int, int]] = (),
    dynamic: str | None = None,
    names: Sequence[str] | None = None,
    layers: bool,
    verbose: bool,
    progress: Progress,
) -> tuple[ParityReport, LayerReport | None]:
    """Parity of an existing artifact and, with ``layers``, where it diverges from the model.

    In a file that passed nothing does: what has no counterpart in the model was rewritten.

    ``runtime`` is one of the row's others; None is the format's own. ``names`` are those of the
    classes that the manifest beside it has. A file of integers is held against the plan beside it,
    after the passes that its manifest names.
    """
    from .parity.localise import localise

    with unwarned(not verbose), one_thread():
        captured = _capture(
            load, progress, samples=samples, sizes=sizes, free=row.any_size, dynamic=dynamic
        )
        progress(f"{row.title}: checking")
        if precision.integers:
            session = loader_of(row, runtime)(path, captured[0][0].outputs)
            return _verify_integers(
                row, path, captured[0], precision, session, names, layers=layers
            )
        reports, sessions = [], []
        for program, references in captured:
            sessions.append(loader_of(row, runtime)(path, program.outputs))
            wanted = _names_for(sessions[-1], program, references, names)
            kept = bool(names) and sessions[-1].keeps_names(program, names or ())
            reports.append(
                check_parity(sessions[-1], program, references, precision, names=wanted, kept=kept)
            )
        said = [_said(program.input, dynamic) for program, _ in captured]
        parity = of_sizes(reports, said)
        (program, references), session = captured[0], sessions[0]
        if not layers:
            return parity, None
        progress(f"{row.title}: comparing layers")
        sample = references.get(pixels=session.takes_pixels).samples[0]
        found = localise(session, program, sample, parity.tolerance)
        return parity, replace(found, errors=()) if parity.passed else found


def _verify_integers(
    row: Format,
    path: Path,
    captured: tuple[Program, _References],
    precision: Precision,
    session: Session,
    names: Sequence[str] | None,
    *,
    layers: bool,
) -> tuple[ParityReport, LayerReport | None]:
    """Whether a file of integers is what the plan beside it says of the model, and good for it."""
    from .parity.localise import localise

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
    preparation = _Preparation(program, references, config)
    quantized = preparation.integers(row, precision.name)
    reference = references.get(pixels=session.takes_pixels)
    report = judge_integers(session, quantized, reference, options, precision.name)
    report = with_class_names(
        report,
        session.class_names(),
        _names_for(session, program, references, names),
        kept=bool(names) and session.keeps_names(program, names or ()),
    )
    if not layers:
        return report, None
    if quantized.plan.by_name("activation"):
        return report, localise_steps(session, quantized, reference.samples[0])
    found = localise(session, quantized.rounded, reference.samples[0], report.tolerance)
    return report, replace(found, errors=()) if report.faithful else found
