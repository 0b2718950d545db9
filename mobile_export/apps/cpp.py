"""A program in C++ for an ncnn file: numbers of the manifest, in the texts of ``programs/``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..artifacts.interface import Box, Preprocessing
    from ..artifacts.manifest import Manifest

__all__ = ["cpp_program", "quoted_in_cpp"]

_ANSWERS = Path(__file__).parent / "programs" / "answers"
_FILTERS = {
    "nearest": (0.5, "0 * x"),
    "box": (0.5, "x > -0.5 && x <= 0.5 ? 1 : 0"),
    "bilinear": (1.0, "std::max(0.0, 1 - std::abs(x))"),
    "hamming": (
        1.0,
        "x == 0 ? 1 : std::abs(x) >= 1 ? 0 : std::sin(M_PI * x) / (M_PI * x) * "
        "(0.54 + 0.46 * std::cos(M_PI * x))",
    ),
    "bicubic": (
        2.0,
        "std::abs(x) < 1 ? (1.5 * std::abs(x) - 2.5) * x * x + 1 : std::abs(x) < 2 ? "
        "(((std::abs(x) - 5) * std::abs(x) + 8) * std::abs(x) - 4) * -0.5 : 0",
    ),
    "lanczos": (
        3.0,
        "x == 0 ? 1 : std::abs(x) >= 3 ? 0 : std::sin(M_PI * x) / (M_PI * x) * "
        "std::sin(M_PI * x / 3) / (M_PI * x / 3)",
    ),
}
"""Half the width and the formula of Pillow's filters (libImaging/Resample.c)."""


def cpp_program(file: Path, manifest: Manifest, runtime: str) -> str:
    """The program, of the part that runs the file."""
    assert manifest.interface is not None
    given, shape = manifest.interface.inputs[0], manifest.input.shape
    grey = shape[1] == 1
    rule = manifest.preprocessing
    form = given.normalization
    outside = form is not None and not form.inside
    means = [round(255 * min(max(mean, 0.0), 1.0)) for mean in manifest.input.mean or ()]
    border = rule is not None and rule.crop_mode == "border" and len(means) == shape[1]
    names = {
        "title": re.sub(r'[\\"]', "", file.name),
        "width": str(shape[3]),
        "height": str(shape[2]),
        "channels": str(shape[1]),
        "order": "0" if grey else "2, 1, 0" if given.channel_order == "BGR" else "0, 1, 2",
        "scale": repr(form.scale) if form is not None and outside else "1",
        "mean": _numbers(form.mean if form is not None and outside else [0] * shape[1]),
        "std": _numbers(form.std if form is not None and outside else [1] * shape[1]),
        "fill": _numbers(means if border else [0] * shape[1]),
        "names": ", ".join(quoted_in_cpp(label) for label in manifest.fitting_labels),
        "source": f" ({_plain(rule.source)})" if rule is not None else "",
        "size": _size(rule),
        "filter": _filter(rule),
        "answer": _answer(manifest).rstrip(),
    }
    return _filled(runtime, names)


def quoted_in_cpp(text: str) -> str:
    """A text as a literal of C++, in UTF-8; what is not printed, in octal digits."""
    parts = []
    for letter in text:
        if letter in '\\"?':  # ?? begins a trigraph
            parts.append("\\" + letter)
        elif letter.isprintable():
            parts.append(letter)
        else:
            parts += [f"\\{byte:03o}" for byte in letter.encode("utf-8", "surrogatepass")]
    return '"' + "".join(parts) + '"'


def _plain(text: str) -> str:
    """For a comment of one line."""
    return "".join(letter for letter in text if letter.isprintable() and letter != "\\")


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(repr(value) for value in values)


def _filled(text: str, names: dict[str, str]) -> str:
    return re.sub(rf"@({'|'.join(names)})@", lambda found: names[found[1]], text)


def _size(rule: Preprocessing | None) -> str:
    """The lines that say how large the picture becomes before the crop, as `prepare` does."""
    if rule is None:
        return (
            "    (void)width, (void)height;  // no rule is known: stretched\n"
            "    wide = WIDTH, high = HEIGHT;"
        )
    high, wide = rule.resize
    if rule.crop_mode == "squash":
        return f"    (void)width, (void)height;\n    wide = {wide}, high = {high};"
    if rule.crop_mode == "center" and high == wide:
        return (
            f"    wide = width <= height ? {high} : std::floor({high} * width / height);\n"
            f"    high = width <= height ? std::floor({high} * height / width) : {high};"
        )
    choose = "max" if rule.crop_mode == "border" else "min"
    return (
        f"    const double ratio = std::{choose}(height / {high}, width / {wide});\n"
        "    wide = std::max(1.0, std::nearbyint(width / ratio));\n"
        "    high = std::max(1.0, std::nearbyint(height / ratio));"
    )


def _filter(rule: Preprocessing | None) -> str:
    word = "bilinear" if rule is None else rule.interpolation.lower()
    word = word if word in _FILTERS else "bilinear"
    support, formula = _FILTERS[word]
    nearest = "true" if word == "nearest" else "false"
    return (
        f"// The filter: {word}.\nconstexpr bool NEAREST = {nearest};\n"
        f"constexpr double SUPPORT = {support};\n\n"
        f"static double filter(double x)\n{{\n    return {formula};\n}}"
    )


def _answer(manifest: Manifest) -> str:
    """The function that prints what the outputs say, by their meanings."""
    assert manifest.interface is not None
    outputs = manifest.interface.outputs
    at = {each.meaning: k for k, each in reversed(list(enumerate(outputs)))}
    scores = at.get("probabilities", at.get("logits"))
    shapes = {each.name: each.shape for each in manifest.outputs}
    shape = () if scores is None else shapes.get(outputs[scores].source or "", ())
    names: dict[str, str] = {}
    name = "numbers"
    if "boxes" in at and "scores" in at:
        name = "objects"
        names = {"boxes": str(at["boxes"]), "scores": str(at["scores"])}
        names["edges"] = _edges(outputs[at["boxes"]].box)
    elif scores is not None and len(shape) == 2:
        name = "classes"
        names = {"scores": str(scores), "logits": str("probabilities" not in at).lower()}
    elif scores is not None and len(shape) == 4 and shape[1] > 1:
        name, names = "segments", {"scores": str(scores)}
    elif "upscaled" in at:
        name, names = "image", {"image": str(at["upscaled"])}
    text = (_ANSWERS / f"{name}.cpp").read_text(encoding="utf-8")
    return _filled(text, names) if names else text


def _edges(box: Box | None) -> str:
    """Left, top, right and bottom in pixels of the input, of the four numbers ``b`` of a box."""
    order = ("left", "top", "right", "bottom") if box is None else box.order
    at = {name: f"b[{k}]" for k, name in enumerate(order)}
    sides = []
    for first, last, centre, length, size in (
        ("left", "right", "centre x", "width", "WIDTH"),
        ("top", "bottom", "centre y", "height", "HEIGHT"),
    ):
        low = at.get(first) or f"{at.get(centre, '0')} - {at.get(length, '0')} / 2"
        high = at.get(last) or f"{low} + {at.get(length, '0')}"
        unit = f" * {size}" if box is not None and box.unit == "image" else ""
        sides.append((f"({low}){unit}", f"({high}){unit}"))
    (left, right), (top, bottom) = sides
    return ", ".join((left, top, right, bottom))
