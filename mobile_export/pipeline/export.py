"""One model in every format that was asked for, traced once."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..artifacts.names import (
    artifact_stem,
    plan_path,
    require_file_name,
)
from ..artifacts.workspace import Workspace
from ..detection.contract import check_values
from ..errors import (
    BUG,
    ExportError,
    MobileExportError,
    UsageError,
    summary,
)
from ..exporters.config import ExportConfig
from ..exporters.interface import (
    writer_of,
)
from ..exporters.processing import check_processing
from ..exporters.row import Format
from ..exporters.table import get_format
from ..graph.raised import call_at, node_of
from ..graph.source import Source
from ..passes import PassReport, notes_on, select_passes
from ..quantization.quantized import (
    require_calibration,
    require_plan,
)
from ..system.forked import CAN_FORK, Died, from_a_copy
from ..system.quiet import unwarned
from ..system.threads import one_thread

if TYPE_CHECKING:
    pass
from .captured import Captured, Progress, capture, said
from .preparation import Preparation
from .reports import ArtifactReport, ExportReport, Failure, by_format, left_out_notes
from .sizes import AtSize, _made_from, _on_others
from .write import Run, Stopwatch

__all__ = ["export_program"]


def _captured(
    load: Callable[[], Source],
    spec: str,
    formats: Sequence[Format],
    config: ExportConfig,
    sizes: Sequence[tuple[int, int]],
    dynamic: str | None,
    progress: Progress,
) -> Captured:
    """`capture` for an export, with the notes of one in its programs."""
    free = any(row.one_graph or row.any_size for row in formats)
    label = f"loading {spec}"
    captured = capture(load, progress, label, config.samples, sizes, free=free, dynamic=dynamic)
    notes = notes_on(config.no_passes)
    if dynamic is not None:
        shapes = ", ".join(said(each.input, dynamic) for each, _ in captured)
        notes = (*notes, f"Files leave the {dynamic} open; they were checked at {shapes}.")
    if any(row.any_size for row in formats) and len(sizes) > 1:
        notes = (*notes, _on_others([said(each.input) for each, _ in captured[len(sizes) :]]))
    return tuple((replace(each, notes=(*each.notes, *notes)), own) for each, own in captured)


def _at_sizes(
    captured: Captured,
    formats: Sequence[Format],
    config: ExportConfig,
    named: Sequence[int],
    dynamic: str | None,
    progress: Progress,
) -> tuple[AtSize, ...]:
    """What was captured, with the passes that the formats share done where files are made from it.

    Args:
        named: which of it the user named.
    """
    images = [program.input for program, _ in captured]
    making = _made_from(images, len(named), dynamic)
    found = tuple(
        AtSize(
            program,
            own,
            Preparation(program, own, config, progress),
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
    apart: bool = False,
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
        apart: several formats are written in a copy of this process, where the system has that, so
            that a converter that crashes loses its own format only. For commands: a host program
            may have threads.

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
        shared = Stopwatch()
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
        run = Run(at_sizes, work, config, shared.seconds, progress)
        artifacts: list[ArtifactReport] = []
        passes: dict[str, tuple[PassReport, ...]] = {}
        failures: list[Failure] = []
        write = _written_apart if apart and _may_copy(formats) else _written
        for result, done in write(run, formats, stem):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                artifacts.append(result)
                passes[result.format] = done
            finished(result)
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
        passes=by_format(passes),
        notes=(*program.notes, *left_out_notes(artifacts)),
    )


_Written = tuple[ArtifactReport | Failure, tuple[PassReport, ...]]


def _written(
    run: Run, formats: Sequence[Format], stem: str, count: int | None = None
) -> Iterator[_Written]:
    """What became of each format, and its passes.

    Args:
        count: how many formats the user asked for; these are the last of them.
    """
    count = count or len(formats)
    for number, row in enumerate(formats, count - len(formats) + 1):
        here = replace(run, progress=_counted(run.progress, number, count))
        try:
            yield here.write(row, stem)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a converter of others failed; Rust panics, too
            if count == 1:
                raise
            yield Failure(row.name, _of_others(error, row)), ()


def _may_copy(formats: Sequence[Format]) -> bool:
    """Whether this process can be copied: no library of a vendor has started threads in it."""
    modules = (library.module for row in formats for library in row.libraries)
    return len(formats) > 1 and CAN_FORK and not any(name in sys.modules for name in modules)


def _written_apart(run: Run, formats: Sequence[Format], stem: str) -> Iterator[_Written]:
    """`_written` in a copy of this process; after one that died, the next formats in another."""
    left = list(formats)

    def work(send: Callable[[Any], None]) -> None:
        here = replace(run, progress=lambda stage: send(stage))
        for result, done in _written(here, left, stem, len(formats)):
            send((result, done))

    while left:
        try:
            for said in from_a_copy(work):
                if isinstance(said, str):
                    run.progress(said)
                    continue
                left.pop(0)
                yield said
        except Died as death:
            row = left.pop(0)
            yield Failure(row.name, _crashed(row, death)), ()


def _crashed(row: Format, death: Died) -> ExportError:
    return ExportError(
        f"The process that wrote the {row.title} file ended ({death}): what converts or runs such "
        "files crashed.",
        hint=f"Nothing of it was kept. `{row.name}` alone with `verbose=True` shows what was said.",
    )


def _named_in(captured: Captured) -> int:
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
    require_plan(config.quantization)
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
