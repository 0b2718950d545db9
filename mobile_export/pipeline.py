"""The pipeline: source -> Program -> passes -> exporter -> artifact -> runtime -> parity report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .artifacts.content import size_of
from .artifacts.manifest import artifact_manifest
from .artifacts.names import artifact_stem, manifest_path
from .artifacts.workspace import Workspace
from .config import ExportConfig
from .detection import Detections
from .detection.contract import check_values, pick
from .errors import BUG, ArtifactError, ExportError, MobileExportError
from .exporters.row import Target
from .graph.capture import trace
from .graph.program import Program
from .parity.detections import with_detections
from .parity.judge import judge
from .parity.reference import Reference, make_reference, with_activation
from .parity.report import ParityReport
from .parity.samples import parity_samples, pixel_samples
from .parity.session import Session
from .passes import PassReport, PassRunner, run_passes, select_passes
from .sources.table import Source
from .system.quiet import quiet
from .system.threads import one_thread

if TYPE_CHECKING:
    from .parity.localise import LayerReport

__all__ = [
    "ArtifactReport",
    "ExportReport",
    "Failure",
    "check_parity",
    "export_program",
    "prepare_program",
    "verify_artifact",
]

Progress = Callable[[str], None]


@dataclass(frozen=True)
class ArtifactReport:
    """One artifact: where it is, how long each stage took, and how it compares with the model.

    Attributes:
        path: final path, or None when the file was removed because it did not pass.
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
        passes: of all formats; one that differs between them stands there once for each result.
    """

    source: str
    weights: str
    weights_kind: str
    input_shape: tuple[int, ...]
    artifacts: tuple[ArtifactReport, ...]
    failures: tuple[Failure, ...] = ()
    passes: tuple[PassReport, ...] = ()
    notes: tuple[str, ...] = ()
    skipped: dict[str, str] = field(default_factory=dict)

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
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


class _References:
    """The reference of a model, computed once for normalised inputs and once for pixels."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._made: dict[bool, Reference] = {}

    def get(self, *, pixels: bool = False) -> Reference:
        if pixels not in self._made:
            samples = (pixel_samples if pixels else parity_samples)(self._source.input)
            self._made[pixels] = make_reference(self._source.module, samples)
        return self._made[pixels]


def _capture(
    load: Callable[[], Source], progress: Progress, label: str = "loading"
) -> tuple[Program, _References]:
    """Load and trace a model; its references are computed when they are asked for."""
    progress(label)
    source = load()
    progress("tracing")
    return trace(source), _References(source)


@dataclass(frozen=True)
class _Run:
    """What the formats of one run share; ``program`` is as traced, before any pass."""

    program: Program
    references: _References
    work: Workspace
    config: ExportConfig
    seconds: dict[str, float]
    progress: Progress

    def write(
        self, target: Target, stem: str, prepared: Program, passes: tuple[PassReport, ...]
    ) -> ArtifactReport:
        """Write, execute and judge one artifact, and move it into place when it passed."""
        path = self.work.path(stem + target.suffix)
        precision = target.precision(self.config.precision)
        watch = _Stopwatch()
        with quiet(not self.config.verbose), one_thread():
            with watch("export"):
                self.progress(f"{target.title}: exporting")
                _write(target, prepared, path, self.config.of(target), precision)
            with watch("parity"):
                self.progress(f"{target.title}: checking")
                session = self._load(target, path)
                parity = check_parity(session, self.program, self.references)
        size = sum(size_of(file) for file in target.files(path))
        final = None
        if parity.passed or self.config.keep_failed:
            reference = _seen_by(session, self.references)
            suppression = None if session.detector is None else session.detector.suppression
            manifest = artifact_manifest(
                prepared, path, target, precision, passes, parity, reference, suppression
            )
            companions = [file.name for file in target.companions(path)]
            final = self.work.commit(path.name, manifest, companions)
        return ArtifactReport(
            format=target.name,
            path=final,
            files=() if final is None else (*target.files(final), manifest_path(final)),
            bytes=size,
            precision=precision,
            seconds={
                **self.seconds,
                **watch.seconds,
                "parity": self.seconds["parity"] + watch.seconds["parity"],
            },
            parity=parity,
        )

    def _load(self, target: Target, path: Path) -> Session:
        """What was just written. That it does not load is our mistake, not the user's."""
        try:
            return target.runtime().load(path, self.program.outputs)
        except ArtifactError as error:
            raise ExportError(
                f"{BUG}: it wrote a {target.title} file that does not load: {error.message}",
                hint="Nothing was kept. Please report it with the model; try another --format.",
            ) from error


def export_program(
    load: Callable[[], Source],
    spec: str,
    targets: Sequence[Target],
    config: ExportConfig,
    *,
    name: str | None = None,
    progress: Progress = lambda stage: None,
) -> ExportReport:
    """Write one model in every format of ``targets``, tracing it once, and check every file.

    Args:
        load: makes the source; called after the destination was found to be writable.
        spec: the source as the user names it.
        name: file name without suffix; None derives it from ``spec``.
        progress: told the current stage.

    Raises:
        MobileExportError: nothing could be written. In a run with several formats, one that fails
            is a `Failure` of the report instead.
    """
    stem = name or artifact_stem(spec)
    chosen = {
        target.name: select_passes((*config.no_passes, *target.without_passes), target.extra_passes)
        for target in targets
    }
    for target in targets:
        target.precision(config.precision)
        target.require()
    names = [f.name for target in targets for f in target.files(Path(stem + target.suffix))]
    with Workspace(config.out_dir, names, force=config.force) as work:
        shared = _Stopwatch()
        with quiet(not config.verbose), one_thread():
            with shared("load"):
                program, references = _capture(load, progress, f"loading {spec}")
            for target in targets:
                target.exporter().check(program, config.of(target))
            with shared("parity"):
                progress("running the reference in float64")
                reference = references.get()
            if config.nms is not None:
                check_values(program, reference.outputs)
            with shared("passes"):
                progress("passes")
                runner = PassRunner(program, reference)
                prepared = {passes: runner.run(passes) for passes in dict.fromkeys(chosen.values())}
        run = _Run(program, references, work, config, shared.seconds, progress)
        artifacts: list[ArtifactReport] = []
        failures: list[Failure] = []
        for target in targets:
            try:
                artifacts.append(run.write(target, stem, *prepared[chosen[target.name]]))
            except MobileExportError as error:
                if len(targets) == 1:
                    raise
                failures.append(Failure(target.name, error))
    return ExportReport(
        source=spec,
        weights=program.weights.describe(),
        weights_kind=program.weights.kind,
        input_shape=program.input.shape,
        artifacts=tuple(artifacts),
        failures=tuple(failures),
        passes=_by_format({name: prepared[passes][1] for name, passes in chosen.items()}),
        notes=program.notes,
    )


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
    with quiet(not config.verbose), one_thread():
        program, references = _capture(load, progress)
        progress("running the reference in float64")
        reference = references.get()
        progress("passes")
        return run_passes(program, reference, chosen)


def _write(
    target: Target, program: Program, path: Path, config: ExportConfig, precision: str
) -> None:
    try:
        target.exporter().export(program, path, config, precision)
    except OSError as error:
        raise ArtifactError(
            f"Cannot write {path.name} to {config.out_dir}: {error.strerror or error}.",
            hint="Free some space, or choose another folder with -o DIR.",
        ) from error


def check_parity(session: Session, program: Program, references: _References) -> ParityReport:
    """Execute an artifact on every parity sample and compare it with the original model."""
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
        precision=session.precision,
        runtime=session.runtime,
        emulated=session.emulated,
        output_names=[output.name for output in program.outputs],
    )
    if detector is not None:
        exact, inside = (
            [pick(program, outputs) for outputs in each] for each in (reference.outputs, results)
        )
        report = with_detections(report, detector.suppression, exact, inside, found)
    others = tuple(check_parity(other, program, references) for other in session.others)
    return replace(report, others=others)


def _seen_by(session: Session, references: _References) -> Reference:
    """The reference for the input that an artifact takes and the activation that it adds."""
    return with_activation(references.get(pixels=session.takes_pixels), session.activation)


def verify_artifact(
    target: Target,
    path: Path,
    load: Callable[[], Source],
    *,
    layers: bool,
    verbose: bool,
    progress: Progress,
) -> tuple[ParityReport, LayerReport | None]:
    """Parity of an existing artifact and, with ``layers``, where it diverges from the model."""
    from .parity.localise import localise

    with quiet(not verbose), one_thread():
        program, references = _capture(load, progress)
        progress(f"{target.title}: checking")
        session = target.runtime().load(path, program.outputs)
        parity = check_parity(session, program, references)
        if not layers:
            return parity, None
        progress(f"{target.title}: comparing layers")
        sample = references.get(pixels=session.takes_pixels).samples[0]
        return parity, localise(session, program, sample, parity.tolerance)
