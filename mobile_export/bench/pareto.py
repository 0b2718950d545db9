"""Which files of a model are worth shipping: what each costs against how near it is to the model.

The cost is what was measured on a device, milliseconds or instructions; how near a file is stands
in its manifest: SQNR or the share of best classes kept, as `mobile-export` judged it. A file is
worth shipping when no other is at least as cheap and as near, and better in one of both: these are
the Pareto front.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ..artifacts.manifest import Manifest
from ..artifacts.names import MANIFEST_SUFFIX
from ..errors import ArtifactError, UsageError
from ..system.terminal import printable
from .files import BenchArtifact, find_artifacts, read_artifact
from .layout import Column, Grid
from .plot import Point, Series
from .record import Measurement
from .tables import Row

__all__ = [
    "COSTS",
    "NEARNESS",
    "Candidate",
    "candidates",
    "files_of",
    "grid",
    "on_the_front",
    "series",
]

Cost = Literal["time", "instructions"]
COSTS: tuple[Cost, ...] = ("time", "instructions")
NEARNESS: Mapping[str, tuple[str, ...]] = {
    "sqnr": ("SQNR", "PSNR"),
    "agreement": ("best class kept", "pixels kept", "labels kept"),
}
"""What a file is judged by, and the measures of manifests that say it."""
_UNITS: Mapping[Cost, str] = {"time": "ns", "instructions": "instructions"}


@dataclass(frozen=True)
class Candidate:
    """One file.

    Attributes:
        cost: milliseconds, or millions of instructions; None where it was not measured.
        low, high: 95 % interval of it, where there is one.
        runner: that measured it.
        near: dB, or a share from 0 to 1, of the output that is the furthest off; None where nobody
            judged it.
        shipped: it is on the Pareto front.
    """

    artifact: BenchArtifact
    bytes: int
    cost: float | None = None
    low: float | None = None
    high: float | None = None
    device: str = ""
    runner: str = ""
    near: float | None = None
    shipped: bool = False

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; a file without any error has the nearness null and ``exact`` true."""
        exact = self.near is not None and math.isinf(self.near)
        return {
            "model": self.artifact.model,
            "file": str(self.artifact.path),
            "format": self.artifact.format,
            "precision": self.artifact.precision,
            "bytes": self.bytes,
            "cost": self.cost,
            "low": self.low,
            "high": self.high,
            "device": self.device,
            "runner": self.runner,
            "near": None if exact else self.near,
            "exact": exact,
            "ship": self.shipped,
        }


def files_of(names: Sequence[str], folder: Path = Path()) -> list[BenchArtifact]:
    """The files that are compared, each once.

    Args:
        names: files; folders, of which every exported file is taken; or models, whose files in
            ``folder`` and the folders in it are taken, whatever they are called.

    Raises:
        ArtifactError: a name has no file, or a file does not deserve trust.
    """
    found: dict[Path, BenchArtifact] = {}
    for name in names:
        made = _below(Path(name)) if Path(name).is_dir() else []
        if not made and not Path(name).exists():
            made = [each for each in _near(folder) if each.model == name]
        for each in made or find_artifacts([name], None, folder):
            found.setdefault(each.path.resolve(), each)
    return list(found.values())


def _below(folder: Path) -> list[BenchArtifact]:
    """Every exported file in a folder; none where that is itself a file of a format."""
    return [read_artifact(each) for each in _with_manifests(folder)]


def _near(folder: Path) -> Iterable[BenchArtifact]:
    """Exported files in a folder and those in it; what cannot be read is nobody's."""
    for place in (folder, *sorted(each for each in folder.iterdir() if each.is_dir())):
        for path in _with_manifests(place):
            try:
                yield read_artifact(path)
            except ArtifactError:
                continue


def _with_manifests(folder: Path) -> list[Path]:
    """What the manifests in a folder are of, in order."""
    found = sorted(folder.glob(f"*{MANIFEST_SUFFIX}"))
    return [each.with_name(each.name.removesuffix(MANIFEST_SUFFIX)) for each in found]


def candidates(
    files: Sequence[BenchArtifact],
    measured: Sequence[Measurement],
    *,
    near: str,
    cost: Cost | None = None,
    device: str | None = None,
) -> tuple[list[Candidate], Cost]:
    """The files with their figures, the cheapest first, and what their cost is.

    Args:
        measured: of a store; of a file the latest trusted one of the quickest runner counts.
        near: of `NEARNESS`.
        cost: None takes time where one of the files was timed, else instructions.
        device: None takes the one that has most of the files.

    Raises:
        UsageError: none of the files was measured so.
    """
    hashes = {each.manifest.sha256 for each in files}
    own = [m for m in measured if m.artifact["sha256"] in hashes and m.trusted]
    if cost is None:
        cost = "time" if any(m.unit == "ns" for m in own) or not own else "instructions"
    fitting = [m for m in own if m.unit == _UNITS[cost]]
    if device is None:
        device = _most(fitting)
    on_it = [m for m in fitting if device in (m.device.spec, m.device.kind)]
    if not on_it:
        where = "" if device is None else f" on {device}"
        raise UsageError(
            f"The store has no measurement ({cost}) of these {len(files)} files{where}.",
            hint="Measure them first: `mobile-bench run FILE…`; or count instructions: "
            "`mobile-bench run FILE… --device qemu`.",
        )
    found = [_candidate(each, on_it, near) for each in files]
    found = on_the_front(found)
    return sorted(found, key=lambda each: math.inf if each.cost is None else each.cost), cost


def _most(measured: Sequence[Measurement]) -> str | None:
    """The device that has measured most files."""
    files: dict[str, set[str]] = {}
    for each in measured:
        files.setdefault(each.device.spec, set()).add(each.artifact["sha256"])
    return max(files, key=lambda spec: len(files[spec]), default=None)


def _candidate(file: BenchArtifact, measured: Sequence[Measurement], near: str) -> Candidate:
    latest: dict[str, Measurement] = {}
    for each in sorted(measured, key=lambda m: m.time):
        if each.artifact["sha256"] == file.manifest.sha256:
            latest[each.runner["version"]] = each
    made = Candidate(file, file.facts().get("bytes", 0), near=nearness(file.manifest, near))
    costs = [(cost, m) for m in latest.values() if (cost := _cost(Row(m))) is not None]
    if not costs:
        return made
    (value, low, high), best = min(costs, key=lambda pair: pair[0][0])
    return replace(
        made, cost=value, low=low, high=high, device=best.device.spec, runner=best.runner["version"]
    )


def _cost(row: Row) -> tuple[float, float | None, float | None] | None:
    """In milliseconds or millions of instructions, with its interval."""
    medians = row.measurement.start_medians
    if not medians:
        return None
    low, high = row.interval or (None, None)
    return sum(medians) / len(medians) / 1e6, _millions(low), _millions(high)


def _millions(value: float | None) -> float | None:
    return None if value is None else value / 1e6


def nearness(manifest: Manifest, near: str) -> float | None:
    """The least of a measure over the outputs; infinite where there is no error at all."""
    recorded = () if manifest.parity is None else manifest.parity.qualities
    found = [
        math.inf if each.value is None else each.value
        for each in recorded
        if each.measure in NEARNESS[near]
    ]
    return min(found, default=None)


def on_the_front(found: Sequence[Candidate]) -> list[Candidate]:
    """With ``shipped`` of those that no other is at least as cheap and as near as, and better in
    one of both. What was not measured or not judged is not compared."""
    placed = [(e.cost, e.near) for e in found if e.cost is not None and e.near is not None]

    def beaten(cost: float, near: float) -> bool:
        return any(a <= cost and b >= near and (a < cost or b > near) for a, b in placed)

    return [
        replace(
            each,
            shipped=each.cost is not None
            and each.near is not None
            and not beaten(each.cost, each.near),
        )
        for each in found
    ]


def said(near: float | None, by: str) -> str:
    """A nearness in words."""
    if near is None:
        return ""
    if by == "agreement":
        return f"{near:.1%}"
    return "no error" if math.isinf(near) else f"{near:.1f} dB"


def grid(found: Sequence[Candidate], *, by: str, cost: Cost) -> Grid:
    """A line for each file, the cheapest first; below it what is worth shipping, and what could not
    be compared."""
    columns = (
        Column("file"),
        Column("model", shared=True),
        Column("format"),
        Column("precision"),
        Column("ms" if cost == "time" else "M instructions", number=True),
        Column("SQNR" if by == "sqnr" else "agreement", number=True),
        Column("MB", number=True),
        Column("device", shared=True, spare=1),
        Column("runner", spare=2),
        Column("ship"),
    )
    lines = tuple(
        (
            str(each.artifact.path),
            each.artifact.model,
            each.artifact.format,
            each.artifact.precision,
            "" if each.cost is None else f"{each.cost:.3g}",
            said(each.near, by),
            f"{each.bytes / 1e6:.2f}",
            each.device,
            each.runner,
            "yes" if each.shipped else "",
        )
        for each in found
    )
    return Grid(columns, lines, (False,) * len(lines), tuple(_notes(found, by)))


def _notes(found: Sequence[Candidate], by: str) -> Iterable[str]:
    worth = ", ".join(str(each.artifact.path) for each in found if each.shipped)
    yield f"worth shipping: {worth or 'none could be compared'}"
    unmeasured = ", ".join(str(each.artifact.path) for each in found if each.cost is None)
    if unmeasured:
        yield f"not measured there: {unmeasured}"
    unjudged = ", ".join(str(each.artifact.path) for each in found if each.near is None)
    if unjudged:
        yield (
            f"their manifests have no {by}: {unjudged}; files of integers that were calibrated on "
            "synthetic images have none unless they were exported with a gate (`sqnr`)"
        )


_ABOVE = 10.0
"""dB that a file without any error is drawn above the best that has some."""


def series(found: Sequence[Candidate], *, by: str) -> list[Series]:
    """For a plot: the front, joined by a line, and the others."""
    finite = [e.near for e in found if e.near is not None and math.isfinite(e.near)]
    top = max(finite, default=100.0) + _ABOVE
    points: dict[bool, list[Point]] = {True: [], False: []}
    for each in found:
        if each.cost is None or each.near is None:
            continue
        near = top if math.isinf(each.near) else each.near * (100 if by == "agreement" else 1)
        name = printable(f"{each.artifact.path.name}, {each.artifact.precision}")
        family = "front" if each.shipped else ""
        point = Point(name, each.cost, near, each.low, each.high, family)
        points[each.shipped].append(point)
    titles = {True: "worth shipping", False: "the others"}
    return [Series(titles[front], tuple(made), True) for front, made in points.items() if made]
