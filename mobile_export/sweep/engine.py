"""Engines: what runs jobs. One here, on this machine; `sweep.cluster` has the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Protocol

from .job import Job, Result
from .processes import Processes
from .work import run_job

__all__ = ["Engine", "Local"]


class Engine(Protocol):
    """What runs jobs."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Run jobs, in any order; each result as soon as it is there.

        Jobs are asked for as there is room for them, so that a million of them need no memory.
        """

    def measure(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """The same for jobs of which each wants its worker for itself."""

    def close(self) -> None:
        """End what runs."""


class Local:
    """Processes on this machine; nothing needs to be installed.

    Args:
        count: jobs at once; each keeps to one thread.
        work: what is done with a job.
    """

    def __init__(self, count: int, work: Callable[[Job], Result] | None = None) -> None:
        self._count, self._processes = count, Processes()
        self._work = work or self._run_here

    def _run_here(self, job: Job) -> Result:
        return run_job(job, self._processes)

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """See `Engine.run`."""
        return self._pool(jobs, self._count)

    def measure(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """One after the other: two measurements at once would slow each other down."""
        return self._pool(jobs, 1)

    def _pool(self, jobs: Iterable[Job], count: int) -> Iterator[Result]:
        pool = ThreadPoolExecutor(max_workers=count)
        waiting = iter(jobs)
        running: set[Future[Result]] = set()
        try:
            while True:
                while len(running) < 2 * count and (job := next(waiting, None)) is not None:
                    running.add(pool.submit(self._work, job))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            self.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End the processes that run."""
        self._processes.kill()
