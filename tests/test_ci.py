"""`.ci/run` says what the tests said: its clean-up never changes the status of the run."""

import re
import subprocess
from pathlib import Path

import pytest

CI = Path(__file__).parents[1] / ".ci" / "run"


@pytest.mark.parametrize("status", [0, 1, 7])
@pytest.mark.parametrize("child", ["true", "sleep 60", ""], ids=["ended", "running", "none"])
def test_the_clean_up_keeps_the_status_of_the_run(child: str, status: int, tmp_path: Path) -> None:
    """The child that installs the clients has ended, still runs, or was never begun."""
    if not CI.exists():
        pytest.skip(".ci/run is not part of this copy")
    clean_up = re.search(
        r"^clean_up\(\) \{\n.*?^\}\ntrap clean_up EXIT$", CI.read_text(), re.M | re.S
    )
    assert clean_up is not None
    work = tmp_path / "work"
    work.mkdir()
    begin = f"{child} >/dev/null 2>&1 & clients=$!" if child else ""
    wait = "wait $clients" if child == "true" else ""
    script = (
        f"set -euo pipefail\nclients=\nwork={work}\n{clean_up[0]}\n{begin}\n{wait}\nexit {status}\n"
    )
    assert subprocess.run(["bash", "-c", script], timeout=30, check=False).returncode == status
    assert not work.exists()
