"""Dask distributed as an engine: workers, client and scheduler that die, files, other versions.

Tests sweep/remote.py and connect.py, too. One cluster of two processes serves most tests.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from mobile_export.errors import MissingExtraError, SweepError, UsageError
from mobile_export.sweep import connect, remote
from mobile_export.sweep.cluster import Cluster, unlike
from mobile_export.sweep.connect import connected, kind_of
from mobile_export.sweep.drive import run_sweep
from mobile_export.sweep.job import FileRef, Job, Result
from mobile_export.sweep.ledger import open_ledger
from mobile_export.sweep.share import Share
from mobile_export.sweep.work import versions_here
from tests.sweep.jobs import make_job, make_plan, make_result

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with connected("dask:2") as made:
        yield made


def decoded(data: bytes) -> Job:
    return msgspec.json.decode(data, type=Job)


def quick(data: bytes, url: str | None) -> bytes:
    return msgspec.json.encode(make_result(decoded(data), worker=str(os.getpid())))


JOBS = [make_job(f"m{n}") for n in range(40)]


def test_jobs_are_done_by_both_processes(client: Any) -> None:
    results = list(Cluster(client, function=quick).run(iter(JOBS)))
    assert Counter(each.cell for each in results) == Counter(job.cell for job in JOBS)
    workers = {each.worker for each in results}
    assert len(workers) == 2
    assert str(os.getpid()) not in workers


def test_few_jobs_are_with_the_scheduler_at_a_time(client: Any) -> None:
    asked = [0]

    def jobs() -> Iterator[Job]:
        for job in JOBS:
            asked[0] += 1
            yield job

    done = 0
    for _ in Cluster(client, function=quick).run(jobs()):
        assert asked[0] - done <= 7
        done += 1
    assert done == len(JOBS)


def dies_once(data: bytes, url: str | None) -> bytes:
    """The first time, the process is killed: as by the system, without a word."""
    job = decoded(data)
    assert job.folder is not None
    mark = Path(job.folder) / job.model
    try:
        mark.touch(exist_ok=False)
    except FileExistsError:
        return quick(data, url)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def test_a_killed_worker_loses_no_cell_and_none_is_there_twice(client: Any, tmp_path: Path) -> None:
    jobs = [msgspec.structs.replace(job, folder=str(tmp_path)) for job in JOBS[:2]]
    path = tmp_path / "s.sqlite"
    with open_ledger(path, write=True) as ledger:
        outcome = run_sweep(make_plan(*jobs), ledger, Cluster(client, function=dies_once))
        entries = list(ledger.entries(outcome.run))
    assert outcome.problems == {}
    assert [entry.result.attempt for entry in entries if entry.result] == [0, 0]
    assert sorted(each.name for each in tmp_path.glob("m*")) == ["m0", "m1"]
    client.wait_for_workers(2, timeout=60)


def raises(data: bytes, url: str | None) -> bytes:
    raise MemoryError("of the worker")


def test_an_error_of_the_worker_is_no_result(client: Any) -> None:
    (result,) = Cluster(client, function=raises).run([JOBS[0]])
    assert (result.steps, result.problem) == ((), "MemoryError: of the worker")


def test_a_measurement_needs_its_resource(client: Any) -> None:
    job = make_job(device="adb:R5", needs={"phone:R5": 1.0})
    with pytest.raises(SweepError, match="No worker of the cluster has phone:R5=1") as raised:
        Cluster(client, function=quick).measure([job])
    assert '--resources "phone:R5=1"' in str(raised.value)


def test_measurements_go_where_the_device_hangs() -> None:
    """A worker with the phone, one with several threads, and a whole one."""
    resources = [{"phone:R5": 1}, {"measure": 1}, {"measure": 1}]

    async def add(cluster: Any) -> None:
        for number, (each, threads) in enumerate(zip(resources, (2, 2, 1), strict=True)):
            spec = {"resources": each, "nthreads": threads, "name": f"w{number}"}
            cluster.worker_spec[f"w{number}"] = {"cls": distributed.Worker, "options": spec}
        await cluster._correct_state()

    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        cluster.sync(add, cluster)
        client.wait_for_workers(3, timeout=30)

        def named(data: bytes, url: str | None) -> bytes:
            name = distributed.get_worker().name
            return msgspec.json.encode(make_result(decoded(data), worker=name))

        engine = Cluster(client, function=named)
        phone = [make_job(f"p{n}", device="adb:R5", needs={"phone:R5": 1.0}) for n in range(5)]
        assert {each.worker for each in engine.measure(phone)} == {"w0"}
        whole = make_job(device="local", needs={"measure": 1.0})
        engine._require(whole.needs)
        cluster.scale(0)
        cluster.worker_spec.clear()


def test_a_worker_of_another_version_is_refused_by_name(client: Any) -> None:
    told: list[str] = []
    wanted = versions_here({"numpy": ""})
    Cluster(client, tell=told.append).check(wanted)
    assert told == []
    engine = Cluster(client, tell=told.append)
    with pytest.raises(SweepError, match="No worker of the cluster has the versions"):
        engine.check({**wanted, "mobile-export": "9.9+abc"})
    assert len(told) == 2
    for line, address in zip(sorted(told), sorted(engine._workers()), strict=False):
        assert f"mobile-export {wanted['mobile-export']} (here 9.9+abc)" in line
        assert any(each in line for each in engine._workers()), address


def test_what_is_said_of_a_worker() -> None:
    assert unlike("tcp://a:1", ("a:7", {"torch": "1"}), {"torch": "1"}) is None
    said = unlike("tcp://a:1", ("a:7", {"torch": "1"}), {"torch": "2", "onnx": "3"})
    assert said == (
        "worker a:7 at tcp://a:1 is refused: it has torch 1 (here 2), onnx None (here 3)"
    )
    said = unlike("tcp://a:1", ModuleNotFoundError("No module named 'mobile_export'"), {})
    assert said is not None
    assert "worker tcp://a:1 is refused: it does not have mobile-export" in said


def refused_by_one(data: bytes, url: str | None) -> bytes:
    """One of two workers says that it has another version."""
    job = decoded(data)
    first = sorted(distributed.get_client().scheduler_info()["workers"])[0]
    problem = None
    if distributed.get_worker().address == first:
        problem = "worker host:1 is refused: it has torch 0 (the sweep has 1)"
    return msgspec.json.encode(make_result(job, problem=problem))


def test_a_worker_that_came_later_is_refused_too(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its jobs go to the others."""
    told: list[str] = []
    engine = Cluster(client, tell=told.append, function=refused_by_one)
    first = sorted(engine._workers())[0]

    def run(function: Any, versions: Any, workers: Any, on_error: str) -> dict[str, Any]:
        return {w: ("host:1", {"torch": "0" if w == first else "1"}) for w in workers}

    monkeypatch.setattr(client, "run", run)
    jobs = [msgspec.structs.replace(job, versions={"torch": "1"}) for job in JOBS[:10]]
    results = list(engine.run(jobs))
    assert sorted(each.cell for each in results) == sorted(job.cell for job in jobs)
    assert [each.problem for each in results] == [None] * 10
    assert told == [f"worker host:1 at {first} is refused: it has torch 0 (here 1)"]


def test_files_travel_by_their_hash(client: Any, tmp_path: Path) -> None:
    """The step runs a program that stands in for ours: it sees the files and says what is there."""
    content = tmp_path / "mine" / "w.pth"
    content.parent.mkdir()
    content.write_bytes(b"weights")
    from mobile_export.artifacts.content import sha256_of

    ref = FileRef("w.pth", sha256_of(content), str(content))
    job = make_job(files={"weights": ref}, model_words=("--weights", "{weights}"))
    share = Share(str(tmp_path / "share"))
    results = list(Cluster(client, share=share).run([job]))
    assert results[0].problem is None
    assert "w.pth" in (results[0].reason or ""), "the export was given it, and says what it is"
    content.unlink()
    missing = msgspec.json.decode(remote.work(msgspec.json.encode(job), None), type=Result)
    assert "does not have" in (missing.problem or "")
    assert "--files" in (missing.problem or "")


def started(words: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        words, cwd=folder, text=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A scheduler and a worker that are no children of Dask's: their address and processes."""
    file = tmp_path / "scheduler.json"
    code = "import sys; from dask.__main__ import main; sys.argv[0] = 'dask'; main()"
    dask = [sys.executable, "-c", code]
    quiet = ["--scheduler-file", str(file)]
    processes = [
        started([*dask, "scheduler", *quiet, "--port", "0", "--no-dashboard"], tmp_path),
        started(
            [*dask, "worker", *quiet, "--nthreads", "1", "--no-dashboard", "--no-nanny"], tmp_path
        ),
    ]
    try:
        end = time.monotonic() + 60
        while not file.exists() or not file.read_text().strip():
            assert time.monotonic() < end
            time.sleep(0.1)
        yield json.loads(file.read_text())["address"], processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def slow(data: bytes, url: str | None) -> bytes:
    time.sleep(0.05)
    return quick(data, url)


def test_a_killed_scheduler_ends_the_sweep_and_keeps_what_was_done(
    outside: tuple[str, list[subprocess.Popen[str]]], client: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from mobile_export.sweep import drive

    monkeypatch.setattr(drive, "_BATCH_SECONDS", 0.0)
    address, processes = outside
    path = tmp_path / "s.sqlite"
    done = [0]

    def finished(job: Job, result: Result) -> None:
        done[0] += 1
        if done[0] == 5:
            processes[0].kill()

    with open_ledger(path, write=True) as ledger, connected(address) as own:
        engine, plan = Cluster(own, function=by_value(slow)), make_plan(*JOBS)
        with pytest.raises(SweepError, match="scheduler of the cluster is gone") as raised:
            run_sweep(plan, ledger, engine, finished=finished)
    assert "run the same command again" in str(raised.value)
    with open_ledger(path, write=True) as ledger:
        kept = len(ledger.last())
        assert 5 <= kept < len(JOBS)
        outcome = run_sweep(make_plan(*JOBS), ledger, Cluster(client, function=quick))
        assert (outcome.done, outcome.added) == (kept, len(JOBS) - kept)
        assert len(ledger.last()) == len(JOBS)


def by_value(function: Callable[..., bytes]) -> Callable[..., bytes]:
    """A function that travels whole, to workers that do not have these tests."""
    return types.FunctionType(
        function.__code__, {**function.__globals__, "__name__": "__main__"}, function.__name__
    )


@pytest.mark.parametrize(
    ("on", "kind"),
    [
        ("tcp://a:8786", ("address", "tcp://a:8786")),
        ("tls://a:8786", ("address", "tls://a:8786")),
        ("dask", ("dask", "")),
        ("dask:3", ("dask", "3")),
        ("ssh:a,b", ("ssh", "a,b")),
        ("slurm", ("slurm", "")),
        ("kubernetes", ("kubernetes", "")),
    ],
)
def test_kinds_of_clusters(on: str, kind: tuple[str, str]) -> None:
    assert kind_of(on) == kind


@pytest.mark.parametrize(
    "on",
    ["", "tcp", "tcp:a", "http://a", "dask:x", "dask:0", "dask:-1", "ssh:", "ssh:a,", "slurm:x"],
)
def test_what_is_no_cluster(on: str) -> None:
    with pytest.raises(UsageError, match="--on"):
        kind_of(on)


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connect, "_TIMEOUT", 1)
    said = r"No cluster answers at tcp://127\.0\.0\.1:1"
    with pytest.raises(SweepError, match=said), connected("tcp://127.0.0.1:1"):
        pass


@pytest.mark.parametrize(
    ("on", "module", "install"),
    [
        ("ssh:a", "asyncssh", "pip install asyncssh"),
        ("slurm", "dask_jobqueue", "pip install dask-jobqueue"),
        ("kubernetes", "dask_kubernetes", "pip install dask-kubernetes"),
    ],
)
def test_what_to_install(
    on: str, module: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SweepError, match="is not installed") as raised, connected(on):
        pass
    assert install in str(raised.value)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match="A sweep on a cluster needs"), connected(on):
        pass


class Pretended:
    """Stands in for the cluster of a library: what was asked of it, and one worker."""

    asked: ClassVar[list[Any]] = []

    def __init__(self, *given: Any, **options: Any) -> None:
        self.asked.append((given, options))
        self._real = distributed.LocalCluster(
            n_workers=1, processes=False, dashboard_address=None, silence_logs=50
        )
        self.scheduler_address = self._real.scheduler_address

    def __enter__(self) -> str:
        return self.scheduler_address

    def __exit__(self, *ended: Any) -> None:
        self._real.close()

    def adapt(self, **limits: Any) -> None:
        self.asked.append(limits)

    def scale(self, count: int) -> None:
        self.asked.append(count)


@pytest.mark.parametrize(
    ("on", "workers", "asked"),
    [
        ("ssh:a,b", None, [((["a", "a", "b"],), {"worker_options": {"nthreads": 1}})]),
        ("slurm", None, [((), {}), {"minimum": 1, "maximum": 100}]),
        ("slurm", 7, [((), {}), 7]),
        ("kubernetes", 3, [((), {"name": "mobile-export-sweep"}), 3]),
    ],
)
def test_clusters_of_others_are_asked_for(
    on: str, workers: int | None, asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their libraries are pretended: no such cluster is here. Jobs run on what they give."""
    Pretended.asked.clear()
    monkeypatch.setattr(distributed, "SSHCluster", Pretended)
    for module, name in (
        ("dask_jobqueue", "SLURMCluster"),
        ("dask_kubernetes.operator", "KubeCluster"),
    ):
        made = types.ModuleType(module)
        setattr(made, name, Pretended)
        monkeypatch.setitem(sys.modules, module, made)
    monkeypatch.setitem(sys.modules, "asyncssh", types.ModuleType("asyncssh"))
    monkeypatch.setitem(sys.modules, "dask_kubernetes", types.ModuleType("dask_kubernetes"))
    with connected(on, workers) as made:
        results = list(Cluster(made, function=quick).run(JOBS[:3]))
    assert len(results) == 3
    assert Pretended.asked == asked
