"""Messages as a command line says them: names of Python arguments become options.

An error says `` `size` is 0x3 `` where it is raised; a person who typed ``--size`` is shown that.
`` `weights="FILE"` `` becomes ``--weights FILE``, and `` `force=True` `` becomes ``--force``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import MobileExportError

__all__ = ["said_of_options", "typed_error"]

_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


def said_of_options(value: Any, flags: Mapping[str, str]) -> Any:
    """A message, or a JSON-ready value with messages in it, with options for arguments.

    Args:
        flags: the option of every argument that has one; the others stay as they are.
    """

    def option(found: re.Match[str]) -> str:
        flag = flags.get(found[1])
        if flag is None:
            return found[0]
        value = (found[2] or "").strip("\"'")
        return flag if value in ("", "True") else f"{flag} {value}"

    if isinstance(value, str):
        return _ARGUMENT.sub(option, value)
    if isinstance(value, dict):
        return {key: said_of_options(each, flags) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [said_of_options(each, flags) for each in value]
    return value


def typed_error(error: MobileExportError, flags: Mapping[str, str]) -> MobileExportError:
    """An error of the same exit code whose message and hint name options."""
    hint = None if error.hint is None else said_of_options(error.hint, flags)
    said = MobileExportError(said_of_options(error.message, flags), hint=hint)
    said.exit_code = error.exit_code
    return said
