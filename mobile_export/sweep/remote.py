"""What a Dask worker runs: it is sent a job as JSON, and sends its result back as JSON."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

from ..artifacts.content import sha256_of
from ..errors import SweepError
from .job import FileRef, Job
from .processes import Processes
from .share import Share
from .work import here, run_job, versions_here

__all__ = ["versions_of_worker", "work"]


@cache
def _share(url: str) -> Share:
    return Share(url)


def work(data: bytes, url: str | None) -> bytes:
    """Run one job.

    Args:
        data: the job as JSON.
        url: of the `Share` through which its files travel; None when the worker sees the client's.
    """
    job = msgspec.json.decode(data, type=Job)
    if url is not None:
        job = msgspec.structs.replace(job, folder=None)
    processes = Processes()

    def fetch(ref: FileRef, folder: Path) -> Path:
        if url is not None:
            return _share(url).get(ref, folder)
        path = Path(ref.path)
        if not path.exists() or sha256_of(path) != ref.sha256:
            raise SweepError(
                f"{here()} does not have {path} as the client has it.",
                hint="Let files travel: --files FOLDER or URL that both see.",
            )
        return path

    try:
        return msgspec.json.encode(run_job(job, processes, fetch))
    finally:
        processes.kill()


def versions_of_worker(names: dict[str, str]) -> tuple[str, dict[str, str]]:
    """Who this worker is, and its versions of what a sweep needs."""
    return here(), versions_here(names)
