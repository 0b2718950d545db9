"""Writes the vectors that Python, Kotlin and Swift are tested on: `python -m tests.vectors.make`.

Every expected value comes from a library that is not ours: Pillow (pictures), timm's evaluation
transforms (preparing), torchvision (suppression), torch in float64 (upsampling, softmax), NumPy
(everything else). Arrays are ``{"dtype", "shape", "data"}``, little-endian bytes in base64.
"""

from __future__ import annotations

import base64
import colorsys
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

FOLDER = Path(__file__).parent
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array in JSON: float32, int32 or uint8, little-endian."""
    kind = {"f": "<f4", "i": "<i4", "u": "u1", "b": "u1"}[array.dtype.kind]
    data = np.ascontiguousarray(array).astype(kind)
    name = {"<f4": "float32", "<i4": "int32", "u1": "uint8"}[kind]
    return {
        "dtype": name,
        "shape": list(data.shape),
        "data": base64.b64encode(data.tobytes()).decode(),
    }


def unpacked(value: dict[str, Any]) -> np.ndarray:
    """The array of `packed`."""
    kind = {"float32": "<f4", "int32": "<i4", "uint8": "u1"}[value["dtype"]]
    return np.frombuffer(base64.b64decode(value["data"]), kind).reshape(value["shape"])


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """(height, width, 3) of 8 bits: slopes with noise, so that a flip or a shift is seen.

    Far from 0 and 255: Pillow takes rows or columns first, which of them differs between its
    versions, and rounds between; where nothing is cut off, that is 1 of 255 at most.
    """
    rng = np.random.Generator(np.random.PCG64([seed, width, height]))
    y, x = np.mgrid[0:height, 0:width]
    slopes = np.stack([x / max(width - 1, 1), y / max(height - 1, 1), 0.5 + 0 * x], -1)
    return (60 + 135 * slopes + rng.uniform(-30, 30, slopes.shape)).astype(np.uint8)


def resize() -> list[dict[str, Any]]:
    """Pillow's resize: half-pixel centres, antialiased when it makes smaller; 1 of 255 is free."""
    sizes = [((13, 9), (7, 5)), ((13, 9), (29, 20)), ((16, 16), (16, 8)), ((1, 1), (4, 3))]
    sizes += [((64, 3), (5, 3)), ((5, 7), (5, 7)), ((40, 30), (3, 17))]
    cases = []
    for word in ("bilinear", "bicubic", "lanczos", "box", "hamming", "nearest"):
        for have, want in sizes:
            source = picture(*have)
            method = Image.Resampling[word.upper()]
            got = np.asarray(Image.fromarray(source).resize(want, method))
            cases.append({"interpolation": word, "picture": packed(source), "resized": packed(got)})
    return cases


def order() -> list[dict[str, Any]]:
    """Pillow 13's resize of black and white noise, exactly.

    From (w, h) to (W, H), columns come first where H < h and h - H > 2 (w - W).
    """
    sizes = [((10, 30), (8, 12)), ((20, 30), (8, 12)), ((12, 20), (8, 12)), ((12, 21), (8, 12))]
    sizes += [((8, 20), (20, 18)), ((8, 20), (20, 20)), ((9, 12), (20, 30))]
    cases = []
    for have, want in sizes:
        rng = np.random.Generator(np.random.PCG64([*have, *want]))
        source = rng.choice(np.array([0, 255], np.uint8), (have[1], have[0], 3))
        got = np.asarray(Image.fromarray(source).resize(want, Image.Resampling.LANCZOS))
        cases.append(
            {"interpolation": "lanczos", "picture": packed(source), "resized": packed(got)}
        )
    return cases


def orientation() -> list[dict[str, Any]]:
    """EXIF orientations 1 to 8, of files that Pillow wrote and turned; and no valid one."""
    cases = []
    for number in (1, 2, 3, 4, 5, 6, 7, 8, 0, 9):
        source = picture(5, 3, seed=number)
        exif = Image.Exif()
        exif[0x0112] = number
        stream = io.BytesIO()
        Image.fromarray(source).save(stream, "PNG", exif=exif)
        upright = np.asarray(ImageOps.exif_transpose(Image.open(stream)))
        cases.append({"orientation": number, "picture": packed(source), "upright": packed(upright)})
    return cases


def prepare() -> list[dict[str, Any]]:
    """timm's evaluation transforms, up to the crop; 1 of 255 is free, see `resize`."""
    from timm.data import create_transform

    pictures = [(31, 20), (20, 31), (24, 24), (9, 50), (1, 1)]
    rules: list[tuple[str, float, str]] = [
        ("center", 0.875, "bicubic"),
        ("center", 1.0, "bilinear"),
        ("squash", 0.9, "bicubic"),
        ("border", 1.0, "bicubic"),
        ("border", 0.8, "bilinear"),
    ]
    cases = []
    for size, (mode, share, word) in [(s, r) for s in pictures for r in rules]:
        target = (14, 14)
        source = picture(*size)
        transform = create_transform(
            (3, *target),
            interpolation=word,
            crop_pct=share,
            crop_mode=mode,
            mean=IMAGENET[0],
            std=IMAGENET[1],
            use_prefetcher=True,
        )
        pixels = np.asarray(transform(Image.fromarray(source)))
        pixels = pixels if pixels.shape[-1] == 3 else pixels.transpose(1, 2, 0)
        side = int(np.floor(target[0] / share))
        cases.append(
            {
                "picture": packed(source),
                "size": list(target),
                "rule": {
                    "resize": [side, side],
                    "crop_mode": mode,
                    "crop_pct": share,
                    "interpolation": word,
                    "source": "timm",
                },
                "mean": IMAGENET[0],
                "pixels": packed(pixels.astype(np.uint8)),
            }
        )
    return cases + stretched()


def stretched() -> list[dict[str, Any]]:
    """Without a rule the whole picture is stretched, bilinear; sides of the input may differ."""
    cases = []
    for size, target in (((31, 20), (10, 16)), ((6, 9), (12, 8))):
        source = picture(*size)
        method = Image.Resampling.BILINEAR
        pixels = np.asarray(Image.fromarray(source).resize(target[::-1], method))
        case = {"picture": packed(source), "size": list(target), "rule": None}
        cases.append({**case, "mean": PLAIN[0], "pixels": packed(pixels)})
    return cases


def normalize() -> list[dict[str, Any]]:
    """Pixels to the numbers of the file: channel order, mean and std, axes; float64."""
    cases = []
    for order in ("RGB", "BGR", "L"):
        for layout in ("NCHW", "NHWC"):
            for inside in (False, True):
                source = picture(6, 4, seed=len(cases))
                plane = source.astype(np.float64)
                if order == "L":
                    plane = np.asarray(Image.fromarray(source).convert("L"), np.float64)[..., None]
                mean, std = (IMAGENET[0][: plane.shape[2]], IMAGENET[1][: plane.shape[2]])
                plane = plane[..., ::-1] if order == "BGR" else plane
                values = plane if inside else (plane / 255 - np.array(mean)) / np.array(std)
                values = values.transpose(2, 0, 1) if layout == "NCHW" else values
                cases.append(
                    {
                        "pixels": packed(source),
                        "channel_order": order,
                        "layout": layout,
                        "inside": inside,
                        "mean": mean,
                        "std": std,
                        "values": packed(values[None]),
                    }
                )
    return cases


def classes() -> list[dict[str, Any]]:
    """softmax in float64 and the five likeliest."""
    rng = np.random.Generator(np.random.PCG64(4))
    rows = [rng.normal(0, 3, 20), rng.normal(0, 1, 3), np.array([1e5, 0, -1e5]), np.zeros(4)]
    cases = []
    for row in rows:
        logits = row.astype(np.float32)
        sure = torch.from_numpy(logits.astype(np.float64)).softmax(0)
        best = torch.sort(sure, descending=True, stable=True).indices[:5]
        case = {"logits": packed(logits), "probabilities": packed(sure.numpy())}
        cases.append({**case, "best": packed(best.numpy().astype(np.int32))})
    return cases


def suppression() -> list[dict[str, Any]]:
    """torchvision's batched_nms on every pair of box and class above the threshold."""
    from torchvision.ops import batched_nms

    cases = []
    settings = [(40, 3, 0.45, 0.02, 200), (60, 2, 0.6, 0.3, 10), (30, 1, 0.3, 0.5, 200)]
    settings.append((5, 2, 0.5, 0.99999, 9))
    for seed, (count, kinds, iou, least, limit) in enumerate(settings):
        rng = np.random.Generator(np.random.PCG64(seed))
        corner, side = rng.uniform(0, 60, (count, 2)), rng.uniform(5, 40, (count, 2))
        boxes = np.concatenate([corner, corner + side], 1).astype(np.float32)
        scores = rng.uniform(0, 1, (count, kinds)).astype(np.float32)
        anchors, labels = np.nonzero(scores > np.float32(least))
        sure = torch.from_numpy(scores[anchors, labels])
        kept = batched_nms(
            torch.from_numpy(boxes[anchors]).double(), sure.double(), torch.from_numpy(labels), iou
        ).numpy()[:limit]
        cases.append(
            {
                "boxes": packed(boxes),
                "scores": packed(scores),
                "iou_threshold": iou,
                "score_threshold": least,
                "limit": limit,
                "kept_boxes": packed(boxes[anchors[kept]]),
                "kept_scores": packed(scores[anchors[kept], labels[kept]]),
                "kept_classes": packed(labels[kept].astype(np.int32)),
            }
        )
    return cases


def boxes() -> list[dict[str, Any]]:
    """Boxes of the input to pixels of the photo, by the inverse of the map as a matrix.

    ``scale`` and ``offset``: input = photo * scale - offset; boxes are cut at the photo's edges.
    """
    cases = []
    for scale, offset, size in [
        ((0.5, 0.5), (8, 0), (100, 64)),
        ((2.0, 3.0), (0, -5), (40, 20)),
        ((0.16, 0.16), (-10, -40), (640, 480)),
    ]:
        given = np.array([[0, 0, 10, 10], [-20, 5, 30, 12], [3.5, 2.25, 90, 400]], np.float64)
        matrix = np.array([[scale[0], 0, -offset[0]], [0, scale[1], -offset[1]], [0, 0, 1]])
        corners = given.reshape(-1, 2)
        points = np.concatenate([corners, np.ones((len(corners), 1))], 1)
        found = (np.linalg.inv(matrix) @ points.T).T[:, :2].clip(0, size).reshape(-1, 4)
        case = {"scale": scale, "offset": offset, "size": size}
        cases.append({**case, "boxes": packed(given), "photo": packed(found)})
    return cases


def masks() -> list[dict[str, Any]]:
    """Logits of a small map, upsampled bilinear in float64 without aligned corners, then argmax."""
    cases = []
    for seed, (kinds, have, want) in enumerate([(4, (3, 4), (12, 16)), (3, (5, 5), (13, 7))]):
        rng = np.random.Generator(np.random.PCG64(seed))
        logits = rng.normal(0, 2, (1, kinds, *have)).astype(np.float32)
        whole = torch.nn.functional.interpolate(
            torch.from_numpy(logits).double(), size=want, mode="bilinear", align_corners=False
        )[0]
        labels, counts = torch.unique(whole.argmax(0), return_counts=True)
        shares = {int(k): int(n) / (want[0] * want[1]) for k, n in zip(labels, counts, strict=True)}
        cases.append(
            {
                "logits": packed(logits),
                "size": list(want),
                "labels": packed(whole.argmax(0).numpy().astype(np.int32)),
                "shares": [shares.get(k, 0.0) for k in range(kinds)],
            }
        )
    return cases


def samples() -> list[dict[str, Any]]:
    """The inputs that a manifest names, as NumPy makes them; NumPy's PCG64 is seeded with 0."""
    cases = []
    for shape in ((1, 3, 64, 64), (1, 1, 5, 3)):
        for name in ("noise-0", "pixel-noise-0"):
            rng = np.random.Generator(np.random.PCG64(0))
            made = rng.integers(0, 256, shape) if name[0] == "p" else rng.standard_normal(shape)
            values = made.astype("<f4")
            digest = hashlib.sha256(values.tobytes()).hexdigest()
            first = packed(values.reshape(-1)[:12])
            cases.append({"sample": name, "shape": shape, "sha256": digest, "first": first})
    return cases


def normals() -> list[dict[str, Any]]:
    """NumPy's standard normal numbers, float64 in C99's hexadecimal digits; seeded with 0."""
    values = np.random.Generator(np.random.PCG64(0)).standard_normal(600)
    return [{"values": [float(value).hex() for value in values]}]


def expected() -> list[dict[str, Any]]:
    """The largest error of an output, over the elements that a manifest keeps."""
    cases = []
    for seed, (count, integer) in enumerate([(10, False), (9001, False), (50, True)]):
        rng = np.random.Generator(np.random.PCG64(seed))
        truth = rng.integers(0, 9, count) if integer else rng.normal(0, 5, count)
        truth = truth.astype(np.float32)
        got = truth + rng.normal(0, 1e-3, count).astype(np.float32)
        if integer:
            got = np.where(rng.uniform(size=count) < 0.2, truth + 1, truth)
        kept = np.arange(count)
        if count > 4096:
            kept = np.array([k * 2654435761 % count for k in range(4096)])
        scale = float(np.abs(truth).max())
        error = np.abs(got[kept].astype(np.float64) - truth[kept]).max() / scale
        if integer:
            error = float(np.mean(got[kept] != truth[kept]))
        cases.append(
            {
                "count": count,
                "integer": integer,
                "scale": scale,
                "values": packed(truth[kept]),
                "got": packed(got),
                "error": float(error),
            }
        )
    return cases


def colours() -> list[dict[str, Any]]:
    """Of classes 0 to 39: hue in steps of the golden ratio; four tones, each for three classes."""
    tones = [(0.85, 0.95), (0.45, 0.95), (0.9, 0.6), (0.5, 0.7)]
    rows = []
    for index in range(40):
        saturation, value = tones[index // 3 % 4]
        parts = colorsys.hsv_to_rgb(index * 0.61803398875 % 1, saturation, value)
        rows.append([round(255 * part) for part in parts])
    return [{"colours": packed(np.array(rows, np.uint8))}]


def statistics() -> list[dict[str, Any]]:
    """Of durations in nanoseconds: NumPy's median and linear percentiles."""
    cases = []
    for seed, count in enumerate([1, 2, 7, 50]):
        rng = np.random.Generator(np.random.PCG64(seed))
        values = rng.gamma(9, 1e5, count).astype(np.int32)
        least, middle, most = np.percentile(values, [10, 50, 90])
        found = {"p10": float(least), "median": float(middle), "p90": float(most)}
        cases.append({"samples": packed(values), **found})
    return cases


SUBJECTS: tuple[Callable[[], list[dict[str, Any]]], ...] = (
    resize,
    order,
    orientation,
    prepare,
    normalize,
    classes,
    suppression,
    boxes,
    masks,
    samples,
    normals,
    expected,
    colours,
    statistics,
)


def text_of(subject: Callable[[], list[dict[str, Any]]]) -> str:
    """The file of a subject: one case a line."""
    about = " ".join((subject.__doc__ or "").split())
    lines = ",\n".join(json.dumps(case) for case in subject())
    return f'{{"about": {json.dumps(about)},\n"cases": [\n{lines}\n]}}\n'


def cases_of(name: str) -> list[dict[str, Any]]:
    """The cases of a subject, from its file."""
    found: list[dict[str, Any]] = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return found


if __name__ == "__main__":
    for each in SUBJECTS:
        (FOLDER / f"{each.__name__}.json").write_text(text_of(each))
