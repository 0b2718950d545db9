"""A full disk is one message. Tests `save_program` of pipeline/programs.py and the workspace.

The largest size of a file that the kernel allows stands in for the disk: a write fails in the same
place and way.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
sys.argv[0] = "mobile-export"
from mobile_export.cli.main import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="limits are POSIX")
def test_prepare_on_a_full_disk(tmp_path: Path) -> None:
    words = ["prepare", "espcn_x3", "--size", "32", "-o", str(tmp_path / "out" / "x.pt2")]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *words], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2, done.stderr
    assert "Cannot write" in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert not (tmp_path / "out").exists()
