"""Messages as the command line says them: names of Python arguments become options.

An error says `` `size` is 0x3 `` where it is raised; a person who typed ``--size`` is shown that.
`` `weights="FILE"` `` becomes ``--weights FILE``, and `` `force=True` `` becomes ``--force``.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from ..errors import MobileExportError
from ..system.options import options_of

__all__ = ["flags", "said_of_options", "typed_error"]

_ARGUMENT = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")


@cache
def flags() -> dict[str, str]:
    """The option of every argument that a message may name."""
    from ..detection.options import NmsOptions
    from ..exporters.config import ExportConfig
    from ..exporters.table import FORMATS
    from ..sources.request import ModelRequest

    owners = (*(row.options for row in FORMATS), NmsOptions, ExportConfig, ModelRequest)
    found = {
        name: said.flag for owner in owners for name, said in options_of(owner).items() if said.flag
    }
    return {
        **found,
        "out_dir": "-o",
        "name": "--name",
        "nms": "--nms",
        "layers": "--layers",
        "runtime": "--runtime",
    }


def said_of_options(value: Any) -> Any:
    """A message, or a JSON-ready value with messages in it, with options for arguments."""
    if isinstance(value, str):
        return _ARGUMENT.sub(_option, value)
    if isinstance(value, dict):
        return {key: said_of_options(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [said_of_options(each) for each in value]
    return value


def _option(found: re.Match[str]) -> str:
    flag = flags().get(found[1])
    if flag is None:
        return found[0]
    value = (found[2] or "").strip("\"'")
    return flag if value in ("", "True") else f"{flag} {value}"


def typed_error(error: MobileExportError) -> MobileExportError:
    """An error of the same exit code whose message and hint name options."""
    hint = None if error.hint is None else said_of_options(error.hint)
    said = MobileExportError(said_of_options(error.message), hint=hint)
    said.exit_code = error.exit_code
    return said
