"""The Python interface: export, prepare, verify, inspect, create_model.

import mobile_export

model = mobile_export.create_model("emo_2m", weights="emo_2m.pth")
report = mobile_export.export(model, formats=("onnx", "tflite"), out_dir="out", name="emo_2m")
for artifact in report.artifacts:
    print(artifact.path, artifact.parity.max_rel, artifact.parity.passed)
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .detection.options import NmsOptions
from .errors import ArtifactError, UsageError
from .exporters.config import ExportConfig
from .exporters.table import (
    FORMATS,
    available_formats,
    format_of_file,
    get_format,
    require_batches,
    require_open,
    require_sizes,
    require_suppression,
)
from .quantization.options import QuantizationOptions
from .sources.request import ModelRequest
from .system.install import install_command, missing_extra

if TYPE_CHECKING:
    import torch

    from .artifacts.manifest import Manifest
    from .exporters.row import Format, Precision
    from .graph.program import Program
    from .graph.source import Source
    from .parity.localise import LayerReport
    from .parity.report import ParityReport
    from .passes import PassReport
    from .pipeline import ArtifactReport, ExportReport, Failure, Verified

__all__ = [
    "VerifyReport",
    "create_model",
    "diagnose",
    "export",
    "export_request",
    "inspect",
    "prepare",
    "prepare_request",
    "verify",
    "verify_request",
]


@dataclass(frozen=True)
class VerifyReport:
    """Parity of an existing artifact, and, on demand, the layers where it diverges.

    Attributes:
        allowed_by: in words, what says which error is allowed.
        stored: the lowest precision that is in the file.
        unlike: what of file and model is not what the manifest beside the file names; None without
            a manifest.
    """

    file: Path
    format: str
    parity: ParityReport
    layers: LayerReport | None = None
    allowed_by: str = ""
    stored: str = ""
    unlike: tuple[str, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "file": str(self.file),
            "format": self.format,
            "parity": self.parity.to_dict(),
            "layers": None if self.layers is None else self.layers.to_dict(),
            "allowed_by": self.allowed_by,
            "stored": self.stored,
            "unlike_manifest": None if self.unlike is None else list(self.unlike),
        }


def create_model(
    name: str,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    **options: Any,
) -> torch.nn.Module:
    """Build a model from any source, in eval mode, float32, on the CPU.

    Args:
        name: a built-in model (``emo_2m``), ``timm/NAME``, ``package.module:factory[?key=value]``
            from the current folder, or ``file.pt2``.
        options: the other attributes of `ModelRequest`: ``pretrained``, ``seed``, ``size``, ….

    Raises:
        UsageError: an option that is not valid, or that this kind of source does not take.
        SourceError: the model cannot be found or built, or the checkpoint does not fit.
    """
    from .sources.table import load_source, require_name

    require_name(name)
    request = ModelRequest.of(name, weights=weights, num_classes=num_classes, **options)
    return load_source(request).module


def export(
    model: str | torch.nn.Module,
    formats: Sequence[str] | str | None = None,
    out_dir: str | Path = ".",
    *,
    name: str | None = None,
    precision: str | None = None,
    force: bool = False,
    keep_failed: bool = False,
    verbose: bool = False,
    no_passes: Sequence[str] = (),
    samples: str | Path | None = None,
    nms: NmsOptions | None = None,
    quantization: QuantizationOptions | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> ExportReport:
    """Export a model and prove every file equal to it on this machine.

    Args:
        model: a source as for `create_model`, or a module: (1, C, H, W) -> tensor(s).
        formats: their names; None takes every format whose libraries are installed.
        out_dir: folder of the artifacts; made when it does not exist.
        name: file name without suffix; None derives it from the source.
        precision: a name of docs/precision.md ("fp32", "fp16", "int8", …); None takes each format's
            default.
        force: overwrite existing files.
        keep_failed: keep files whose parity failed.
        verbose: let the vendors' own output through.
        no_passes: names of graph passes to leave out (`mobile_export.passes`).
        samples: a folder of pictures (.png, .jpg) or arrays (.npy, .npz) that the files are checked
            on as well as on the inputs that are made here.
        nms: end the files of a detector with non-maximum suppression; with ``formats`` None, those
            of formats that have none keep boxes and scores.
        quantization: calibration, the plan's file and what must hold, for precisions of integers.
        progress: told the current stage.
        options: attributes of `ModelRequest` (``weights``, ``size``, ``labels``, …), and the
            options of a format under its name: ``coreml=CoreMLOptions(classifier=True)``.

    Returns:
        The report; an artifact that did not pass is in it, but its file is gone (``path`` is None)
        unless ``keep_failed``.

    Raises:
        MobileExportError: nothing could be written.
    """
    own = {row.name: options.pop(row.name, None) for row in FORMATS}
    config = ExportConfig(
        out_dir=Path(out_dir),
        force=force,
        keep_failed=keep_failed,
        precision=precision,
        verbose=verbose,
        no_passes=tuple(no_passes),
        samples=None if samples is None else Path(samples),
        nms=nms,
        quantization=quantization or QuantizationOptions(),
        options={key: value for key, value in own.items() if value is not None},
    )
    request = ModelRequest.of(model, **options)
    return export_request(request, formats, config, name=name, progress=progress)


def export_request(
    request: ModelRequest,
    formats: Sequence[str] | str | None,
    config: ExportConfig,
    *,
    name: str | None = None,
    progress: Callable[[str], None] | None = None,
    finished: Callable[[ArtifactReport | Failure], None] = lambda result: None,
    apart: bool = False,
) -> ExportReport:
    """`export`, its arguments already in the two objects that are passed on.

    Args:
        finished: told what became of each format, at once.
        apart: a converter that crashes loses its own format only (`pipeline.export_program`).
    """
    from .sources.table import load_source, require_name

    require_name(request.model)
    from .pipeline import export_program

    chosen = _formats(formats)
    skipped = {
        row.name: str(missing_extra(row.title, row.missing()[0], row.extra))
        for row in FORMATS
        if formats is None and row not in chosen
    }
    if formats is None and config.precision is not None:
        chosen, lacking = _having(config.precision, chosen)
        skipped |= lacking
    for number, require, asked_for in (
        (request.batch or 1, require_batches, "batch"),
        (len(request.sizes), require_sizes, "size"),
    ):
        if number > 1:
            _require_no_suppression(config, asked_for)
            chosen, others = _able(chosen, require, asked=formats is not None)
            skipped |= others
    if request.dynamic is not None:
        _require_no_suppression(config, "dynamic")
        require = partial(require_open, what=request.dynamic)
        chosen, others = _able(chosen, require, asked=formats is not None)
        skipped |= others
    if config.nms is not None and formats is not None:
        for row in chosen:
            require_suppression(row)
    report = export_program(
        lambda: load_source(request),
        request.spec,
        chosen,
        config,
        name=name,
        sizes=request.sizes,
        dynamic=request.dynamic,
        progress=progress or (lambda stage: None),
        finished=finished,
        apart=apart,
    )
    hosted = [row.title for row in chosen if config.nms is not None and not row.suppresses]
    if hosted:
        note = (
            f"{' and '.join(hosted)}: these files give all boxes with their scores, many around "
            "the same object; your app has to keep the best of each (non-maximum suppression), "
            "which the format cannot. docs/detection.md has the code to port"
        )
        report = replace(report, notes=(*report.notes, note))
    return replace(report, skipped=skipped)


def _require_no_suppression(config: ExportConfig, asked: str) -> None:
    """Refuse suppression inside files of several images or sizes."""
    if config.nms is not None:
        raise UsageError(
            f"`nms` is for one image of one size at a time, and `{asked}` asks for several.",
            hint="Leave one of them out; without `nms`, the app suppresses the boxes of each image "
            "(docs/detection.md).",
        )


def _able(
    rows: Sequence[Format], require: Callable[[Format], None], *, asked: bool
) -> tuple[tuple[Format, ...], dict[str, str]]:
    """The formats that ``require`` takes, and why the others are left out.

    Args:
        asked: the user named the formats.

    Raises:
        UsageError: he named one that it does not take, or none is left.
    """
    chosen: list[Format] = []
    left_out: dict[str, str] = {}
    for row in rows:
        try:
            require(row)
            chosen.append(row)
        except UsageError as error:
            if asked or len(left_out) + 1 == len(rows):
                raise
            left_out[row.name] = error.message
    return tuple(chosen), left_out


def prepare(
    model: str | torch.nn.Module,
    example: torch.Tensor | None = None,
    *,
    no_passes: Sequence[str] = (),
    samples: str | Path | None = None,
    explain: Callable[[PassReport], None] | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> Program:
    """Fold and merge what can be, exactly, and stop there: for people who want the model only.

        program = mobile_export.prepare(module, torch.zeros(1, 3, 224, 224))
        folded = program.module()    # a plain torch.nn.Module, float32

    Args:
        model: a source as for `create_model`, or a module, which is not changed.
        example: an input (N, C, H, W), of which only the shape counts; or give ``size``.
        no_passes: names of graph passes to leave out.
        samples: as for `export`.
        explain: told what each pass rewrote and refused.
        progress: told the current stage.
        options: attributes of `ModelRequest`.

    Returns:
        The program, proven equal to the model in float64 to 1e-9 of the output range.

    Raises:
        MobileExportError: the model cannot be loaded or traced.
    """
    if example is not None:
        if example.ndim != 4 or 0 in example.shape:
            raise UsageError(
                f"The example has shape {tuple(example.shape)}.",
                hint="Give images: (batch, channels, height, width).",
            )
        batch, channels, height, width = example.shape
        given = {"size": (height, width), "channels": channels}
        options = {**options, **given, **({"batch": batch} if batch > 1 else {})}
    request = ModelRequest.of(model, **options)
    folder = None if samples is None else Path(samples)
    config = ExportConfig(no_passes=tuple(no_passes), samples=folder)
    return prepare_request(request, config, explain=explain, progress=progress)


def prepare_request(
    request: ModelRequest,
    config: ExportConfig,
    *,
    explain: Callable[[PassReport], None] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Program:
    """`prepare`, its arguments already in the two objects that are passed on."""
    from .sources.table import load_source, require_name

    request.require_one_size()
    require_name(request.model)
    from .pipeline import prepare_program

    program, reports = prepare_program(
        lambda: load_source(request), config, progress or (lambda stage: None)
    )
    if explain is not None:
        for report in reports:
            explain(report)
    return program


def verify(
    file: str | Path,
    model: str | torch.nn.Module | None = None,
    *,
    precision: str | None = None,
    runtime: str | None = None,
    samples: str | Path | None = None,
    layers: bool = False,
    verbose: bool = False,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> VerifyReport:
    """Repeat parity on an existing artifact.

    Args:
        file: an artifact of any supported format.
        model: what it was exported from; without ``size``, built for the size that the file has.
            None is what the manifest beside the file names, with its weights and options, unless
            that is code of somebody's own (`sources.again`).
        precision: that the file was asked to have, which says what is allowed; None takes that of
            the manifest beside it or, without one, the default of its format. A manifest cannot
            allow a file more than the precision that is found in it does.
        runtime: what executes the file, one of the format's other runtimes (``openvino`` for ONNX);
            None is the one that also checks exports.
        samples: as for `export`.
        layers: also find the first tensors whose error passes the tolerance.
        verbose: let the vendors' own output through.
        progress: told the current stage.
        options: attributes of `ModelRequest`.

    Raises:
        MobileExportError: the file or the model cannot be loaded.
    """
    return verify_request(
        file,
        model,
        options,
        precision=precision,
        runtime=runtime,
        samples=None if samples is None else Path(samples),
        layers=layers,
        verbose=verbose,
        progress=progress,
    )


def verify_request(
    file: str | Path,
    model: str | torch.nn.Module | None,
    options: Mapping[str, Any],
    *,
    precision: str | None = None,
    runtime: str | None = None,
    samples: Path | None = None,
    layers: bool = False,
    verbose: bool = False,
    progress: Callable[[str], None] | None = None,
) -> VerifyReport:
    """`verify`, with the attributes of `ModelRequest` that were given in one mapping."""
    from .exporters.apart import describe_apart
    from .sources.table import load_source, require_name

    path = Path(file)
    require_name(model)
    from .pipeline import verify_artifact

    request = None if model is None else ModelRequest.of(model, **options)
    row = format_of_file(path)
    row.require()
    if runtime is not None:
        row.other_runtime(runtime)
    manifest = _manifest_of(path, needed=request is None)
    facts = describe_apart(row, path, run=True)
    wanted, sizes = _wanted(path, request, options, facts, manifest)
    loaded: list[Source] = []

    def load() -> Source:
        loaded.append(load_source(wanted))
        return loaded[0]

    asked, allowed_by = _asked_precision(row, path, precision, facts)
    verified = verify_artifact(
        row,
        path,
        load,
        asked,
        runtime=runtime,
        samples=samples,
        sizes=sizes,
        dynamic=wanted.dynamic,
        names=None if manifest is None else manifest.class_names,
        task=None if manifest is None else manifest.task,
        layers=layers,
        verbose=verbose,
        progress=progress or (lambda stage: None),
    )
    unlike = None if manifest is None else _unlike(path, manifest, wanted, loaded[0], verified)
    stored = str(facts["precision"])
    return VerifyReport(
        path, row.name, verified.parity, verified.layers, allowed_by, stored, unlike
    )


def _wanted(
    path: Path,
    request: ModelRequest | None,
    options: Mapping[str, Any],
    facts: dict[str, Any],
    manifest: Manifest | None,
) -> tuple[ModelRequest, tuple[tuple[int, int], ...]]:
    """What to build the model of a file by, and the sizes to compare it at, where it has several.

    Args:
        request: the model that the user named; None: the one that the manifest names.
        options: that the user gave, which come before what file and manifest say.
        facts: of the file.
    """
    from .sources.again import request_again

    size = _size_in_file(facts)
    if manifest is not None and (manifest.sizes or _is_open(manifest)):
        size = manifest.input.shape[2], manifest.input.shape[3]
    if request is None:
        assert manifest is not None
        fitting = {} if size is None else {"size": size}
        request = request_again(manifest, path, {**fitting, **options})
    elif request.input is None and request.example_inputs is None:
        request = replace(
            request,
            size=request.size or size,
            batch=request.batch or _batch_in_file(facts, size),
        )
    if manifest is not None and manifest.build is not None and request.dynamic is None:
        request = replace(request, dynamic=manifest.build.dynamic)
    sizes = request.sizes
    if manifest is not None and len(sizes) < 2 and "size" not in options:
        sizes = tuple(each.size for each in manifest.sizes)
    return request, sizes


def _unlike(
    path: Path,
    manifest: Manifest,
    request: ModelRequest,
    source: Source,
    verified: Verified,
) -> tuple[str, ...]:
    """Which of file, model and weights is not what the manifest beside the file names, and whether
    what it names computes what it expects.
    """
    from .artifacts.manifest import other_files
    from .exporters.record import unlike_interface
    from .sources.again import unlike_expected, unlike_manifest

    exchanged = (
        f"{file} is not the file that the manifest names: its SHA-256 differs"
        for file in other_files(path, manifest)
    )
    unlike = tuple(unlike_manifest(manifest, request, source))
    if not unlike:
        unlike = tuple(unlike_expected(manifest, verified.sample, verified.outputs))
    if verified.interface is not None and manifest.interface is not None:
        unlike = (*unlike, *unlike_interface(manifest.interface, verified.interface))
    return (*exchanged, *unlike)


def _manifest_of(path: Path, *, needed: bool) -> Manifest | None:
    """The manifest beside a file; where it is not ``needed``, None instead of an error.

    Raises:
        UsageError: there is none, and nobody named the model.
    """
    from .artifacts.manifest import read_manifest
    from .artifacts.names import manifest_path

    if needed and os.path.lexists(path) and not os.path.lexists(manifest_path(path)):
        raise UsageError(
            f"{path} has no manifest ({manifest_path(path).name}) that says which model it is of.",
            hint=f"Name the model: {shlex.join(['mobile-export', 'verify', str(path)])} MODEL",
        )
    try:
        return read_manifest(path)
    except ArtifactError:
        if needed:
            raise
        return None  # whoever named model and precision needs none


def inspect(file: str | Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters, size and precision of an artifact, JSON-ready.

    Raises:
        ArtifactError: the file does not exist, is damaged, or is of no known format.
    """
    from .artifacts.content import size_of
    from .exporters.apart import describe_apart

    path = Path(file)
    row = format_of_file(path)
    row.require()
    return {
        "file": str(path),
        "format": row.name,
        "bytes": sum(size_of(part) for part in row.files(path)),
        **describe_apart(row, path),
    }


def _having(precision: str, rows: tuple[Format, ...]) -> tuple[tuple[Format, ...], dict[str, str]]:
    """The formats that are written in a precision, and by name why the others are not.

    Raises:
        UsageError: none is.
    """
    able = tuple(row for row in rows if precision in {each.name for each in row.precisions})
    if not able:
        raise UsageError(
            f"No format that is installed is written in {precision}.",
            hint="Leave `precision` out.",
        )
    others = (row for row in rows if row not in able)
    return able, {
        row.name: f"no {precision}: {row.lacks.get(precision, 'it has none')}" for row in others
    }


def _formats(formats: Sequence[str] | str | None) -> tuple[Any, ...]:
    if formats is None:
        chosen = available_formats()
        if not chosen:
            FORMATS[0].require()
        return chosen
    names = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not names:
        raise UsageError("No format was asked for.", hint="Name at least one, e.g. formats='onnx'.")
    return tuple(get_format(name) for name in names)


def _asked_precision(
    row: Format, path: Path, given: str | None, facts: dict[str, Any]
) -> tuple[Precision, str]:
    """The precision that says which error is allowed, and in words where it is from.

    Args:
        given: by the user.
        facts: what `describe` found in the file.
    """
    from .artifacts.manifest import read_manifest
    from .artifacts.names import manifest_path

    if given is not None:
        return row.precision(given), f"{given}, as was asked for"
    if not os.path.lexists(manifest_path(path)):
        default = row.precision(None)
        return default, f"{default.name}, the default of {row.title} files (no manifest)"
    asked = row.precision(read_manifest(path).precision)
    found = next((each for each in row.precisions if each.name == facts["precision"]), asked)
    if found.tolerance.limit < asked.tolerance.limit:
        return found, (
            f"{found.name}, which is what the file holds; its manifest says {asked.name}, which "
            f'would allow more (`precision="{asked.name}"` does)'
        )
    return asked, f"{asked.name}, as the manifest beside the file says"


def diagnose() -> dict[str, Any]:
    """Per format: can it export here, what executes it here, which versions, what to install.

    Returns:
        JSON-ready: {"python", "system", "on_macos", "core": [check], "targets": [{"name", "title",
        "export", "run", "runs_in", "checks", "fix"}], "optional": [{"extra", "purpose", "checks",
        "fix"}], "tools": [{"name", "purpose", "found": [{"path", "sha256", "build"}], "ways"}],
        "apps": [{"name", "package", "found"}]}, what builds a sample app without Gradle.
    """
    from .apps.template import programs
    from .bench import binaries
    from .system.versions import CORE, OPTIONAL, check_library, this_machine

    rows = []
    for row in FORMATS:
        missing = row.missing()
        checks = [check_library(library, row.extra) for library in row.libraries]
        rows.append(
            {
                "name": row.name,
                "title": row.title,
                "export": not missing,
                "run": not missing,
                "runs_in": row.checked_by,
                "checks": [check.to_dict() for check in checks],
                "fix": install_command(row.extra) if missing else None,
            }
        )
    core = [check_library(library).to_dict() for library in CORE]
    optional: list[dict[str, Any]] = []
    for extra in OPTIONAL:
        checks = [check_library(library, extra.name) for library in extra.libraries]
        optional.append(
            {
                "extra": extra.name,
                "purpose": extra.purpose,
                "checks": [check.to_dict() for check in checks],
                "fix": next((check.fix for check in checks if not check.ok), None),
            }
        )
    tool = {
        "name": binaries.NAME,
        "purpose": "timing TFLite files on Android",
        "found": binaries.find_builds(),
        "ways": list(binaries.WAYS),
    }
    return {
        **this_machine(),
        "core": core,
        "targets": rows,
        "optional": optional,
        "tools": [tool],
        "apps": [vars(program) for program in programs()],
    }


def _is_open(manifest: Manifest) -> bool:
    """Whether the file takes any number of images, or images of any size."""
    return manifest.build is not None and manifest.build.dynamic is not None


def _batch_in_file(facts: dict[str, Any], size: tuple[int, int] | None) -> int | None:
    """Images that a file takes at a time, if these are several; ``size`` is that of the images."""
    images = facts["inputs"][0]["shape"][0] if size is not None else 1
    return images if isinstance(images, int) and images > 1 else None


def _size_in_file(facts: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a file's image input, NCHW or NHWC."""
    shape = facts["inputs"][0]["shape"]
    if len(shape) != 4 or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    if shape[1] > 4 >= shape[3]:
        return shape[1], shape[2]
    return shape[2], shape[3]
