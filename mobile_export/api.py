"""The Python interface; every command of ``mobile-export`` is one of these calls.

import mobile_export

model = mobile_export.create_model("emo_2m", weights="emo_2m.pth")
report = mobile_export.export(model, formats=("onnx", "tflite"), out_dir="out", name="emo_2m")
for artifact in report.artifacts:
    print(artifact.path, artifact.parity.max_rel, artifact.parity.passed)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from .config import ExportConfig
from .detection.options import NmsOptions
from .errors import MissingExtraError, UsageError
from .exporters.coreml.options import CoreMLOptions
from .exporters.table import TARGETS, available_targets, get_target, target_of_file
from .exporters.tflite.options import TFLiteOptions

if TYPE_CHECKING:
    import torch

    from .graph.program import Program
    from .parity.localise import LayerReport
    from .parity.report import ParityReport
    from .passes import PassReport
    from .pipeline import ExportReport
    from .sources.table import Request, Source

__all__ = [
    "SourceOptions",
    "VerifyReport",
    "create_model",
    "export",
    "inspect",
    "prepare",
    "verify",
]

Size = int | tuple[int, int]


class SourceOptions(TypedDict, total=False):
    """How a model is built; keyword arguments of `export` and `verify`.

    Keys:
        weights: checkpoint (.pth, .pt, .safetensors); without it, and without ``pretrained``, a zoo
            or timm model gets seeded random weights.
        num_classes: size of the classifier; the model's own by default.
        pretrained: download the weights (``timm/NAME`` only).
        allow_missing: let a changed classifier keep its random weights.
        seed: of the random weights, 0 by default.
        size: input size in pixels, one number or (height, width); the model's own by default.
        channels: input channels of a user's own model; the model's own by default, else 3.
        mean, std: normalisation per channel of pixels scaled to [0, 1].
    """

    weights: str | Path | None
    num_classes: int | None
    pretrained: bool
    allow_missing: bool
    seed: int
    size: Size | None
    channels: int | None
    mean: Sequence[float] | None
    std: Sequence[float] | None


@dataclass(frozen=True)
class VerifyReport:
    """Parity of an existing artifact, and, on demand, the layers where it diverges."""

    file: Path
    format: str
    parity: ParityReport
    layers: LayerReport | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "file": str(self.file),
            "format": self.format,
            "parity": self.parity.to_dict(),
            "layers": None if self.layers is None else self.layers.to_dict(),
        }


def create_model(
    name: str,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    *,
    pretrained: bool = False,
    seed: int = 0,
    allow_missing: bool = False,
    size: Size | None = None,
) -> torch.nn.Module:
    """Build a model from any source, in eval mode, float32, on the CPU.

    Args:
        name: a zoo name (``emo_2m``), ``timm/NAME``, ``package.module:factory[?key=value]`` from
            the current folder, or ``file.pt2``.

    The other arguments are those of `SourceOptions`.

    Raises:
        SourceError: the model cannot be found or built, or the checkpoint does not fit.
    """
    return _source(
        name,
        _request(
            {
                "weights": weights,
                "num_classes": num_classes,
                "pretrained": pretrained,
                "seed": seed,
                "allow_missing": allow_missing,
                "size": size,
            }
        ),
    ).module


def export(
    model: str | torch.nn.Module,
    formats: Sequence[str] | str | None = None,
    out_dir: str | Path = ".",
    *,
    name: str | None = None,
    labels: Sequence[str] | None = None,
    precision: str | None = None,
    force: bool = False,
    keep_failed: bool = False,
    verbose: bool = False,
    no_passes: Sequence[str] = (),
    coreml: CoreMLOptions | None = None,
    tflite: TFLiteOptions | None = None,
    nms: NmsOptions | None = None,
    progress: Callable[[str], None] | None = None,
    **source: Unpack[SourceOptions],
) -> ExportReport:
    """Export a model and prove every file equal to it on this machine.

    Args:
        model: a source as for `create_model`, or a module: (1, C, H, W) -> tensor(s).
        formats: target names; None takes every target whose libraries are installed.
        out_dir: folder of the artifacts; made when it does not exist.
        name: file name without suffix; None derives it from the source.
        labels: class names in the order of the logits.
        precision: "fp16" or "fp32"; None takes each target's default.
        force: overwrite existing files.
        keep_failed: keep files whose parity failed.
        verbose: let the vendors' own output through.
        no_passes: names of graph passes to leave out (`mobile_export.passes`).
        nms: end the files of a detector with non-maximum suppression; with ``formats`` None, those
            of formats that have none keep boxes and scores.
        progress: told the current stage.

    Returns:
        The report; an artifact that did not pass is in it, but its file is gone (``path`` is None)
        unless ``keep_failed``.

    Raises:
        MobileExportError: nothing could be written.
    """
    from .pipeline import export_program

    chosen = _targets(formats)
    if nms is not None and formats is not None:
        for target in chosen:
            target.require_nms()
    skipped = {
        target.name: str(MissingExtraError(target.title, target.missing()[0], target.extra))
        for target in TARGETS
        if formats is None and target not in chosen
    }
    config = ExportConfig(
        out_dir=Path(out_dir),
        force=force,
        keep_failed=keep_failed,
        precision=precision,
        verbose=verbose,
        no_passes=tuple(no_passes),
        coreml=coreml or CoreMLOptions(),
        tflite=tflite or TFLiteOptions(),
        nms=nms,
    )
    request = _request(source)
    report = export_program(
        lambda: _source(model, request, labels),
        model if isinstance(model, str) else type(model).__name__,
        chosen,
        config,
        name=name,
        progress=progress or (lambda stage: None),
    )
    hosted = [target.title for target in chosen if nms is not None and not target.nms]
    if hosted:
        note = (
            f"{' and '.join(hosted)} cannot hold the suppression: these files end with boxes and "
            "scores, for mobile_export.detection.suppress on the host (docs/detection.md)"
        )
        report = replace(report, notes=(*report.notes, note))
    return replace(report, skipped=skipped)


def prepare(
    model: str | torch.nn.Module,
    example: torch.Tensor | None = None,
    *,
    no_passes: Sequence[str] = (),
    explain: Callable[[PassReport], None] | None = None,
    progress: Callable[[str], None] | None = None,
    **source: Unpack[SourceOptions],
) -> Program:
    """Fold and merge what can be, exactly, and stop there: for people who want the model only.

        program = mobile_export.prepare(module, torch.zeros(1, 3, 224, 224))
        folded = program.module()    # a plain torch.nn.Module, float32

    Args:
        model: a source as for `create_model`, or a module, which is not changed.
        example: an input (1, C, H, W), of which only the shape counts; or give ``size``.
        no_passes: names of graph passes to leave out.
        explain: told what each pass rewrote and refused.
        progress: told the current stage.

    Returns:
        The program, proven equal to the model in float64 to 1e-9 of the output range.

    Raises:
        MobileExportError: the model cannot be loaded or traced.
    """
    from .pipeline import prepare_program

    request = _request(source)
    if example is not None:
        if example.ndim != 4 or example.shape[0] != 1:
            raise UsageError(
                f"The example has shape {tuple(example.shape)}.",
                hint="Give one image: (1, channels, height, width).",
            )
        channels, height, width = example.shape[1:]
        request = replace(request, size=(height, width), channels=channels)
    program, reports = prepare_program(
        lambda: _source(model, request),
        ExportConfig(no_passes=tuple(no_passes)),
        progress or (lambda stage: None),
    )
    if explain is not None:
        for report in reports:
            explain(report)
    return program


def verify(
    file: str | Path,
    model: str | torch.nn.Module,
    *,
    layers: bool = False,
    verbose: bool = False,
    progress: Callable[[str], None] | None = None,
    **source: Unpack[SourceOptions],
) -> VerifyReport:
    """Repeat parity on an existing artifact.

    Args:
        file: an artifact of any supported format.
        model: what it was exported from; without ``size``, built for the size that the file has.
        layers: also find the first tensors whose error passes the tolerance.
        verbose: let the vendors' own output through.
        progress: told the current stage.

    Raises:
        MobileExportError: the file or the model cannot be loaded.
    """
    from .pipeline import verify_artifact
    from .system.quiet import quiet

    path = Path(file)
    target = target_of_file(path)
    target.require()
    request = _request(source)
    if request.size is None:
        with quiet(not verbose):
            request = replace(request, size=_size_in_file(target.runtime().describe(path)))
    parity, found = verify_artifact(
        target,
        path,
        lambda: _source(model, request),
        layers=layers,
        verbose=verbose,
        progress=progress or (lambda stage: None),
    )
    return VerifyReport(path, target.name, parity, found)


def inspect(file: str | Path) -> dict[str, Any]:
    """Inputs, outputs, op counts, parameters, size and precision of an artifact, JSON-ready.

    Raises:
        ArtifactError: the file does not exist, is damaged, or is of no known format.
    """
    from .artifacts.content import size_of

    path = Path(file)
    target = target_of_file(path)
    target.require()
    return {
        "file": str(path),
        "format": target.name,
        "bytes": sum(size_of(part) for part in target.files(path)),
        **target.runtime().describe(path),
    }


def _targets(formats: Sequence[str] | str | None) -> tuple[Any, ...]:
    if formats is None:
        chosen = available_targets()
        if not chosen:
            TARGETS[0].require()
        return chosen
    names = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    if not names:
        raise UsageError("No format was asked for.", hint="Name at least one, e.g. formats='onnx'.")
    return tuple(get_target(name) for name in names)


def _request(options: SourceOptions) -> Request:
    from .sources.table import Request

    size, weights = options.get("size"), options.get("weights")
    mean, std = options.get("mean"), options.get("std")
    return Request(
        size=(size, size) if isinstance(size, int) else size,
        num_classes=options.get("num_classes"),
        weights=None if weights is None else Path(weights),
        allow_missing=options.get("allow_missing", False),
        pretrained=options.get("pretrained", False),
        seed=options.get("seed", 0),
        channels=options.get("channels"),
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )


def _source(
    model: str | torch.nn.Module, request: Request, labels: Sequence[str] | None = None
) -> Source:
    from .sources.table import load_source

    if isinstance(model, str):
        source = load_source(model, **vars(request))
    else:
        from .sources.factory import source_of_module

        source = source_of_module(model, request)
    return source if labels is None else replace(source, labels=tuple(labels))


def _size_in_file(facts: dict[str, Any]) -> tuple[int, int] | None:
    """(height, width) of a file's image input, NCHW or NHWC."""
    shape = facts["inputs"][0]["shape"]
    if len(shape) != 4 or not all(isinstance(n, int) and n > 0 for n in shape):
        return None
    if shape[1] > 4 >= shape[3]:
        return shape[1], shape[2]
    return shape[2], shape[3]
