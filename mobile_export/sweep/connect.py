"""From ``--on`` to a Dask client: an address, processes here, or a cluster that others start.

    tcp://host:8786     a scheduler that runs (tls:// too)
    dask[:N]            N processes of one thread on this machine
    ssh:HOST,HOST,…     a scheduler on the first host, a worker on each (SSHCluster; asyncssh)
    slurm               dask-jobqueue's SLURMCluster
    kubernetes          dask-kubernetes' KubeCluster (its operator)

What the last two need (queue, memory, image) is said in Dask's own configuration files, which their
documentation describes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from ..errors import SweepError, UsageError
from ..system.install import missing_extra

__all__ = ["connected", "kind_of"]

_ADDRESSES = ("tcp", "tls", "ucx", "ws", "wss", "inproc")
_KINDS = ("dask", "ssh", "slurm", "kubernetes")
_TIMEOUT = 30
"""Seconds in which a scheduler must answer"""
_HINT = "Valid are tcp://HOST:8786, dask:2, ssh:HOST,HOST, slurm and kubernetes."


def kind_of(on: str) -> tuple[str, str]:
    """The kind and what stands behind its colon.

    Raises:
        UsageError: there is no such kind.
    """
    kind, _, rest = on.partition(":")
    if kind in _ADDRESSES and rest.startswith("//"):
        return "address", on
    if kind not in _KINDS:
        raise UsageError(f"--on {on!r} is no cluster.", hint=_HINT)
    if kind == "dask" and rest and not (rest.isdecimal() and 0 < int(rest[:6]) <= 4096):
        raise UsageError(f"--on {on!r} has no number of processes.", hint="Such as dask:2.")
    if kind == "ssh" and not all(rest.split(",")):
        raise UsageError(f"--on {on!r} names no hosts.", hint="Such as ssh:one,two.")
    if kind in ("slurm", "kubernetes") and rest:
        raise UsageError(
            f"--on {on!r}: {kind} takes nothing behind it.",
            hint="Its options stand in Dask's configuration files; --workers says how many.",
        )
    return kind, rest


@contextlib.contextmanager
def connected(on: str, workers: int | None = None) -> Iterator[Any]:
    """A client of a cluster, with at least one worker; what was started here is ended.

    Args:
        workers: to start, for the kinds that start some.

    Raises:
        UsageError: there is no such kind.
        MissingExtraError: Dask is not installed.
        SweepError: another library is not installed, or no scheduler or worker answers.
    """
    kind, rest = kind_of(on)
    try:
        distributed = importlib.import_module("distributed")
    except ImportError:
        raise missing_extra("A sweep on a cluster", "distributed", "sweep") from None
    _silence()
    with contextlib.ExitStack() as stack:
        try:
            target = rest
            if kind != "address":
                target = stack.enter_context(_MAKERS[kind](distributed, rest, workers))
            client = stack.enter_context(distributed.Client(target, timeout=_TIMEOUT))
            client.wait_for_workers(1, timeout=_TIMEOUT if kind in ("address", "dask") else None)
        except (OSError, TimeoutError) as problem:
            raise SweepError(
                f"No cluster answers at {on}: {problem}.",
                hint="Start one: dask scheduler, and on every machine: dask worker "
                "tcp://HOST:8786 --nthreads 1",
            ) from problem
        yield client


def _silence() -> None:
    """What Dask logs of connections that end would hide our messages."""
    import dask

    dask.config.set({"logging.distributed": "critical"})
    warnings.filterwarnings("ignore", module=r"distributed\.")


def _local(distributed: ModuleType, rest: str, workers: int | None) -> Any:
    """Processes here; the first of them measures, because two would slow each other down."""
    count = int(rest or 0) or workers or os.cpu_count() or 1
    return distributed.LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address=":0",
        silence_logs=50,
        resources={"measure": 1} if count == 1 else {},
    )


def _ssh(distributed: ModuleType, rest: str, workers: int | None) -> Any:
    _need("asyncssh", "asyncssh")
    hosts = rest.split(",")
    return distributed.SSHCluster([hosts[0], *hosts], worker_options={"nthreads": 1})


def _slurm(distributed: ModuleType, rest: str, workers: int | None) -> Any:
    cluster = _need("dask_jobqueue", "dask-jobqueue").SLURMCluster()
    _grow(cluster, workers)
    return cluster


def _kubernetes(distributed: ModuleType, rest: str, workers: int | None) -> Any:
    made = _need("dask_kubernetes.operator", "dask-kubernetes")
    cluster = made.KubeCluster(name="mobile-export-sweep")
    _grow(cluster, workers)
    return cluster


_MAKERS: dict[str, Callable[[ModuleType, str, int | None], Any]] = {
    "dask": _local,
    "ssh": _ssh,
    "slurm": _slurm,
    "kubernetes": _kubernetes,
}


def _grow(cluster: Any, workers: int | None) -> None:
    """As many workers as were asked for; else as many as there is work for, up to 100."""
    if workers is None:
        cluster.adapt(minimum=1, maximum=100)
    else:
        cluster.scale(workers)


def _need(module: str, distribution: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise SweepError(
            f"That cluster needs the Python module {module!r}, which is not installed.",
            hint=f"Run: pip install {distribution}",
        ) from None
