"""The command ``mobile-export matrix``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..system.options import Range
from ..system.typed import number
from .options import AsJson, Force

if TYPE_CHECKING:
    from ..exporters.row import Format

__all__ = ["matrix"]


def matrix(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models, as for the other commands.")
    ] = None,
    list_file: Annotated[
        Path | None,
        typer.Option("--models", help="A list: NAME [SIZE] a line.", show_default=False),
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            help="onnx,coreml:fp32,…; every installed format by default.", show_default=False
        ),
    ] = None,
    runtime: Annotated[
        str | None,
        typer.Option(
            help="Let another runtime judge the files, too: openvino for ONNX.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The result; FILE.md is written beside it.")
    ] = Path("matrix.json"),
    jobs: Annotated[
        int | None,
        number(
            within=Range(1, 1024, whole=True),
            help="Exports at once; one per core by default.",
            show_default=False,
        ),
    ] = None,
    time_limit: Annotated[
        float, number(within=Range(1, 30 * 24 * 3600), help="Seconds of one export.")
    ] = 900.0,
    retry: Annotated[
        bool, typer.Option("--retry", help="Run those again that did not pass.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export many models in many formats, each in a process of its own, and tabulate the errors.

    A run that was stopped goes on where it was; --force begins anew. Exit code 1 when a cell did
    not pass.
    """
    from ..errors import ArtifactError, UsageError
    from ..exporters.table import available_formats
    from ..sweep.cell import cells_of
    from ..sweep.report import is_markdown_of_ours, markdown
    from ..sweep.run import full_name, read_models, run_matrix
    from ..sweep.store import Matrix
    from ..system.files import write_whole
    from .console import matrix_progress, print_matrix

    if out.suffix != ".json":
        raise UsageError(f"{out} is not a .json file.", hint="Write -o FILE.json.")
    document = out.with_suffix(".md")
    if not is_markdown_of_ours(document):
        raise UsageError(
            f"{document} exists and is not the result of mobile-export matrix.",
            hint="Choose another file with -o FILE.json.",
        )
    wanted: list[tuple[str, str | None]] = [(full_name(name), None) for name in models or ()]
    wanted += read_models(list_file) if list_file else []
    if not wanted:
        raise UsageError(
            "No model was named.", hint="Name some, or give a list with --models FILE."
        )
    names = formats.split(",") if formats else _judged_by(runtime, available_formats())
    cells = cells_of(wanted, names, runtime)
    result = Matrix(out, anew=force)
    try:
        with matrix_progress(cells, result, enabled=not as_json) as finished:
            rows = run_matrix(
                cells,
                result,
                jobs=jobs or os.cpu_count() or 1,
                time_limit=time_limit,
                retry=retry,
                finished=finished,
            )
    finally:
        if result.rows:
            write_whole(document, markdown(result.rows).encode(), error=ArtifactError)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        print_matrix(rows, out)
    if any(row.status != "passed" for row in rows):
        raise typer.Exit(1)


def _judged_by(runtime: str | None, formats: Sequence[Format]) -> list[str]:
    """Names of the formats whose files a runtime can judge; of all formats for None."""
    found = [
        row.name
        for row in formats
        if runtime is None or any(each.name == runtime for each in row.other_runtimes)
    ]
    return found or [row.name for row in formats]
