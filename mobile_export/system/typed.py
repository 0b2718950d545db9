"""What both programs do with what was typed: numbers in a range, mistakes as our errors."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from ..errors import UsageError
from .options import Range, shortened

__all__ = ["RunByDefault", "number", "run_typed"]

_NO_COMMAND = "NoArgsIsHelpError"
"""typer's error of a group that nothing was typed behind."""
_NO_OPTION = "NoSuchOption"
"""typer's error of an option that a command does not have."""


class RunByDefault(TyperGroup):
    """``mobile-bench emo_2m`` is ``mobile-bench run emo_2m``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the class.

        Raises:
            UsageError: the first word is nearly a command, and no file begins with it.
        """
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if args and args[0] not in self.commands and args[0] not in own:
            self._refuse_mistyped(ctx.command_path, args[0])
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def _refuse_mistyped(self, program: str, word: str) -> None:
        option = word.startswith("-")  # of `run`, typed before what it is for
        near = [] if option else difflib.get_close_matches(word, self.commands, n=1)
        if not near or any(path.name.startswith(word) for path in Path().iterdir()):
            return
        known = ", ".join(sorted(self.commands))
        raise UsageError(
            f"{program} has no command {word!r}, and no file here is called so.",
            hint=f"The nearest command: {program} {near[0]}. All: {known}.",
        )


def number(*flags: str, within: Range, help: str, **others: Any) -> Any:
    """`typer.Option` of a number that no field of a dataclass stands for.

    Args:
        flags: as typed; by default the parameter's name.
        others: what `typer.Option` takes.
    """

    def check(param: typer.CallbackParam, value: Any) -> Any:
        if value is not None and value not in within:
            raise UsageError(
                f"{param.opts[-1]} is {shortened(value)}.", hint=f"It must be {within}."
            )
        return value

    return typer.Option(*flags, help=help, callback=check, **others)


def run_typed(
    app: typer.Typer, *, help: str, why_not: Callable[[str, str], str] = lambda command, flag: ""
) -> int:
    """Run the command that was typed; its exit code.

    Args:
        help: the option that explains a command.
        why_not: the reason why a command has not an option that another one has; "" of no reason.

    Raises:
        UsageError: there is no such command, option or value, or one is missing.
    """
    try:
        return int(app(standalone_mode=len(sys.argv) < 2) or 0)  # nothing typed: typer prints help
    except typer.TyperException as error:
        context: Any = getattr(error, "ctx", None)
        where = getattr(context, "command_path", app.info.name)
        if type(error).__name__ == _NO_COMMAND:  # its message is the whole help
            names = ", ".join(context.command.commands)
            raise UsageError(
                f"{where} needs a command: {names}.", hint=f"See: {where} {help}"
            ) from None
        others = _commands_with(error) if type(error).__name__ == _NO_OPTION else []
        if others:
            flag: str = error.option_name  # type: ignore[attr-defined]
            why = why_not(context.info_name, flag)
            said = f"{where} has no {flag}{why and ': '}{why}."
            hint = f"Commands that have it: {', '.join(others)}. See: {where} {help}"
            raise UsageError(said, hint=hint) from None
        raise UsageError(error.format_message(), hint=f"See: {where} {help}") from None
    except typer.Abort as error:  # how typer calls the end of an input
        raise error.__cause__ or error from None


def _commands_with(error: Any) -> list[str]:
    """The other commands beside the typed one whose help lists the option that it does not have."""
    group = error.ctx.parent.command if error.ctx is not None and error.ctx.parent else None
    return [
        name
        for name, command in getattr(group, "commands", {}).items()
        if any(error.option_name in each.opts and not each.hidden for each in command.params)
    ]
