"""Where Python looks for modules when a command begins.

``python -m`` puts the current folder first: a ``typer.py`` there would be imported in place of
typer. The commands that are installed do not, and neither should ours; a model's own module is
looked for in the current folder when it is imported, and only then. This module imports nothing
but what Python itself has loaded before.
"""

from __future__ import annotations

import os
import sys

__all__ = ["forget_current_folder"]


def forget_current_folder() -> None:
    """Take the current folder off the front of the path; ours is found by its package."""
    if not sys.flags.safe_path and sys.path and sys.path[0] in ("", os.getcwd()):  # noqa: PTH109
        del sys.path[0]
