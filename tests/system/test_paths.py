"""The current folder is no place to import libraries from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("module", ["mobile_export", "mobile_export.bench"])
def test_modules_in_the_current_folder_are_not_imported(tmp_path: Path, module: str) -> None:
    """``python -m`` puts the folder first on the path; a user's typer.py is no typer."""
    for name in ("typer", "torch", "numpy", "rich", "msgspec", "click"):
        (tmp_path / f"{name}.py").write_text("open('pwned', 'w').close()\n")
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "pwned").exists()
