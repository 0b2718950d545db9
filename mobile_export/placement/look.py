"""Ask the software of accelerators what they take of a file, and execute it there where possible.

What reads the file runs in a child process: a reader in C++ may crash on it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..bench.check import check_outputs
from ..bench.devices.local import LocalDevice
from ..bench.files import BenchArtifact, read_artifact
from ..bench.runners import get_runner
from ..bench.runners.runner import Job
from ..errors import ArtifactError, DeviceError, RunnerError
from ..system.children import Limits, run_module
from ..system.vulkan import WAYS, vulkan_device
from .record import Placement, Run
from .table import Accelerator, accelerators_for

__all__ = ["place"]

SECONDS = 600.0
"""That an accelerator's software is given for one step of a file."""


def place(
    file: Path,
    names: Sequence[str] = (),
    *,
    seconds: float = SECONDS,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Placement]:
    """What each accelerator takes of a file that mobile-export wrote.

    Args:
        names: of accelerators; all that take files of its format by default.
        seconds: after which a step is given up.
        progress: told what is being asked.

    Raises:
        ArtifactError: the file is not what its manifest vouches for.
        UsageError: there is no such accelerator, or none for files of its format.
    """
    artifact = read_artifact(file)
    found = []
    for accelerator in accelerators_for(artifact.format, names):
        progress(f"{file.name}: {accelerator.title}")
        asked = _executed if accelerator.runner else _looked_up
        found.append(asked(accelerator, artifact, seconds))
    return found


def _looked_up(accelerator: Accelerator, artifact: BenchArtifact, seconds: float) -> Placement:
    """What the vendor's own table of operators says; nothing is executed."""
    ended = run_module(
        f"{__package__}.{accelerator.module}",
        [accelerator.name, str(artifact.path)],
        limits=Limits(seconds),
    )
    found: dict[str, Any] = {}
    if ended.code == 0:
        found = json.loads(ended.output)
    problem = found.get("problem") or ended.crash
    if problem or not found:
        raise ArtifactError(
            f"{accelerator.said_by} cannot read {artifact.path}: {problem or ended.last_line}.",
            hint="Copy the file again from where it was made, or export it again.",
        )
    return Placement(
        accelerator=accelerator.name,
        title=accelerator.title,
        said_by=found["said_by"],
        nodes=found["nodes"],
        taken=found["taken"],
        parts=found["parts"],
        left=found["left"],
        conditions=tuple(found["conditions"]),
        problem="not executed here: this provider exists on phones only",
    )


def _executed(accelerator: Accelerator, artifact: BenchArtifact, seconds: float) -> Placement:
    """What the runtime gives to the accelerator when it loads the file, and what it computes."""
    runner, device = get_runner(accelerator.runner).runner(), LocalDevice()
    # Phones' GPUs compute in float16 unless an app forbids it, and approximate functions.
    job = Job(artifact, backend=accelerator.backend, precision="fp16", timeout=seconds)
    said_by = accelerator.said_by
    missing = runner.missing(device, job)
    if missing is not None:
        return Placement(accelerator.name, accelerator.title, said_by, problem=missing)
    loaded = None
    try:
        with vulkan_device(), runner.open(device, job) as session:
            loaded = session.loaded
            check = check_outputs(session, artifact)
    except (DeviceError, RunnerError) as error:
        why = error.message
        if loaded is None and "device" in why:
            why = f"{why.rstrip('.')}. {WAYS}."
        return Placement(accelerator.name, accelerator.title, said_by, problem=why)
    done, everything = loaded.nodes or (None, None)
    return Placement(
        accelerator=accelerator.name,
        title=accelerator.title,
        said_by=f"{loaded.version}, {loaded.precision}",
        nodes=everything,
        taken=done,
        left=loaded.left,
        run=None
        if check is None
        else Run(loaded.device or "a Vulkan device", check.max_rel, check.tolerance, check.passed),
        problem="" if check is not None else "its outputs cannot be compared (docs/placement.md)",
    )
