"""The options of ``mobile-export``: each is declared once and used by every command that has it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "AllowMissing",
    "AsJson",
    "Channels",
    "Classifier",
    "Explain",
    "Force",
    "ImageInput",
    "KeepFailed",
    "Labels",
    "Layout",
    "Mean",
    "Model",
    "Name",
    "Nms",
    "NmsIou",
    "NmsMax",
    "NmsOnHost",
    "NmsScore",
    "NoPass",
    "NumClasses",
    "OutDir",
    "Precision",
    "Pretrained",
    "Seed",
    "Size",
    "Std",
    "Target",
    "Verbose",
    "Weights",
    "read_options",
    "source_options",
]

Model = Annotated[
    str,
    typer.Argument(
        help="A zoo name (emo_2m), timm/NAME, package.module:factory[?key=value], or file.pt2.",
        show_default=False,
    ),
]
OutDir = Annotated[Path, typer.Option("-o", "--out", help="Folder of the files.")]
Name = Annotated[str | None, typer.Option(help="File name without suffix.", show_default=False)]
Weights = Annotated[
    Path | None,
    typer.Option(
        help="Checkpoint: .pth, .pt or .safetensors; or a folder with a file for each part.",
        show_default=False,
    ),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="A changed classifier keeps its random weights.")
]
Pretrained = Annotated[
    bool, typer.Option("--pretrained", help="Download the weights (timm/NAME only).")
]
NumClasses = Annotated[int | None, typer.Option(help="Size of the classifier.", show_default=False)]
Size = Annotated[
    str | None,
    typer.Option(
        help="Input size in pixels: 224 or 512x1024 (height x width).", show_default=False
    ),
]
Channels = Annotated[
    int | None, typer.Option(help="Input channels of your own model.", show_default=False)
]
Mean = Annotated[
    str | None,
    typer.Option(help="Normalisation of pixels in [0, 1], e.g. 0.5,0.5,0.5.", show_default=False),
]
Std = Annotated[str | None, typer.Option(help="As --mean.", show_default=False)]
Labels = Annotated[
    Path | None, typer.Option(help="Text file with one class label a line.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Seed of random weights.")]
Precision = Annotated[
    str | None,
    typer.Option(help="fp16 or fp32; each format has its default.", show_default=False),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
KeepFailed = Annotated[bool, typer.Option("--keep-failed", help="Keep a file whose parity failed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Let the vendors' own output through.")]
Explain = Annotated[
    bool, typer.Option("--explain", help="Show what every graph pass rewrote and refused, and why.")
]
NoPass = Annotated[
    list[str] | None,
    typer.Option(
        "--no-pass", help="Leave a graph pass out; may be given again.", show_default=False
    ),
]
Target = Annotated[str, typer.Option(help="Minimum deployment target: ios15, ios16, ios17, ios18.")]
ImageInput = Annotated[
    bool, typer.Option("--image-input", help="Take an 8-bit image, normalised inside the program.")
]
Classifier = Annotated[
    bool, typer.Option("--classifier", help="Add the class labels; the output is probabilities.")
]
Layout = Annotated[str, typer.Option(help="Layout of the image input: nhwc or nchw.")]
Nms = Annotated[bool, typer.Option("--nms", help="End a detector with non-maximum suppression.")]
NmsIou = Annotated[
    float | None,
    typer.Option(help="Overlap above which boxes suppress each other: 0.45.", show_default=False),
]
NmsScore = Annotated[
    float | None, typer.Option(help="Least score of a detection: 0.02.", show_default=False)
]
NmsMax = Annotated[int | None, typer.Option(help="Detections at most: 200.", show_default=False)]
NmsOnHost = Annotated[
    bool, typer.Option("--nms", help="Refused: this format has no suppression.", hidden=True)
]


def read_options(values: dict[str, Any]) -> dict[str, Any]:
    """The options of a command, with the texts of --size, --mean, --std and --labels read."""
    from .texts import parse_numbers, parse_size, read_labels

    readers: dict[str, Callable[[Any], Any]] = {
        "size": parse_size,
        "mean": parse_numbers,
        "std": parse_numbers,
        "labels": read_labels,
    }
    return {
        key: readers[key](value) if key in readers and value is not None else value
        for key, value in values.items()
    }


_SOURCE_OPTIONS = (
    "model",
    "weights",
    "allow_missing",
    "pretrained",
    "num_classes",
    "size",
    "channels",
    "mean",
    "std",
    "seed",
)


def source_options(values: dict[str, Any]) -> dict[str, Any]:
    """Those of a command's options that say how the model is built."""
    return {key: values[key] for key in _SOURCE_OPTIONS}
