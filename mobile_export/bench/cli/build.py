"""The command that builds our native runner: ``mobile-bench build-runner``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson, Verbose

__all__ = ["build_runner"]


def build_runner(
    arch: Annotated[str, typer.Option(help="Of the device: aarch64 or x86_64.")] = "aarch64",
    compiler: Annotated[
        str, typer.Option(help="debian (g++-aarch64-linux-gnu) or zig (ziglang from PyPI).")
    ] = "debian",
    sdist: Annotated[
        Path | None,
        typer.Option(
            help="ncnn's source distribution, when pip cannot download it.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Build the ncnn runner for phones from PyPI's ncnn sources (about 5 minutes, once)."""
    from ...system.terminal import progress_line
    from ..native.build import build_runner as build

    with progress_line(enabled=not as_json) as progress:
        built = build(arch, compiler, sdist=sdist, progress=progress)
    if as_json:
        typer.echo(json.dumps({"path": str(built.path), **built.facts}, indent=2))
    else:
        typer.echo(built.path)
