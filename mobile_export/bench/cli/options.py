"""The options of ``mobile-bench``: each is declared once and used by every command that has it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["AsJson", "Device", "Flagged", "Force", "Label", "Models", "Store", "Verbose"]

Models = Annotated[
    list[str],
    typer.Argument(
        help="Models, by the name they were exported under (emo_2m, timm/resnet18): their files "
        "in the current folder; or files.",
        show_default=False,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "-d", "--device", help="local, adb[:SERIAL], ssh://USER@HOST[:PORT], ios[:UDID], qemu."
    ),
]
Store = Annotated[
    Path, typer.Option("--store", help="File of measurements, JSON lines, only appended to.")
]
Label = Annotated[
    str | None, typer.Option(help="Your own word for these measurements.", show_default=False)
]
Flagged = Annotated[
    bool,
    typer.Option("--all", help="Also measurements flagged as contended, throttled, failed, …"),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Let a bug show its traceback.")]
