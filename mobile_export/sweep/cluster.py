"""Dask distributed as an engine: its scheduler queues, retries and steals; we write none.

A job is a task whose key is its cell, so that two clients that ask for one cell wait for one task.
At most `_DEPTH` tasks a thread are with the scheduler at a time, so that neither it nor the client
holds a million.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from ..errors import SweepError
from .job import Job, Result, decode_result
from .remote import versions_of_worker, work
from .share import Share

__all__ = ["Cluster", "unlike"]

_DEPTH = 3
"""Tasks with the scheduler for each thread of a worker: one runs, two wait."""
_POLL = 2.0
"""Seconds between two looks whether the scheduler is there."""
_LOOK = 5.0
"""Seconds between two questions how many threads the cluster has: each is a round trip."""
_MOST_TOGETHER = 500
_MOST_MOVES = 5


class Cluster:
    """An engine.

    Args:
        client: of Dask; `close` leaves it open.
        share: through which files travel; None when all workers see the client's.
        tell: told what people should know: a worker that is refused.
        function: what a worker runs: the job as JSON and the share's URL; gives the result as JSON.
    """

    def __init__(
        self,
        client: Any,
        *,
        share: Share | None = None,
        tell: Callable[[str], None] = lambda text: None,
        function: Callable[[bytes, str | None], bytes] = work,
    ) -> None:
        self._client, self._share, self._tell = client, share, tell
        self._function = function
        self._refused: set[str] = set()
        self._checked: set[tuple[str, tuple[tuple[str, str], ...]]] = set()
        self._sent: set[str] = set()

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """See `sweep.engine.Engine.run`."""
        return self._pool(jobs)

    def measure(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Jobs that need a resource, each on a worker that has it.

        Raises:
            SweepError: no worker has it.
        """
        found = list(jobs)
        for needs in {tuple(job.needs.items()): job.needs for job in found}.values():
            self._require(needs)
        return self._pool(found)

    def close(self) -> None:
        """Nothing: futures that are let go are cancelled by the scheduler."""

    def check(self, versions: dict[str, str]) -> None:
        """Refuse, by name, the workers that have other versions than the sweep.

        Raises:
            SweepError: no worker is left, or there is none.
        """
        wanted = tuple(sorted(versions.items()))
        new = {worker for worker in self._workers() if (worker, wanted) not in self._checked}
        told = self._client.run(
            versions_of_worker, versions, workers=sorted(new), on_error="return"
        )
        for address, answer in told.items():
            self._checked.add((address, wanted))
            if address in self._refused:
                continue
            said = unlike(address, answer, versions)
            if said is not None:
                self._refused.add(address)
                self._tell(said)
        if not set(self._workers()) - self._refused:
            raise SweepError(
                "No worker of the cluster has the versions of this sweep."
                if self._refused
                else "The cluster has no worker.",
                hint="Install the same versions on the workers as here, or start workers: "
                "dask worker ADDRESS --nthreads 1",
            )

    def _workers(self) -> dict[str, Any]:
        found: dict[str, Any] = self._client.scheduler_info(n_workers=-1)["workers"]
        return found

    def _require(self, needs: dict[str, float]) -> None:
        """Raise SweepError when no worker has the resources; a whole worker has one thread."""
        workers = {a: w for a, w in self._workers().items() if a not in self._refused}
        able = [
            address
            for address, worker in workers.items()
            if all(worker["resources"].get(name, 0) >= count for name, count in needs.items())
            and ("measure" not in needs or worker["nthreads"] == 1)
        ]
        if not able:
            words = " ".join(f"{name}={count:g}" for name, count in needs.items())
            raise SweepError(
                f"No worker of the cluster has {words}, where this sweep measures.",
                hint=f'Start one there: dask worker ADDRESS --nthreads 1 --resources "{words}"',
            )

    def _threads(self) -> int:
        return sum(w["nthreads"] for a, w in self._workers().items() if a not in self._refused)

    def _pool(self, jobs: Iterable[Job]) -> Iterator[Result]:
        waiting = iter(jobs)
        running: dict[str, tuple[Job, Any]] = {}
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        room, looked = 0, float("-inf")
        try:
            while True:
                if time.monotonic() - looked > _LOOK:  # a cluster grows and shrinks
                    room, looked = max(1, self._threads()) * _DEPTH, time.monotonic()
                while len(running) < room and (job := next(waiting, None)) is not None:
                    self._submit(job, running, ended)
                if not running:
                    return
                futures = self._next(ended)
                yield from self._results(futures, running, ended)
        except OSError as problem:  # a question to a scheduler that is not there
            raise _gone() from problem
        finally:
            for _, future in running.values():
                future.release()

    def _submit(
        self, job: Job, running: dict[str, tuple[Job, Any]], ended: Any, again: int = 0
    ) -> None:
        if self._share is not None:
            for ref in job.files.values():
                if ref.sha256 not in self._sent:
                    self._share.put(ref)
                    self._sent.add(ref.sha256)
        options: dict[str, Any] = {"resources": job.needs} if job.needs else {}
        if self._refused:
            options["workers"] = sorted(set(self._workers()) - self._refused)
        future = self._client.submit(
            self._function,
            msgspec.json.encode(job),
            None if self._share is None else self._share.url,
            key=f"cell-{job.cell}-{job.attempt}-{again}",
            pure=False,
            **options,
        )
        running[future.key] = (job, future)
        future.add_done_callback(ended.put)

    def _next(self, ended: Any) -> list[Any]:
        """Futures that have ended, at least one.

        Raises:
            SweepError: the scheduler is gone.
        """
        found: list[Any] = []
        while not found:
            try:
                found.append(ended.get(timeout=_POLL))
            except queue.Empty:
                if self._client.status != "running":
                    raise _gone() from None
        while len(found) < _MOST_TOGETHER and not ended.empty():
            found.append(ended.get())
        return found

    def _results(
        self, futures: Sequence[Any], running: dict[str, tuple[Job, Any]], ended: Any
    ) -> Iterator[Result]:
        done = [future for future in futures if future.status == "finished"]
        texts = self._gathered(done)
        for future in futures:
            job, _ = running.pop(future.key)
            if future.key in texts:
                result = decode_result(texts[future.key])
                if self._moved(job, future, result, running, ended):
                    continue
            else:
                result = self._failed(job, future)
            future.release()
            yield result

    def _gathered(self, done: Sequence[Any]) -> dict[str, bytes]:
        if not done:
            return {}
        found = self._client.gather(list(done), errors="skip")
        if len(found) == len(done):
            return {future.key: text for future, text in zip(done, found, strict=True)}
        return {future.key: future.result() for future in done if future.status == "finished"}

    def _moved(
        self, job: Job, future: Any, result: Result, running: dict[str, tuple[Job, Any]], ended: Any
    ) -> bool:
        """Whether a job goes to another worker, because the one that it had is refused."""
        if result.problem is None or "is refused" not in result.problem:
            return False
        self.check(job.versions)
        again = int(future.key.rpartition("-")[2]) + 1
        if not self._refused or again > _MOST_MOVES:
            return False
        self._submit(job, running, ended, again)
        return True

    def _failed(self, job: Job, future: Any) -> Result:
        """What is said of a task that gave no result.

        Raises:
            SweepError: the scheduler is gone.
        """
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise _gone()
        error = future.exception()
        problem = f"{type(error).__name__}: {error}"
        if isinstance(error, KilledWorker):
            problem = f"the workers that ran it died, one after the other: {error}"
        return Result(job.cell, job.attempt, "crashed", (), 0.0, "", "", problem[:1000])


def _gone() -> SweepError:
    return SweepError(
        "The scheduler of the cluster is gone.",
        hint="What was finished is in the store: start a cluster, and run the same command again.",
    )


def unlike(address: str, answer: Any, versions: dict[str, str]) -> str | None:
    """In words, why a worker is refused; None when its versions are those of the sweep.

    Args:
        answer: of `versions_of_worker`, or the exception that it ended with.
    """
    if isinstance(answer, BaseException):
        return f"worker {address} is refused: it does not have mobile-export ({answer})"
    name, found = answer
    differ = [
        f"{library} {found.get(library)} (here {wanted})"
        for library, wanted in versions.items()
        if found.get(library) != wanted
    ]
    return f"worker {name} at {address} is refused: it has {', '.join(differ)}" if differ else None
