"""Models of other packages than timm, as their users have them, in every format; and the vendors.

    python benchmarks/reach.py                 run what has no result in benchmarks/reach.jsonl yet
    python benchmarks/reach.py --only yolo11n  these again
    python benchmarks/reach.py --ours          without the vendors
    python benchmarks/reach.py --write docs/reach-beyond.md

Weights are random (seed 0), sizes small. Every model runs in a process of its own, with a limit of
time (``--seconds``) and of address space; its line is added to the results when it ends, so a run
can be stopped and continued; what ran with ``--ours`` gets its vendors' part in a run without it. A
package that is not installed is skipped, and tried the next time.

Ours is one `mobile_export.export` to all formats, in float32. The vendors' straight conversions get
the same module and example: ``torch.onnx.export(dynamo=True)`` executed by onnxruntime,
``litert_torch.convert`` executed by LiteRT, and ``coremltools.convert`` executed by our evaluator
of ML Programs, for nothing else runs them off a Mac. Verdicts:

right     ours: the check passed; a vendor's: within 1e-3 of the outputs' size of PyTorch
refused   ours: a message says why there is no file
failed    ours: the check found the file wrong, or an error of our own; a vendor's: any exception
wrong     a vendor's file computes something else, or does not run
unsure    ours: the check cannot tell
slow      no end within the limit
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

FORMATS = ("onnx", "coreml", "tflite", "ncnn", "tnn")
VENDORS = {"onnx": "torch.onnx", "coreml": "coremltools", "tflite": "litert-torch"}
KINDS = ("ours", "vendor")
STORE = Path(__file__).with_name("reach.jsonl")
CLOSE = 1e-3
MEMORY = 24 * 2**30
"""Bytes of address space"""


@dataclass(frozen=True)
class Row:
    """A model: who has it, and how its user would name it.

    Attributes:
        source: a name that mobile-export knows, or a class of transformers, ultralytics' file or
            function of segmentation-models-pytorch, by ``package``.
        arguments: of the class, or of its configuration.
        options: of `mobile_export.export`.
    """

    name: str
    package: str
    source: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


_NARROW: dict[str, dict[str, Any]] = {
    "efficientnet": {
        "width_coefficient": 0.5,
        "depth_coefficient": 0.5,
        "hidden_dim": 640,
        "initializer_range": 0.2,
    },
    "regnet": {"embedding_size": 16, "hidden_sizes": [24, 32, 40, 48], "groups_width": 8},
    "swin": {"window_size": 2},
    "swin2sr": {"embed_dim": 24, "depths": [2, 2], "num_heads": [2, 2]},
}
"""Of configurations whose own widths take minutes: fewer channels, every kind of layer."""


def _torchvision(names: str, **options: Any) -> tuple[Row, ...]:
    return tuple(Row(n, "torchvision", f"torchvision/{n}", {}, options) for n in names.split())


def _transformers(**classes: str) -> tuple[Row, ...]:
    return tuple(
        Row(f"hf {name}", "transformers", words.split()[0], _NARROW.get(name, {}), {"size": size})
        for name, words in classes.items()
        for size in [int(words.split()[1])]
    )


def _segmentation(*names: str) -> tuple[Row, ...]:
    encoder = {"encoder_name": "resnet18", "encoder_weights": None, "classes": 5}
    package = "segmentation_models_pytorch"
    return tuple(Row(f"smp {n}", package, n, encoder, {"size": 128}) for n in names)


def _ultralytics(names: str) -> tuple[Row, ...]:
    return tuple(Row(n, "ultralytics", f"{n}.yaml", {}, {"size": 64}) for n in names.split())


ROWS = (
    *_torchvision("alexnet squeezenet1_1 shufflenet_v2_x0_5 mnasnet0_5 mobilenet_v2", size=64),
    *_torchvision("mobilenet_v3_small efficientnet_b0 regnet_y_400mf densenet121", size=64),
    *_torchvision("convnext_tiny swin_t swin_v2_t resnet18 googlenet", size=64),
    *_torchvision("vit_b_32 maxvit_t", size=224),
    *_torchvision("lraspp_mobilenet_v3_large fcn_resnet50 deeplabv3_mobilenet_v3_large", size=64),
    *_torchvision("ssdlite320_mobilenet_v3_large", size=96),
    *_transformers(
        vit="ViTForImageClassification 64",
        deit="DeiTForImageClassification 64",
        dinov2="Dinov2Model 56",
        beit="BeitForImageClassification 64",
        swin="SwinForImageClassification 64",
        swinv2="Swinv2ForImageClassification 64",
        convnext="ConvNextForImageClassification 64",
        convnextv2="ConvNextV2ForImageClassification 64",
        resnet="ResNetForImageClassification 64",
        regnet="RegNetForImageClassification 64",
        mobilenet_v1="MobileNetV1ForImageClassification 64",
        mobilenet_v2="MobileNetV2ForImageClassification 64",
        mobilevit="MobileViTForImageClassification 64",
        mobilevitv2="MobileViTV2ForImageClassification 64",
        efficientnet="EfficientNetForImageClassification 64",
        poolformer="PoolFormerForImageClassification 64",
        levit="LevitForImageClassification 64",
        pvt="PvtForImageClassification 64",
        swiftformer="SwiftFormerForImageClassification 64",
        segformer="SegformerForSemanticSegmentation 64",
        glpn="GLPNForDepthEstimation 64",
        yolos="YolosForObjectDetection 64",
        cvt="CvtForImageClassification 64",
        focalnet="FocalNetForImageClassification 64",
        swin2sr="Swin2SRForImageSuperResolution 16",
        siglip_vision="SiglipVisionModel 64",
        clip_vision="CLIPVisionModel 64",
    ),
    *_segmentation("Unet", "UnetPlusPlus", "FPN", "PSPNet", "Linknet", "MAnet", "PAN"),
    *_segmentation("DeepLabV3", "DeepLabV3Plus", "UPerNet", "Segformer"),
    *_ultralytics("yolov8n yolo11n yolo12n yolo26n yolo11n-seg yolo11n-pose yolo11n-cls"),
)


_SMALL = {
    "image_size": 64,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 96,
}
"""Of transformers' configurations that have these as one number; the others keep theirs."""
_DEPTHS = {"depths": 2, "depth": 3}
"""The most blocks of each stage: a plain and a shifted one of Swin's; Cvt's last stage needs 3."""


def built(row: Row) -> torch.nn.Module | str:
    """The module, or the name by which mobile-export builds it itself."""
    torch.manual_seed(0)
    if row.package == "torchvision":
        return row.source
    if row.package == "transformers":
        import transformers

        kind = getattr(transformers, row.source)
        default = kind.config_class()
        others = default.attribute_map  # ConvNext's number of stages is its num_hidden_layers
        small: dict[str, Any] = {
            k: v
            for k, v in _SMALL.items()
            if type(getattr(default, k, None)) is int and k not in others
        }
        for name, most in _DEPTHS.items():
            depths = getattr(default, name, None)
            if isinstance(depths, list | tuple):
                small[name] = [min(depth, most) for depth in depths]
        if "image_size" in small:
            small["image_size"] = row.options["size"]
        model: torch.nn.Module = kind(kind.config_class(**{**small, **row.arguments}))
        return _settled(model, row.options["size"])
    if row.package == "ultralytics":
        yolo: Any = importlib.import_module("ultralytics").YOLO(row.source)
        head = yolo.model.model[-1]
        if row.name.endswith("-cls"):  # else its answers hardly depend on the picture
            _settled(yolo.model, row.options["size"])
        for branch in (*(getattr(head, "cv3", ())), *(getattr(head, "one2one_cv3", None) or ())):
            branch[-1].bias.data.fill_(-2.0)  # begins at scores of 1e-5, below onnxruntime's steps
        return yolo  # type: ignore[no-any-return]
    package = importlib.import_module(row.package)
    module: torch.nn.Module = getattr(package, row.source)(**row.arguments)
    return _settled(module, row.options["size"])


def _settled(module: torch.nn.Module, size: int) -> torch.nn.Module:
    """With statistics of four random images in its batch norms: with those that they begin with
    some networks' features fall below what float32 holds."""
    module.eval()
    for each in module.modules():
        if isinstance(each, torch.nn.BatchNorm2d | torch.nn.BatchNorm1d):
            each.momentum = None
            each.reset_running_stats()
            each.train()
    with torch.no_grad():
        module(torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1)))
    return module.eval()


def ours(row: Row) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every format with the verdict on it, and what was said; all from one run, as ``all`` does."""
    import mobile_export
    from mobile_export.errors import MobileExportError

    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            options = {"precision": "fp32", **row.options}
            report = mobile_export.export(built(row), FORMATS, folder, name="m", **options)
    except MobileExportError as error:
        found = [(format_, _failed(error, start)) for format_ in FORMATS]
    except Exception as error:  # noqa: BLE001 (whatever a library raises is a result)
        said = _said("failed", f"{type(error).__name__}: {error}", start)
        found = [(format_, said) for format_ in FORMATS]
    else:
        found = [(each.format, _judged(each.parity, start)) for each in report.artifacts]
        found += [(each.format, _failed(each.error, start)) for each in report.failures]
    yield from found


def _failed(error: Any, start: float) -> dict[str, Any]:
    from mobile_export.errors import BUG

    return _said("failed" if BUG in error.message else "refused", error.message, start)


def _judged(parity: Any, start: float) -> dict[str, Any]:
    verdict = {"passed": "right", "inconclusive": "unsure"}.get(parity.status, "failed")
    notes = "" if verdict == "right" else "; ".join(parity.notes)
    return {**_said(verdict, notes, start), "error": parity.max_rel}


def _said(verdict: str, why: str, start: float) -> dict[str, Any]:
    return {
        "verdict": verdict,
        "why": " ".join(why.split())[:300],
        "seconds": round(time.perf_counter() - start, 1),
    }


def vendors(row: Row, format_: str) -> dict[str, Any]:
    """The same of the vendor's straight conversion."""
    from mobile_export.graph.capture import flatten_outputs
    from mobile_export.sources.request import ModelRequest
    from mobile_export.sources.table import load_source

    start = time.perf_counter()
    try:
        source = load_source(ModelRequest.of(built(row), **row.options))
        given = tuple(torch.randn(spec.shape) for spec in source.inputs)
        with torch.no_grad():
            wanted = [each.numpy() for each in flatten_outputs(source.module(*given))[1]]
        run = _CONVERTERS[format_](source.module, given)
    except Exception as error:  # noqa: BLE001 (whatever a converter raises is a result)
        return _said("failed", f"{type(error).__name__}: {error}", start)
    try:
        error_ = _distance(run(), wanted)
    except Exception as error:  # noqa: BLE001 (as above)
        return _said("wrong", f"does not run: {type(error).__name__}: {error}", start)
    verdict = "right" if error_ <= CLOSE else "wrong"
    return {**_said(verdict, "" if verdict == "right" else f"{error_:.1e} off", start)}


def _distance(got: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """The largest error of an output, relative to its size; outputs may have another order."""
    left, worst = [np.asarray(each) for each in got], 0.0
    for exact in wanted:
        scale = max(float(np.abs(exact).max(initial=0.0)), 1e-12)
        errors = [
            float(np.abs(each.reshape(exact.shape) - exact).max()) / scale
            if each.size == exact.size
            else float("inf")
            for each in left
        ]
        best = int(np.argmin(errors)) if errors else -1
        if best < 0:
            return float("inf")
        worst = max(worst, errors[best])
        left.pop(best)
    return worst


_Run = Callable[[], Sequence[np.ndarray]]


def _by_onnx(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> _Run:
    program = torch.onnx.export(module, given, dynamo=True, verbose=False)
    assert program is not None
    content = program.model_proto.SerializeToString()

    def run() -> Sequence[np.ndarray]:
        import onnxruntime

        session = onnxruntime.InferenceSession(content)
        names = [each.name for each in session.get_inputs()]
        fed = {name: each.numpy() for name, each in zip(names, given, strict=True)}
        found: list[np.ndarray] = session.run(None, fed)
        return found

    return run


def _by_litert(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> _Run:
    import litert_torch

    model = litert_torch.convert(module, given)

    def run() -> Sequence[np.ndarray]:
        found = model(*[each.numpy() for each in given])
        values = found.values() if isinstance(found, dict) else found
        return [values] if isinstance(values, np.ndarray) else list(values)

    return run


def _by_coreml(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> _Run:
    import coremltools as ct

    program = torch.export.export(module, given, strict=False).run_decompositions({})
    model = ct.convert(
        program,
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )

    def run() -> Sequence[np.ndarray]:
        from mobile_export.exporters.coreml.evaluator import load_program

        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.mlpackage"
            model.save(str(path))
            loaded = load_program(path)
            names = [each.name for each in loaded.inputs]
            fed = {name: each.numpy() for name, each in zip(names, given, strict=True)}
            return list(loaded.run(fed).values())

    return run


_CONVERTERS: dict[str, Callable[[torch.nn.Module, tuple[torch.Tensor, ...]], _Run]] = {
    "onnx": _by_onnx,
    "coreml": _by_coreml,
    "tflite": _by_litert,
}


def child(name: str, kinds: Sequence[str]) -> None:
    """Run one model and print what was found so far, a line for each result.

    Args:
        kinds: ``ours``, ``vendor`` or both.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    row = next(each for each in ROWS if each.name == name)
    if "ours" in kinds:
        with contextlib.redirect_stdout(sys.stderr):
            found = list(ours(row))
        for format_, verdict in found:
            print(json.dumps({"format": format_, "kind": "ours", **verdict}), flush=True)
    for format_ in VENDORS if "vendor" in kinds else ():
        with contextlib.redirect_stdout(sys.stderr):
            verdict = vendors(row, format_)
        print(json.dumps({"format": format_, "kind": "vendor", **verdict}), flush=True)


def measured(
    row: Row, seconds: float, kinds: Sequence[str], before: Mapping[str, Any]
) -> dict[str, Any]:
    """The line of results of one model, from a process of its own.

    Args:
        kinds: as those of `child`.
        before: its line so far, whose other parts are kept.
    """
    words = [sys.executable, __file__, "--child", row.name, *kinds]
    start, late = time.perf_counter(), False
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdout=said, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            late = True
            process.kill()
            process.wait()
        said.seek(0)
        lines = [json.loads(line) for line in said.read().splitlines() if line[:1] == b"{"]
    found = {kind: {} if kind in kinds else dict(before.get(kind, {})) for kind in KINDS}
    for line in lines:
        found[line.pop("kind")][line.pop("format")] = line
    last = {"verdict": "slow" if late else "failed", "why": f"exit code {process.returncode}"}
    for kind in kinds:
        for format_ in FORMATS if kind == "ours" else VENDORS:
            found[kind].setdefault(format_, last)
    taken = round(time.perf_counter() - start, 1)
    return {"name": row.name, "package": row.package, "seconds": taken, **found}


def results_of(path: Path) -> dict[str, dict[str, Any]]:
    """The last result of every model."""
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["name"]: line for line in map(json.loads, lines)}


def page(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown: a row for each model, and the sums."""
    found = [results[row.name] for row in ROWS if row.name in results]
    return "\n".join(
        [
            "# Models of other packages",
            "",
            f"Written by `benchmarks/reach.py` ({len(found)} of its {len(ROWS)} models have run). "
            "Each cell is ours / the vendor's own straight conversion of the same module",
            "(torch.onnx, coremltools, litert-torch; ncnn and TNN have none here; one word where "
            "it has not run), in float32, with random weights and small sizes.",
            "The script says what the words mean.",
            "",
            f"| package | model | {' | '.join(FORMATS)} |",
            "| --- " * (2 + len(FORMATS)) + "|",
            *map(_line, found),
            "",
            "## Sums",
            "",
            "| format | ours right | ours refused | ours else | vendor right | vendor right, ours "
            "not |",
            "| --- " * 6 + "|",
            *(_sum(format_, found) for format_ in FORMATS),
            "",
            "## What was said",
            "",
            *_reasons(found),
            "",
        ]
    )


def _line(result: Mapping[str, Any]) -> str:
    cells = []
    for format_ in FORMATS:
        vendor = result["vendor"].get(format_, {}).get("verdict")
        mine = result["ours"][format_]["verdict"]
        cells.append(mine if vendor is None else f"{mine} / {vendor}")
    return f"| {result['package']} | {result['name']} | {' | '.join(cells)} |"


def _sum(format_: str, found: Sequence[Mapping[str, Any]]) -> str:
    mine = [each["ours"][format_]["verdict"] for each in found]
    theirs = [each["vendor"].get(format_, {}).get("verdict") for each in found]
    lost = sum(a != "right" and b == "right" for a, b in zip(mine, theirs, strict=True))
    right, refused = mine.count("right"), mine.count("refused")
    vendor = f"{theirs.count('right')} | {lost}" if format_ in VENDORS else "- | -"
    return f"| {format_} | {right} | {refused} | {len(mine) - right - refused} | {vendor} |"


def _reasons(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for result in found:
        said: dict[str, list[str]] = {}
        for format_ in FORMATS:
            each = result["ours"][format_]
            if each["verdict"] != "right":
                said.setdefault(f"{each['verdict']}: {each['why']}", []).append(format_)
        for why, formats in said.items():
            yield f"- {result['name']} ({', '.join(formats)}): {why.replace('|', '/')}"


def main() -> None:
    """Run what is missing, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--results", type=Path, default=STORE)
    parser.add_argument("--only", help="names with commas between them: these again")
    parser.add_argument("--seconds", type=float, default=600.0, help="limit of one model")
    parser.add_argument("--write", type=Path, help="write this page, and run nothing")
    parser.add_argument("--ours", action="store_true", help="without the vendors' conversions")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child[0], asked.child[1:])
        return
    if asked.write:
        asked.write.write_text(page(results_of(asked.results)))
        return
    only = asked.only.split(",") if asked.only else None
    wanted = ("ours",) if asked.ours else KINDS
    for row in ROWS:
        before = results_of(asked.results).get(row.name, {})
        if only is not None and row.name not in only:
            continue
        kinds = wanted if only else tuple(kind for kind in wanted if not before.get(kind))
        if not kinds:
            continue
        if importlib.util.find_spec(row.package) is None:
            print(f"{row.name}: {row.package} is not installed", flush=True)
            continue
        line = measured(row, asked.seconds, kinds, before)
        with asked.results.open("a") as file:
            file.write(json.dumps(line) + "\n")
        verdicts = {f: line["ours"][f]["verdict"] for f in FORMATS}
        print(row.name, line["seconds"], verdicts, flush=True)


if __name__ == "__main__":
    main()
