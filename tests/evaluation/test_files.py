"""`mobile-export evaluate FILE` for every kind of data and every format.

The default run has one kind of each format, and every kind; `pytest -m matrix` has all.

Pictures have the size of the input, so nothing is resized. Expected figures are made of what the
eager module computes in float64, by NumPy, torchvision's suppression and pycocotools alone.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from mobile_export.artifacts.words import Meaning
from mobile_export.cli.main import app
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import FORMATS, get_format
from mobile_export.pipeline import export_program
from tests.conftest import TinyDetector, TinyNet, make_source, need

Image = pytest.importorskip("PIL.Image")

COUNT = 6
SHARES = (0.61, 0.67, 0.78, 0.84, 0.97)
"""Intersection over union of found and true boxes: between the steps at which COCO counts."""
PRECISIONS = {"coreml": "fp32"}
"""Where the default is float16, which rounds: figures are of decisions."""


class Segmenter(nn.Module):
    """Four classes, at a quarter of the image's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x - 0.5)


class Upscaler(nn.Module):
    """Twice as large: nearest pixels, moved a little."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        near = nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return near + 0.2 * nn.functional.pixel_shuffle(self.conv(x), 2)


class Kind:
    """A kind of data: a model, its data on disk, and the figures that they must give."""

    size: ClassVar[int] = 32
    meanings: ClassVar[dict[str, Meaning]]
    labels: ClassVar[tuple[str, ...] | None] = None

    def module(self) -> nn.Module:
        raise NotImplementedError

    def write(self, folder: Path, answers: list[Any], images: list[np.ndarray]) -> list[float]:
        """Write pictures and what is true of them; the figures, from the model's answers."""
        raise NotImplementedError


def save(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def noise(*shape: int, seed: int, below: int = 256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, below, shape, np.uint8)


def picture(size: int, k: int) -> np.ndarray:
    """(size, size, 3) pixels: noise, and a gradient of one colour."""
    values = noise(size, size, 3, seed=k, below=100)
    values[..., k % 3] += np.linspace(0, 155, size).astype(np.uint8)[:: 1 if k % 2 else -1]
    return values


class Classes(Kind):
    meanings: ClassVar[dict[str, Meaning]] = {"logits": "logits"}
    labels: ClassVar[tuple[str, ...]] = tuple(f"kind {k}" for k in range(10))

    def module(self) -> nn.Module:
        return TinyNet()

    def write(self, folder: Path, answers: list[Any], images: list[np.ndarray]) -> list[float]:
        hits = np.zeros(2)
        for k, (logits, image) in enumerate(zip(answers, images, strict=True)):
            order = logits[0].argsort(descending=True).tolist()
            truth = order[(0, 2, 7)[k % 3]]
            save(folder / self.labels[truth] / f"{k}.png", image)
            hits += [truth == order[0], truth in order[:5]]
        return list(100 * hits / len(images))


class Masks(Kind):
    meanings: ClassVar[dict[str, Meaning]] = {"logits": "logits"}

    def module(self) -> nn.Module:
        return Segmenter()

    def write(self, folder: Path, answers: list[Any], images: list[np.ndarray]) -> list[float]:
        said, true = [], []
        for k, (logits, image) in enumerate(zip(answers, images, strict=True)):
            whole = nn.functional.interpolate(logits, scale_factor=4, mode="bilinear")
            answer = whole[0].argmax(0).numpy()
            kept = noise(*answer.shape, seed=100 + k, below=3) > 0
            mask = np.where(kept, answer, noise(*answer.shape, seed=200 + k, below=4))
            save(folder / "images" / f"{k}.png", image)
            save(folder / "masks" / f"{k}.png", mask.astype(np.uint8))
            said.append(answer)
            true.append(mask)
        one, other = np.stack(said), np.stack(true)
        shares = [
            ((one == k) & (other == k)).sum() / ((one == k) | (other == k)).sum() for k in range(4)
        ]
        return [100 * float(np.mean(shares)), 100 * float((one == other).mean())]


class Pairs(Kind):
    meanings: ClassVar[dict[str, Meaning]] = {"upscaled": "upscaled"}

    def module(self) -> nn.Module:
        return Upscaler()

    def write(self, folder: Path, answers: list[Any], images: list[np.ndarray]) -> list[float]:
        values = []
        for k, (large, image) in enumerate(zip(answers, images, strict=True)):
            answer = np.rint(255 * large[0].clamp(0, 1).permute(1, 2, 0).numpy())
            true = np.clip(answer + noise(*answer.shape, seed=k, below=40) - 20, 0, 255)
            save(folder / "low" / f"{k}.png", image)
            save(folder / "high" / f"{k}.png", true.astype(np.uint8))
            error = (answer - true)[2:-2, 2:-2] @ np.array([65.481, 128.553, 24.966]) / 255
            values.append(10 * np.log10(255**2 / (error**2).mean()))
        return [float(np.mean(values))]


class Boxes(Kind):
    size = 64
    meanings: ClassVar[dict[str, Meaning]] = {"boxes": "boxes", "scores": "scores"}

    def module(self) -> nn.Module:
        return TinyDetector(3)

    def write(self, folder: Path, answers: list[Any], images: list[np.ndarray]) -> list[float]:
        ops = pytest.importorskip("torchvision.ops")
        real: list[dict[str, Any]] = []
        said: list[dict[str, Any]] = []
        for k, (answer, image) in enumerate(zip(answers, images, strict=True)):
            save(folder / f"{k}.png", image)
            scores, boxes = answer["scores"][0], answer["boxes"][0]
            which, kinds = (scores > 0.02).nonzero(as_tuple=True)
            sure = scores[which, kinds]
            stay = ops.batched_nms(boxes[which], sure, kinds, 0.45)[:100]
            for each in stay.tolist():
                left, top, right, bottom = boxes[which[each]].tolist()
                box = [left, top, right - left, bottom - top]
                facts = {"image_id": k, "category_id": 1 + int(kinds[each]), "iscrowd": 0}
                found = {**facts, "bbox": box, "area": box[2] * box[3], "score": float(sure[each])}
                said.append({"id": len(said) + 1, **found})
            for each in said[-len(stay) :: 4]:
                x, y, width, height = each["bbox"]
                box = [x, y, width, height * SHARES[len(real) % len(SHARES)]]
                changed = {"id": len(real) + 1, "bbox": box, "area": box[2] * box[3]}
                real.append({key: v for key, v in {**each, **changed}.items() if key != "score"})
        base = {
            "images": [
                {"id": k, "file_name": f"{k}.png", "width": self.size, "height": self.size}
                for k in range(len(images))
            ],
            "categories": [{"id": k, "name": f"thing {k}"} for k in (1, 2, 3)],
        }
        (folder / "instances.json").write_text(json.dumps({**base, "annotations": real}))
        return average_precision(base, real, said)


def average_precision(base: Any, real: list[Any], said: list[Any]) -> list[float]:
    """AP and AP50 in percent, as pycocotools says them."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for annotations in (real, said):
            side = coco.COCO()
            side.dataset = {**base, "annotations": annotations}
            side.createIndex()
            sides.append(side)
        judged = cocoeval.COCOeval(*sides, "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return [100 * float(value) for value in judged.stats[:2]]


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[Any, Path, list[float]]]:
    """The source, the folder of data and the figures of a kind, made once."""
    made: dict[type[Kind], tuple[Any, Path, list[float]]] = {}

    def get(kind: type[Kind]) -> tuple[Any, Path, list[float]]:
        if kind not in made:
            case = kind()
            torch.manual_seed(15)
            source = make_source(case.module(), (case.size, case.size))
            names = tuple(case.meanings) if len(case.meanings) == 1 else None
            facts = {"meanings": case.meanings, "labels": case.labels, "output_names": names}
            source = replace(source, **facts)
            images = [picture(case.size, k) for k in range(COUNT)]
            double = copy.deepcopy(source.module).double()
            with torch.no_grad():
                answers = [
                    double(torch.from_numpy(each).permute(2, 0, 1)[None].double() / 255)
                    for each in images
                ]
            folder = tmp_path_factory.mktemp(kind.__name__)
            made[kind] = (source, folder, case.write(folder, answers, images))
        return made[kind]

    return get


KINDS = (Classes, Masks, Pairs, Boxes)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        pytest.param(row.name, kind, marks=() if (at + turn) % 4 == 1 else pytest.mark.matrix)
        for at, row in enumerate(FORMATS)
        for turn, kind in enumerate(KINDS)
    ],
)
def test_figures(
    kind: type[Kind],
    name: str,
    written: Callable[..., tuple[Any, Path, list[float]]],
    tmp_path: Path,
) -> None:
    need(name)
    source, data, wanted = written(kind)
    config = ExportConfig(out_dir=tmp_path, precision=PRECISIONS.get(name))
    (artifact,) = export_program(lambda: source, "net", [get_format(name)], config).artifacts
    words = [str(artifact.path), "--no-model", "--data", str(data), "--json"]
    done = CliRunner().invoke(app, ["evaluate", *words, "-o", str(tmp_path / "e.jsonl")])
    assert done.exit_code == 0, (done.output, done.exception)
    (row,) = json.loads(done.stdout)["rows"]
    assert [each["value"] for each in row["figures"]] == pytest.approx(wanted, rel=1e-3)
    assert all(0 < value < 100 for value in wanted)
