"""The command line ``mobile-bench``: thin; measuring is `bench.measure`, tables are `bench.report`.

Exit codes: 0 done, 1 a wrong output or a regression, 2 an error, 130 interrupted.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from ...system.typed import RunByDefault
from . import cost as cli_cost
from . import tables as cli_tables
from .build import build_runner
from .importing import import_command
from .options import FLAGS, AsJson, Verbose
from .pareto import pareto
from .published import published
from .queue import queue
from .run import run

if TYPE_CHECKING:
    from ...errors import MobileExportError

__all__ = ["app", "main"]

_INTERRUPTED = 130


app = typer.Typer(
    name="mobile-bench",
    cls=RunByDefault,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        from ... import __version__

        typer.echo(f"mobile-bench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
) -> None:
    """Measure exported files on this machine, phones and boards, and lay the figures out beside
    the published ones. `mobile-bench MODEL...` is `mobile-bench run MODEL...`."""


app.command()(run)
app.command()(queue)


@app.command()
def devices(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """List what is connected: SoC, cores and clusters, system, memory, temperature."""
    from ...errors import DeviceError
    from ..devices import Found, connect, found_devices

    rows: list[tuple[Any, Any, Any]] = []
    for found in found_devices():
        if found.problem is not None:
            rows.append((found, None, None))
            continue
        try:
            device = connect(found.spec)
            try:
                rows.append((found, device.describe(), device.state()))
            finally:
                device.close()
        except DeviceError as error:
            rows.append((Found(found.spec, error.message), None, None))
    if as_json:
        facts = [
            {"spec": found.spec, "problem": found.problem}
            if info is None
            else {"spec": found.spec, "info": info.to_dict(), "state": state.to_dict()}
            for found, info, state in rows
        ]
        typer.echo(json.dumps(facts, indent=2))
        return
    from .console import print_devices

    print_devices(rows)


@app.command()
def runners(as_json: AsJson = False) -> None:
    """List what can execute which format on which device."""
    if as_json:
        from ..runners import RUNNERS

        typer.echo(json.dumps([row.to_dict() for row in RUNNERS], indent=2))
        return
    from .console import print_runners

    print_runners()


app.command(cls=cli_tables.PaperCommand)(cli_tables.table)
app.command()(cli_tables.compare)
app.command()(pareto)
app.command()(published)
app.command("import")(import_command)
app.command()(build_runner)
cli_cost.add_commands(app)


def main() -> None:
    """Entry point: runs the app, turns our errors into one message and an exit code."""
    from ...errors import MobileExportError
    from ...system.quiet import open_closed_streams
    from ...system.typed import run_typed

    open_closed_streams()
    try:
        sys.exit(run_typed(app, help="--help"))
    except MobileExportError as error:
        _fail(error)
    except Exception as error:  # a bug of ours; a person gets one message, not a traceback
        from ...system.terminal import unprinted

        said = unprinted(error)
        if said is not None:
            _fail(MobileExportError(said, hint="What was measured is in the store."))
        if "--verbose" in sys.argv:
            raise
        _fail(_as_bug(error))
    except SystemExit as stop:
        if stop.code == _INTERRUPTED:
            sys.stderr.write("Interrupted; what was measured before is in the store.\n")
        raise


def _fail(error: MobileExportError) -> NoReturn:
    """One message and the exit code."""
    from ...system.messages import typed_error
    from ...system.terminal import report_error

    error = typed_error(error, FLAGS)
    report_error(error, as_json="--json" in sys.argv)
    sys.exit(error.exit_code)


def _as_bug(error: Exception) -> MobileExportError:
    from ...errors import MobileExportError

    return MobileExportError(
        f"mobile-bench itself failed: {type(error).__name__}: {error}",
        hint="That is a bug; what was measured before is in the store. Run again with --verbose "
        "for the traceback, and please report it.",
    )


if __name__ == "__main__":
    main()
