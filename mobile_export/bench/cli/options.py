"""The options of ``mobile-bench``: each is declared once and used by every command that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "FLAGS",
    "AsJson",
    "Backends",
    "Devices",
    "Flagged",
    "Force",
    "Label",
    "Layout",
    "Models",
    "Out",
    "Store",
    "Verbose",
    "words_of",
]

FLAGS = {"force": "--force", "size": "--size", "weights": "--weights", "precision": "--precision"}
"""The option of every argument that a message may name"""

Models = Annotated[
    list[str],
    typer.Argument(
        help="Models, by the name they were exported under (emo_2m, timm/resnet18): their files "
        "in the current folder; or files.",
        show_default=False,
    ),
]
Devices = Annotated[
    list[str] | None,
    typer.Option(
        "-d",
        "--device",
        help="local, adb[:SERIAL], ssh://USER@HOST[:PORT], ios[:UDID], qemu; may be given again. "
        "local by default.",
        show_default=False,
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        help="Of the runner; see `mobile-bench runners`. Several, one measurement each: "
        "cpu,gpu,nnapi.",
        show_default=False,
    ),
]
Store = Annotated[
    Path, typer.Option("--store", help="File of measurements, JSON lines, only appended to.")
]
Label = Annotated[
    str | None, typer.Option(help="Your own word for these measurements.", show_default=False)
]
Layout = Annotated[str, typer.Option("--as", help="terminal, markdown, csv, latex or html.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="Write there.", show_default=False)]
Flagged = Annotated[
    bool,
    typer.Option("--all", help="Also measurements flagged as contended, throttled, failed, …"),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Let a bug show its traceback.")]


def words_of(options: list[str] | None) -> tuple[str, ...]:
    """Of an option that may be given again and whose values may be joined by commas: each once."""
    words = (word.strip() for option in options or () for word in option.split(","))
    return tuple(dict.fromkeys(filter(None, words)))
