"""What an engine of `mobile-export sweep` costs, and whether it stays within its memory.

    python benchmarks/sweep.py efficiency      # 200 cells on 1, 2 and 4 Dask workers of one thread
    python benchmarks/sweep.py cost            # processor time of client, scheduler and workers
    python benchmarks/sweep.py simulation      # 100,000 cells on 1,000 workers in this process

The cells export nothing. Those of ``efficiency`` wait (``--wait 0.25`` seconds) or compute
(``--compute``) and are otherwise real: each is a job in JSON, its result goes through the engine
into a store on disk. Waiting shows what the engine costs also where the cores are busy with
something else; computing shows the cores as well. ``cost`` counts processor time, which
changes less when the machine is busy (Dask's own checks go on while a cell waits for a core).
docs/sweep.md has the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mobile_export.sweep.cluster import Cluster
from mobile_export.sweep.connect import connected
from mobile_export.sweep.drive import run_sweep
from mobile_export.sweep.engine import Engine, Local
from mobile_export.sweep.job import Job, Result, StepResult, cell_hash
from mobile_export.sweep.ledger import open_ledger
from mobile_export.sweep.plan import Plan


def jobs(count: int, seconds: float, compute: bool) -> Iterator[Job]:
    """Cells of models that do not exist; the limit of time says how long each takes."""
    for number in range(count):
        name = f"model_{number}"
        words = {"export": ("compute",) if compute else ()}
        yield Job(
            cell=cell_hash({"model": name}), kind=cell_hash({"model": name}), model=name,
            format="onnx", precision=None, size=None, device=None, steps=("export",),
            model_words=(), words=words, files={}, folder=None, time_limit=seconds,
            memory_limit=None, versions={},
        )  # fmt: skip


def done(job: Job) -> Result:
    """Wait or compute, and say so."""
    if job.words["export"]:
        spent = time.thread_time() + job.time_limit
        while time.thread_time() < spent:
            pass
    elif job.time_limit:
        time.sleep(job.time_limit)
    step = StepResult("export", "passed", job.time_limit, bytes=1000)
    return Result(
        job.cell, job.attempt, "passed", (step,), job.time_limit, f"host:{os.getpid()}",
        "2026-11-29T00:00:00+00:00",
    )  # fmt: skip


def work(data: bytes, url: str | None) -> bytes:
    """`done` as a worker calls it."""
    return msgspec.json.encode(done(msgspec.json.decode(data, type=Job)))


def seconds_of(engine: Engine, plan: Plan) -> float:
    """Wall time of a sweep into a new store."""
    with (
        tempfile.TemporaryDirectory() as folder,
        open_ledger(Path(folder) / "s.sqlite", write=True) as ledger,
    ):
        began = time.perf_counter()
        outcome = run_sweep(plan, ledger, engine)
        spent = time.perf_counter() - began
        assert outcome.added == len(plan.exports) == len(ledger.last()), outcome
    return spent


def efficiency(count: int, seconds: float, compute: bool) -> dict[str, Any]:
    """Seconds of the same cells, in this process and on Dask, and what follows."""
    plan = Plan("tried", tuple(jobs(count, seconds, compute)), ())
    local = seconds_of(Local(1, done), plan)
    found: dict[str, Any] = {
        "cells": count, "seconds_of_a_cell": seconds, "compute": compute, "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0], "local_seconds": round(local, 2), "dask": {},
    }  # fmt: skip
    single = 0.0
    for workers in (1, 2, 4):
        with connected(f"dask:{workers}") as client:
            warm = Plan("warm", tuple(jobs(4 * workers, 0.0, False)), ())
            seconds_of(Cluster(client, function=work), warm)
            spent = seconds_of(Cluster(client, function=work), plan)
        single = single or spent
        found["dask"][workers] = {
            "seconds": round(spent, 2),
            "efficiency": round(single / spent / workers, 3),
            "overhead_ms_per_cell": round((spent * workers - local) / count * 1000, 2),
        }
        print(json.dumps({workers: found["dask"][workers]}), flush=True)
    found["load_after"] = os.getloadavg()[0]
    return found


def processor_seconds() -> float:
    """Of this process and of those that it started and that run."""
    import psutil

    here = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (here, *here.children(recursive=True)))


def cost(count: int) -> dict[str, Any]:
    """Milliseconds of processor time a cell that does nothing: in this process, and on Dask."""
    plan = Plan("tried", tuple(jobs(count, 0.0, False)), ())
    found: dict[str, Any] = {"cells": count, "load": os.getloadavg()[0]}
    began = processor_seconds()
    seconds_of(Local(1, done), plan)
    found["local"] = round((processor_seconds() - began) / count * 1000, 2)
    for workers in (1, 2, 4):
        with connected(f"dask:{workers}") as client:
            warm = Plan("warm", tuple(jobs(4 * workers, 0.0, False)), ())
            seconds_of(Cluster(client, function=work), warm)
            began = processor_seconds()
            seconds_of(Cluster(client, function=work), plan)
            found[f"dask:{workers}"] = round((processor_seconds() - began) / count * 1000, 2)
        print(json.dumps(found), flush=True)
    return found


def memory_mib() -> float:
    """What this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def simulation(count: int, workers: int) -> dict[str, Any]:
    """Client, scheduler and all workers in this process; its memory as the cells are done."""
    import dask
    import distributed

    dask.config.set(
        {
            "logging.distributed": "critical",
            "distributed.worker.profile.enabled": False,
            # Each worker looks at its process twice a second, and 50 times at its own lateness:
            # a thousand workers in one process would do nothing else.
            "distributed.admin.system-monitor.interval": "24h",
            "distributed.admin.tick.interval": "60s",
            "distributed.scheduler.worker-ttl": None,
            "distributed.comm.timeouts.connect": "600s",
        }
    )
    plan = Plan("simulated", tuple(jobs(count, 0.0, False)), ())
    began = time.perf_counter()
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=False, memory_limit=0,
            dashboard_address=None, silence_logs=50,
        ) as cluster,
        distributed.Client(cluster, timeout=600) as client,
        tempfile.TemporaryDirectory() as folder,
        open_ledger(Path(folder) / "s.sqlite", write=True) as ledger,
    ):  # fmt: skip
        client.wait_for_workers(workers, timeout=1200)
        up, seen = time.perf_counter() - began, [0]
        told: list[dict[str, float]] = []

        def finished(job: Job, result: Result) -> None:
            seen[0] += 1
            if seen[0] % (count // 20) == 0 or seen[0] == 1:
                tasks = len(cluster.scheduler.tasks)
                told.append(
                    {"done": seen[0], "MiB": round(memory_mib()), "tasks_of_scheduler": tasks,
                     "seconds": round(time.perf_counter() - began - up, 1)}
                )  # fmt: skip
                print(json.dumps(told[-1]), flush=True)

        outcome = run_sweep(plan, ledger, Cluster(client, function=work), finished=finished)
        assert outcome.added == len(ledger.last()) == count
        spent = time.perf_counter() - began - up
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "cells": count, "workers": workers, "seconds_to_start": round(up, 1),
        "seconds": round(spent, 1), "peak_MiB": round(peak), "told": told,
    }  # fmt: skip


def main() -> None:
    """Entry point; see the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("cost", "efficiency", "simulation"))
    parser.add_argument("--cells", type=int)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--wait", type=float, default=0.25)
    parser.add_argument("--compute", action="store_true")
    given = parser.parse_args()
    if given.what == "efficiency":
        found = efficiency(given.cells or 200, given.wait, given.compute)
    elif given.what == "cost":
        found = cost(given.cells or 1000)
    else:
        found = simulation(given.cells or 100_000, given.workers)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
