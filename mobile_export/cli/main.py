"""The command line ``mobile-export``: its commands, one for each format of the table among them.

Exit codes: 0 done and proven, 1 parity failed or inconclusive, 2 an error, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from ..exporters.table import FORMATS, lacks_option
from . import evaluate as cli_evaluate
from . import look as cli_look
from . import matrix as cli_matrix
from . import run as cli_run
from .app import app_commands, snippet
from .export import export_command, prepare
from .placement import placement
from .sweep import sweep_commands

if TYPE_CHECKING:
    from ..errors import MobileExportError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="mobile-export",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from .. import __version__

        typer.echo(f"mobile-export {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Export PyTorch vision models to phone-ready files, each executed here and compared with the
    original model."""


for _row in FORMATS:
    app.command(_row.name)(export_command((_row,), (_row.name,), _row.summary))
app.command("all")(
    export_command(
        FORMATS, None, "Write every format whose libraries are installed, tracing the model once."
    )
)
app.command()(prepare)
app.command()(cli_look.verify)
app.command()(cli_look.inspect)
app.command()(cli_run.run)
app.command()(cli_evaluate.evaluate)
app.command()(placement)
app.command("list")(cli_look.list_models)
app.command()(cli_look.info)
app.command()(cli_look.doctor)
app.command()(cli_matrix.matrix)
app.add_typer(sweep_commands, name="sweep")
app.add_typer(app_commands, name="app")
app.command()(snippet)


def main() -> None:
    """Entry point: runs the app, turns our errors into one message and an exit code."""
    from ..errors import MobileExportError
    from ..system.quiet import open_closed_streams
    from ..system.typed import run_typed

    open_closed_streams()
    try:
        sys.exit(run_typed(app, help="--help", why_not=lacks_option))
    except MobileExportError as error:
        from .messages import typed_error

        _fail(typed_error(error))
    except Exception as error:  # a bug of ours; a person gets one message, not a traceback
        from ..system.terminal import unprinted

        said = unprinted(error)
        if said is not None:
            hint = "Files that had passed are in their place, each with its manifest."
            _fail(MobileExportError(said, hint=hint))
        if "--verbose" in sys.argv:
            raise
        _fail(_as_bug(error))
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            sys.stderr.write("Interrupted; no half-written file was left.\n")
        raise


def _fail(error: MobileExportError) -> NoReturn:
    """One message and the exit code."""
    from ..system.terminal import report_error

    report_error(error, as_json="--json" in sys.argv)
    sys.exit(error.exit_code)


def _as_bug(error: Exception) -> MobileExportError:
    from ..errors import BUG, MobileExportError

    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):  # PyTorch's words
        return MobileExportError(
            "There is not enough memory here for this model at this size.",
            hint="Nothing was written. Give a smaller --size.",
        )
    return MobileExportError(
        f"{BUG}: {type(error).__name__}: {error}",
        hint="That is a bug; nothing was written. Run again with --verbose for the traceback, and "
        "please report it with the model.",
    )


if __name__ == "__main__":
    main()
