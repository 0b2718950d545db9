"""The shortest complete program that loads a file and makes its answer on a picture.

The numbers in it are the manifest's. A program in Python needs NumPy, Pillow and the file's
runtime, nothing of ours; one in Kotlin needs the package ``dev.mobileexport.kit`` of the sample
app, which is plain Kotlin, and the runtime; one in Swift needs the package ``MobileExportKit`` of
the other sample app; one in C++ needs ncnn and the header stb_image.h.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..artifacts.manifest import read_manifest
from ..errors import UsageError
from ..exporters.table import format_of_file
from .copy import require_shown
from .cpp import cpp_program, quoted_in_cpp

if TYPE_CHECKING:
    from ..artifacts.interface import FileInput, Preprocessing
    from ..artifacts.manifest import Manifest

__all__ = ["LANGUAGES", "Language", "make_snippet", "quoted_in_swift"]


def make_snippet(file: Path, language: str) -> str:
    """A program for ``file``; its manifest stands beside it.

    Raises:
        UsageError: there is none in this language, for this format, or for what the file takes.
        ArtifactError: the manifest is missing or not valid.
    """
    if language not in LANGUAGES:
        raise UsageError(
            f"There is no program in {language!r}.", hint=f"Valid are {', '.join(LANGUAGES)}."
        )
    row = format_of_file(file)
    manifest = read_manifest(file)
    chosen = LANGUAGES[language]
    program = Path(__file__).parent / "programs" / (row.name + chosen.suffix)
    if not program.is_file():
        raise UsageError(
            f"{file} is of the format {row.name}, for which there is no program in {language} yet.",
            hint="`mobile-export run FILE PICTURE` answers with every format.",
        )
    require_shown(file, manifest)
    assert manifest.interface is not None
    shape = manifest.input.shape
    if len(shape) != 4 or shape[0] != 1 or shape[1] not in (1, 3):
        raise UsageError(f"{file} takes an input of shape {list(shape)}; a picture is none.")
    if manifest.interface.inputs[0].image:
        raise UsageError(
            f"{file} takes an image of Core ML, for which there is no program yet.",
            hint="Export it without `image_input`, or see ios_app/App/CoreMLModel.swift.",
        )
    runtime = _filled(program.read_text(encoding="utf-8"), file, manifest, chosen.quoted)
    return chosen.whole(file, manifest, runtime)


def _python(file: Path, manifest: Manifest, runtime: str) -> str:
    assert manifest.interface is not None
    given = manifest.interface.inputs[0]
    lines = [
        f'"""{_plain(file.name)} on a picture: python {_plain(file.stem)}.py PICTURE"""',
        "",
        "import sys",
        "",
        "import numpy as np",
        "from PIL import Image, ImageOps",
        *runtime.splitlines(),
        "",
        "",
        'picture = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")',
        *_python_picture(manifest, given),
        "outputs = run(values)",
        *_python_answer(manifest),
    ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("\\", "").replace('"', "")


def _python_picture(manifest: Manifest, given: FileInput) -> list[str]:
    height, width = manifest.input.shape[2:]
    grey = manifest.input.shape[1] == 1
    lines = ['plain = picture.convert("L")' if grey else "plain = picture"]
    lines += _python_resize(manifest.preprocessing, height, width)
    mode = "L" if grey else "RGB"
    border = manifest.preprocessing is not None and manifest.preprocessing.crop_mode == "border"
    means = [round(255 * min(max(m, 0.0), 1.0)) for m in manifest.input.mean or ()]
    fill = means if border and means else [0] * manifest.input.shape[1]
    lines += [
        f'shown = Image.new("{mode}", ({width}, {height}), {fill[0] if grey else tuple(fill)})',
        "shown.paste(plain, (-left, -top))",
        f"values = np.asarray(shown, np.float64).reshape(1, {height}, {width}, -1)",
    ]
    if given.channel_order == "BGR":
        lines.append("values = values[..., ::-1]")
    form = given.normalization
    if form is not None and not form.inside:
        lines.append(f"values = (values / 255 - {list(form.mean)}) / {list(form.std)}")
    if given.layout is not None and not given.layout.endswith("C"):
        lines.append("values = values.transpose(0, 3, 1, 2)")
    return [*lines, f"values = np.ascontiguousarray(values, np.{given.dtype})"]


def _python_resize(rule: Preprocessing | None, height: int, width: int) -> list[str]:
    if rule is None:
        return [
            f"plain = plain.resize(({width}, {height}), Image.Resampling.BILINEAR)",
            "left = top = 0",
        ]
    high, wide = rule.resize
    if rule.crop_mode == "squash":
        lines = [f"size = ({wide}, {high})"]
    elif rule.crop_mode == "center" and high == wide:
        lines = [
            f"longer = int({high} * max(plain.size) / min(plain.size))",
            f"size = ({high}, longer) if plain.width <= plain.height else (longer, {high})",
        ]
    else:
        choose = "max" if rule.crop_mode == "border" else "min"
        lines = [
            f"ratio = {choose}(plain.height / {high}, plain.width / {wide})",
            "size = (max(1, round(plain.width / ratio)), max(1, round(plain.height / ratio)))",
        ]
    word = rule.interpolation.upper()
    known = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")
    word = word if word in known else "BILINEAR"
    return [
        *lines,
        f"plain = plain.resize(size, Image.Resampling.{word})",
        "left, top = (",
        "    round(d / 2) if d >= 0 else -(-d // 2)",
        f"    for d in (plain.width - {width}, plain.height - {height})",
        ")",
    ]


def _python_answer(manifest: Manifest) -> list[str]:
    assert manifest.interface is not None
    found = {each.meaning: k for k, each in reversed(list(enumerate(manifest.interface.outputs)))}
    shapes = {each.name: each.shape for each in manifest.outputs}  # with the batch, in every format
    name = f"NAMES = {json.dumps(manifest.fitting_labels)}"
    for meaning in ("probabilities", "logits"):
        if meaning not in found:
            continue
        output = manifest.interface.outputs[found[meaning]]
        if len(shapes.get(output.source or "", output.shape)) == 2:
            lines = [name, f"scores = outputs[{found[meaning]}][0].astype(np.float64)"]
            if meaning == "logits":
                lines.append("scores = np.exp(scores - scores.max())")
                lines.append("scores /= scores.sum()")
            return [
                *lines,
                "for k in np.argsort(-scores, kind='stable')[:5]:",
                "    print(k, NAMES[k] if k < len(NAMES) else '', round(float(scores[k]), 4))",
            ]
    return [
        f"for name, value in zip({[each.name for each in manifest.interface.outputs]}, outputs):",
        "    print(name, value.shape, value.min(), value.max())",
    ]


def _runtime_only(file: Path, manifest: Manifest, runtime: str) -> str:
    """The sample app's kit does the rest, with the manifest."""
    return runtime


def _filled(template: str, file: Path, manifest: Manifest, quoted: Callable[[str], str]) -> str:
    """A program with the names of this file in it, as texts of its language."""
    assert manifest.interface is not None
    names = {
        "@file@": quoted(file.name),
        "@input@": quoted(manifest.interface.inputs[0].name),
        "@outputs@": ", ".join(quoted(each.name) for each in manifest.interface.outputs),
        "@weights@": "".join(quoted(part.file) for part in manifest.companions[:1]),
    }
    return re.sub("@(file|input|outputs|weights)@", lambda found: names[found[0]], template)


def _quoted_in_kotlin(text: str) -> str:
    return json.dumps(text).replace("$", "\\$")


def quoted_in_swift(text: str) -> str:
    """A text as a literal of Swift."""
    plain = "".join(c if c.isprintable() else f"\\u{{{ord(c):x}}}" for c in _escaped(text))
    return f'"{plain}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


@dataclass(frozen=True)
class Language:
    """How a program in a language is made.

    Attributes:
        suffix: of the files in ``programs/``, one for each format.
        quoted: a text, as the language writes it.
        whole: the program, of the part that runs the file.
    """

    suffix: str
    quoted: Callable[[str], str]
    whole: Callable[[Path, Manifest, str], str]


LANGUAGES = {
    "python": Language(".py.txt", json.dumps, _python),
    "kotlin": Language(".kt", _quoted_in_kotlin, _runtime_only),
    "swift": Language(".swift", quoted_in_swift, _runtime_only),
    "cpp": Language(".cpp", quoted_in_cpp, cpp_program),
}
