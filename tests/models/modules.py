"""What a piece of Python imports, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

__all__ = ["modules_after"]


def modules_after(code: str) -> set[str]:
    """The top-level packages in ``sys.modules`` after ``code``, which prints nothing itself."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.split(".")[0] for name in done.stdout.split()}
