"""TFLite metadata: read back with MediaPipe's schema, and files loaded by MediaPipe Tasks.

MediaPipe (PyPI ``mediapipe``) computes on a photograph what our own pre- and post-processing and
the eager module in float64 do. The photograph has the size of the input: how MediaPipe brings
others there is its own affair.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from mobile_export.detection import suppress
from mobile_export.detection.options import NmsOptions
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.table import get_format
from mobile_export.exporters.tflite.metadata import LABELS
from mobile_export.exporters.tflite.options import TFLiteOptions
from mobile_export.graph.specs import IMAGENET_MEAN, IMAGENET_STD, InputSpec
from mobile_export.pipeline import export_program
from mobile_export.sources.table import Source
from tests.conftest import TinyDetector, TinyNet, make_source, need

SIZE = 64
PIXELS = TFLiteOptions(image_input=True)


class Segmenter(nn.Module):
    """Logits of five classes for each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 15 * self.conv(x)


class Coarse(nn.Module):
    """Logits of five classes for each block of 8x8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 8, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 15 * self.conv(x)


class Embedder(nn.Module):
    """A row of 16 features."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)).mean((2, 3))


def names(count: int) -> tuple[str, ...]:
    return tuple(f"class {index}" for index in range(count))


def source_of(kind: type[nn.Module], **facts: Any) -> Source:
    torch.manual_seed(2)
    source = make_source(kind().eval(), size=(SIZE, SIZE))
    spec = InputSpec((1, 3, SIZE, SIZE), IMAGENET_MEAN, IMAGENET_STD)
    return Source(**{**vars(source), "input": spec, **facts})


CLASSIFIER = {"labels": names(10), "meanings": {"logits": "logits"}, "output_names": ("logits",)}
SEGMENTER = {
    "labels": names(5), "meanings": {"logits": "logits"}, "output_names": ("logits",),
    "task": "segmentation",
}  # fmt: skip


def write(source: Source, folder: Path, options: TFLiteOptions = PIXELS, **others: Any) -> Path:
    need("tflite")
    config = ExportConfig(out_dir=folder, options={"tflite": options}, **others)
    report = export_program(lambda: source, "tiny", [get_format("tflite")], config)
    assert report.exit_code == 0
    path = report.artifacts[0].path
    assert path is not None
    return path


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """(64, 64, 3) bytes of the portrait that matplotlib, which MediaPipe needs, has with it."""
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed (pip install mediapipe)")
    from matplotlib.cbook import get_sample_data
    from PIL import Image

    with Image.open(get_sample_data("grace_hopper.jpg")) as picture:
        return np.asarray(picture.convert("RGB").resize((SIZE, SIZE)))


def task(path: Path, name: str, method: str, image: np.ndarray, **options: Any) -> Any:
    """What a task of MediaPipe makes of an image."""
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    base = BaseOptions(model_asset_path=str(path))
    made = getattr(vision, f"{name}Options")(base_options=base, **options)
    with getattr(vision, name).create_from_options(made) as runner:
        picture = mediapipe.Image(mediapipe.ImageFormat.SRGB, np.ascontiguousarray(image))
        return getattr(runner, method)(picture)


def eager(source: Source, image: np.ndarray) -> Any:
    """The original module in float64, on the image as an app would normalise it."""
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    normalised = (image.transpose(2, 0, 1)[None] / 255 - mean) / std
    with torch.no_grad():
        return source.module.double()(torch.from_numpy(normalised))


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_classifier(tmp_path: Path, photograph: np.ndarray, dtype: str) -> None:
    source = source_of(TinyNet, **CLASSIFIER)
    options = TFLiteOptions(image_input=True, classifier=True, input_dtype=dtype)
    path = write(source, tmp_path, options)
    result = task(path, "ImageClassifier", "classify", photograph)
    found = {each.category_name: each.score for each in result.classifications[0].categories}
    wanted = dict(zip(names(10), eager(source, photograph)[0].softmax(-1).tolist(), strict=True))
    assert found == pytest.approx(wanted, abs=2e-6)
    assert list(found) == sorted(wanted, key=lambda name: -wanted[name])


def test_embedder(tmp_path: Path, photograph: np.ndarray) -> None:
    source = source_of(Embedder)
    result = task(write(source, tmp_path), "ImageEmbedder", "embed", photograph)
    (wanted,) = eager(source, photograph).numpy()
    np.testing.assert_allclose(result.embeddings[0].embedding, wanted, atol=1e-5 * wanted.max())


def test_segmenter(tmp_path: Path, photograph: np.ndarray) -> None:
    """One mask for each class, of the image's size, and the best class of each pixel."""
    source = source_of(Segmenter, **SEGMENTER)
    options = {"output_category_mask": True, "output_confidence_masks": True}
    result = task(write(source, tmp_path), "ImageSegmenter", "segment", photograph, **options)
    masks = np.stack([mask.numpy_view().squeeze() for mask in result.confidence_masks])
    assert masks.shape == (5, SIZE, SIZE)
    wanted = eager(source, photograph)[0].softmax(0).numpy()
    np.testing.assert_allclose(masks, wanted, atol=1e-4)
    best = np.sort(wanted, 0)
    sure = best[-1] - best[-2] > 1e-4
    found = result.category_mask.numpy_view().squeeze()
    assert (found == wanted.argmax(0))[sure].all()


def test_how_mediapipe_enlarges_a_small_map(tmp_path: Path, photograph: np.ndarray) -> None:
    """As docs/mediapipe.md says: masks and best classes in different ways."""
    source = source_of(Coarse, **SEGMENTER)
    options = {"output_category_mask": True, "output_confidence_masks": True}
    result = task(write(source, tmp_path), "ImageSegmenter", "segment", photograph, **options)
    masks = np.stack([mask.numpy_view().squeeze() for mask in result.confidence_masks])
    logits = eager(source, photograph)
    assert logits.shape[-2:] == (SIZE // 8, SIZE // 8)

    def enlarged(values: torch.Tensor, align: bool) -> np.ndarray:
        made = nn.functional.interpolate(values, (SIZE, SIZE), mode="bilinear", align_corners=align)
        return made[0].numpy()

    np.testing.assert_allclose(masks, enlarged(logits.softmax(1), align=False), atol=1e-4)
    aligned = enlarged(logits, align=True)
    best = np.sort(aligned, 0)
    sure = best[-1] - best[-2] > 1e-3
    found = result.category_mask.numpy_view().squeeze()
    assert sure.mean() > 0.9
    assert (found == aligned.argmax(0))[sure].all()


def test_detector(tmp_path: Path, photograph: np.ndarray) -> None:
    source = source_of(TinyDetector, labels=names(5), output_names=("boxes", "scores"))
    nms = NmsOptions(score_threshold=0.15, iou_threshold=0.5, max_detections=20)
    result = task(write(source, tmp_path, nms=nms), "ObjectDetector", "detect", photograph)
    outputs = eager(source, photograph)
    wanted = suppress(
        outputs["boxes"].numpy(), outputs["scores"].numpy(),
        score_threshold=0.15, iou_threshold=0.5, limit=20,
    )  # fmt: skip
    found = [  # detections with the same corners in whole pixels are one, of several classes
        (category.score, category.category_name, each.bounding_box)
        for each in result.detections
        for category in each.categories
    ]
    found.sort(key=lambda each: -each[0])
    assert len(found) == len(wanted.scores) > 3
    for (score, name, place), box, exact, label in zip(
        found, wanted.boxes, wanted.scores, wanted.classes, strict=True
    ):
        assert name == f"class {label}"
        assert score == pytest.approx(exact, abs=1e-5)
        corners = (place.origin_x, place.origin_y, place.width, place.height)
        left, top, right, bottom = box
        assert corners == pytest.approx((left, top, right - left, bottom - top), abs=1)


def test_what_mediapipe_cannot_do_is_refused_by_it(tmp_path: Path, photograph: np.ndarray) -> None:
    """Means that differ between the channels are said as they are: no result is better than one
    of another normalisation."""
    path = write(source_of(TinyNet, **CLASSIFIER), tmp_path, TFLiteOptions(softmax=True))
    with pytest.raises(Exception, match="Per-channel image normalization"):
        task(path, "ImageClassifier", "classify", photograph)


def test_the_metadata_is_whole(tmp_path: Path) -> None:
    """Read with the classes that MediaPipe made of the schema."""
    source = source_of(Segmenter, **SEGMENTER)
    content = write(source, tmp_path, TFLiteOptions()).read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read(LABELS).decode().splitlines() == list(names(5))
    reader = pytest.importorskip("mediapipe.tasks.metadata.metadata_schema_py_generated")
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (place,) = [each.buffer for each in model.metadata if each.name == b"TFLITE_METADATA"]
    data = bytes(model.buffers[place].data)
    assert reader.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)
    found = reader.ModelMetadataT.InitFromObj(reader.ModelMetadata.GetRootAs(data, 0))
    (graph,) = found.subgraphMetadata
    (image,) = graph.inputTensorMetadata
    assert image.name == b"image"
    assert image.content.contentProperties.colorSpace == reader.ColorSpaceType.RGB
    options = image.processUnits[0].options
    assert options.mean == pytest.approx([255 * value for value in IMAGENET_MEAN])
    assert options.std == pytest.approx([255 * value for value in IMAGENET_STD])
    assert image.stats.max == pytest.approx(
        [(1 - m) / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
    )
    (masks,) = graph.outputTensorMetadata
    (labels,) = masks.associatedFiles
    assert labels.type == reader.AssociatedFileType.TENSOR_AXIS_LABELS
    assert [each.name for each in graph.customMetadata] == [b"SEGMENTER_METADATA"]


def test_a_file_is_the_same_every_time(tmp_path: Path) -> None:
    source = source_of(TinyNet, **CLASSIFIER)
    first, second = (write(source, tmp_path / name) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
