"""The one table of formats. Nothing else in the package spells a format's name to branch on it.

To add a format, write a folder beside this file and add its row here (docs/adding-a-format.md).
"""

from __future__ import annotations

from pathlib import Path

from ..errors import ArtifactError, UsageError
from ..system.options import options_of
from . import coreml, ncnn, onnx, tflite, tnn
from .row import Format, Precision

__all__ = [
    "FORMATS",
    "available_formats",
    "format_named",
    "format_of_file",
    "get_format",
    "is_named_as_file",
    "lacks_option",
    "precision_named",
    "precision_names",
    "require_batches",
    "require_open",
    "require_sizes",
    "require_suppression",
]

FORMATS: tuple[Format, ...] = (onnx.ROW, coreml.ROW, tflite.ROW, ncnn.ROW, tnn.ROW)


def get_format(name: str) -> Format:
    """The format called ``name``.

    Raises:
        UsageError: there is none.
    """
    for row in FORMATS:
        if row.name == name:
            return row
    names = ", ".join(row.name for row in FORMATS)
    raise UsageError(f"There is no format {name!r}.", hint=f"Valid formats: {names}.")


def available_formats() -> tuple[Format, ...]:
    """The formats whose libraries are installed."""
    return tuple(row for row in FORMATS if not row.missing())


def precision_names() -> tuple[str, ...]:
    """Every precision that some format has, each once, in the order of the table."""
    return tuple(dict.fromkeys(p.name for row in FORMATS for p in row.precisions))


def precision_named(name: str) -> Precision:
    """The precision called ``name``, of the first format that has it.

    Raises:
        UsageError: no format has it.
    """
    for row in FORMATS:
        for precision in row.precisions:
            if precision.name == name:
                return precision
    raise UsageError(
        f"There is no precision {name!r}.", hint=f"Valid values: {', '.join(precision_names())}."
    )


def lacks_option(name: str, flag: str) -> str:
    """Why the format called ``name`` has no option ``flag`` that another one has; "" of others."""
    for row in FORMATS:
        if row.name == name:
            fields = (
                field
                for each in FORMATS
                for field, said in options_of(each.options).items()
                if said.flag == flag
            )
            return next((row.lacks_options.get(field, "") for field in fields), "")
    return ""


def require_suppression(row: Format) -> None:
    """Raise UsageError, naming the host's function, where the format has no suppression."""
    if not row.suppresses:
        able = ", ".join(each.name for each in FORMATS if each.suppresses)
        raise UsageError(
            f"{row.title} files cannot end with non-maximum suppression.",
            hint=f"Leave nms out and run mobile_export.detection.suppress on boxes and scores on "
            f"the host (docs/detection.md). Formats that have it: {able}.",
        )


def require_batches(row: Format) -> None:
    """Raise UsageError, naming the formats that can, where a file takes one image at a time."""
    if not row.batches:
        able = ", ".join(each.name for each in FORMATS if each.batches)
        raise UsageError(
            f"{row.title} files take one image at a time, and no `batch`.",
            hint=f"Leave `batch` out and run the file once for each image. Formats that have it: "
            f"{able}.",
        )


def require_sizes(row: Format) -> None:
    """Raise UsageError, naming the formats that can, where a file takes images of one size."""
    if not row.sizes:
        able = ", ".join(f"{each.name} ({each.sizes})" for each in FORMATS if each.sizes)
        raise UsageError(
            f"A {row.title} file takes images of one size.",
            hint=f"Write a file for each, one `size` at a time. Formats that have several sizes in "
            f"one file: {able}.",
        )


def require_open(row: Format, what: str) -> None:
    """Raise UsageError, naming the formats that can, where a file does not leave ``what`` open.

    Args:
        what: "batch" or "size".
    """
    if what not in row.open_axes:
        able = ", ".join(each.name for each in FORMATS if what in each.open_axes)
        instead = f"Name sizes with `size` ({row.sizes})" if row.sizes else "Write a file for each"
        if what == "batch":
            instead = "Name a number with `batch`" if row.batches else "Run the file for each image"
        raise UsageError(
            f"A {row.title} file leaves no `dynamic` {what} open: {row.not_open}.",
            hint=f"{instead}. Formats that have it: {able}.",
        )


def format_of_file(path: Path) -> Format:
    """The format that has files with the last suffix of ``path``.

    Raises:
        ArtifactError: the file or a companion does not exist, or no format has that suffix.
    """
    suffixes = ", ".join(row.suffix for row in FORMATS)
    if not path.exists():
        raise ArtifactError(
            f"{path} does not exist.", hint=f"Give a file that mobile-export wrote ({suffixes})."
        )
    for row in FORMATS:
        if _has_suffix(row, path):
            _require_companions(row, path)
            return row
        if any(path.name.endswith(end.name) for end in row.companions_of(Path(row.suffix))):
            raise ArtifactError(
                f"{path} holds only the weights of a model ({row.title}).",
                hint=f"Give the {row.suffix} file beside it.",
            )
    raise ArtifactError(f"{path} has no known suffix.", hint=f"Valid suffixes: {suffixes}.")


def is_named_as_file(path: Path) -> bool:
    """Whether ``path`` is called as the files of a format are; it need not be there."""
    return format_named(path) is not None


def format_named(path: Path) -> Format | None:
    """The format whose files are called as ``path`` is, which need not be there; None: no one."""
    return next((row for row in FORMATS if _has_suffix(row, path)), None)


def _has_suffix(row: Format, path: Path) -> bool:
    return bool(path.suffix) and row.suffix.endswith(path.suffix)


def _require_companions(row: Format, path: Path) -> None:
    for file in row.companions_of(path):
        if not file.is_file():
            raise ArtifactError(
                f"{file} does not exist; it holds the weights of {path}.",
                hint="Keep the two files in one folder, under one name.",
            )
