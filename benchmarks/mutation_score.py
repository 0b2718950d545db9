"""How many damaged files the parity check lets pass: the mutation score.

    python benchmarks/mutation_score.py --page docs/mutation.md
    python benchmarks/mutation_score.py timm/test_resnet@64 --format onnx --results one.jsonl

Every model is written once per format and precision. The file is then damaged in one way at a time,
by small editors of each format (`benchmarks/mutators/`), and judged by the code of an export.
Damage to what goes in and comes out (the image ignored, red and blue exchanged, flipped, two
outputs exchanged) is done around the runtime, which is what one more operator at the first or last
edge of the file would do.

A damaged file that passes is run again on inputs that parity does not have, and compared with the
original module in float64 by the two plain formulas of docs/parity.md. Where every error stays
within what is allowed there (for float16 files by PyTorch's own float16 run on those inputs), the
damage is *below tolerance*: no check with this tolerance can tell the two files apart. Otherwise it
*survived*, which is a fault of parity.

    --again PRECISION   judge the files of this precision again: their lines are left out first

    --results FILE   one JSON line for each damaged file; what is in it is not done again. Those of
                     docs/mutation.md stand beside this program.
    --page FILE      write the tables of docs/mutation.md from all that is in the results
    --keep DIR       where the files are written
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from mutation_page import page
from mutators import editor_of
from mutators.base import Site

from mobile_export import api
from mobile_export.errors import MobileExportError
from mobile_export.exporters.config import ExportConfig
from mobile_export.exporters.interface import runtime_of
from mobile_export.exporters.row import Format, Precision
from mobile_export.exporters.table import FORMATS, get_format, precision_named
from mobile_export.graph.capture import flatten_outputs
from mobile_export.graph.float64 import double_copy, run_float64
from mobile_export.graph.program import Program
from mobile_export.graph.specs import InputSpec
from mobile_export.parity.faithful import Bound, bound_of
from mobile_export.parity.reference import Reference
from mobile_export.parity.report import ParityReport
from mobile_export.parity.rounding import rounded_outputs
from mobile_export.parity.samples import Sample
from mobile_export.parity.session import Session
from mobile_export.parity.stored import with_stored_weights
from mobile_export.pipeline import check_parity
from mobile_export.pipeline.captured import References, capture
from mobile_export.pipeline.preparation import Preparation
from mobile_export.pipeline.write import constants_of
from mobile_export.sources.request import ModelRequest, parse_size
from mobile_export.sources.table import load_source
from mobile_export.system.quiet import quiet

ZOO = (
    "espcn_x2@32", "carn_m_x2@32", "u2netp@64", "freenet_s1@64", "emo_1m@96", "cas_vit_xs@64",
    "recnext_m0@64", "seaformer_tiny@128", "seaformerpp_tiny@128", "seaformer_tiny_seg@128",
    "emo_1m_ssdlite@128", "lite_mono_tiny@96", "linknet@64", "tvconv_mobilenetv2_x0_1@96",
    "mobile_former_96m@96", "squeezetime@64",
)  # fmt: skip
TIMM = (
    "test_resnet@64", "test_convnext@64", "test_vit@160", "test_efficientnet@64",
    "test_byobnet@64", "test_nfnet@64", "resnet10t@64", "mobilenetv2_050@64",
    "mobilenetv3_small_050@64", "mnasnet_small@64", "lcnet_035@64", "tinynet_e@64",
    "regnetx_002@64", "repghostnet_050@64", "ghostnet_050@64", "mobilevit_xxs@64",
    "edgenext_xx_small@64", "convnext_atto@64", "mobileone_s0@64", "efficientvit_b0@64",
)  # fmt: skip
MODELS = (*ZOO[:5], *(f"timm/{name}" for name in TIMM), *ZOO[5:])
"""The cheap ones first."""

RESULTS = Path(__file__).with_name("mutation.jsonl")
WHOLE = "none"
IGNORED, SWAPPED, FLIPPED = "input ignored", "channels swapped", "flipped left-right"
EXCHANGED = "outputs exchanged"


class Altered(Session):
    """A session whose input or outputs are damaged on the way."""

    def __init__(
        self,
        session: Session,
        before: Callable[[Sample], Sample] | None = None,
        after: Callable[[list[np.ndarray]], list[np.ndarray]] | None = None,
    ) -> None:
        self.session, self.before, self.after = session, before, after
        for name in (
            "runtime",
            "emulated",
            "precision",
            "arithmetic",
            "takes_pixels",
            "activation",
        ):
            setattr(self, name, getattr(session, name))
        self.variants = tuple(Altered(each, before, after) for each in session.variants)

    def run(self, sample: Sample) -> list[np.ndarray]:
        if self.before is not None:
            sample = self.before(sample)
        results = self.session.run(sample)
        return results if self.after is None else self.after(results)

    def notes(self) -> tuple[str, ...]:
        return self.session.notes()

    def stored_weights(self) -> Iterator[tuple[str, np.ndarray]]:
        return self.session.stored_weights()


@dataclass(frozen=True)
class Damage:
    """One damaged file: by an editor (`site`), or around the runtime (`around`)."""

    kind: str
    where: str
    site: Site | None = None
    around: Callable[[Session], Session] | None = None


def around_runtime(program: Program, whole: Sequence[np.ndarray]) -> Iterator[Damage]:
    """Damage to what goes in and comes out.

    Args:
        whole: what the whole file returns for some image.
    """
    first: list[Sample] = []

    def ignored(sample: Sample) -> Sample:
        if not first:
            first.append(sample)
        return first[0]

    channels = program.input.shape[1]
    inputs = {IGNORED: ignored, FLIPPED: lambda sample: _turned(sample, -1)}
    if channels > 1:
        inputs[SWAPPED] = lambda sample: _turned(sample, 1)
    for kind, change in inputs.items():
        yield Damage(kind, "", around=lambda s, change=change: Altered(s, before=change))
    pair = _alike(whole)
    if pair is not None:
        yield Damage(EXCHANGED, f"{pair}", around=lambda s: Altered(s, after=_exchange(*pair)))
    elif whole[0].ndim > 1 and whole[0].shape[1] > 1:
        yield Damage(EXCHANGED, "channels", around=lambda s: Altered(s, after=_exchange_channels))


def _turned(sample: Sample, axis: int) -> Sample:
    """A sample in the other direction along an axis."""
    pixels = None if sample.pixels is None else sample.pixels.flip(axis)
    return replace(sample, image=sample.image.flip(axis), pixels=pixels)


def _alike(arrays: Sequence[np.ndarray]) -> tuple[int, int] | None:
    """Two outputs of one shape."""
    for i, first in enumerate(arrays):
        for j in range(i + 1, len(arrays)):
            if arrays[j].shape == first.shape:
                return i, j
    return None


def _exchange(i: int, j: int) -> Callable[[list[np.ndarray]], list[np.ndarray]]:
    def after(results: list[np.ndarray]) -> list[np.ndarray]:
        made = list(results)
        made[i], made[j] = made[j], made[i]
        return made

    return after


def _exchange_channels(results: list[np.ndarray]) -> list[np.ndarray]:
    """The first two channels (or classes) of the first output."""
    made = results[0].copy()
    made[:, [0, 1]] = made[:, [1, 0]]
    return [made, *results[1:]]


def chosen_sites(sites: Sequence[Site], seed: str, per_kind: int) -> Iterator[Damage]:
    """At random ``per_kind`` places of every kind, the same for the same seed."""
    kinds = sorted({site.kind for site in sites})
    for kind in kinds:
        found = [site for site in sites if site.kind == kind]
        chance = random.Random(zlib.crc32(f"{seed} {kind}".encode()))
        for site in chance.sample(found, min(per_kind, len(found))):
            yield Damage(kind, site.where, site=site)


# --- what parity does not have: other inputs, and the two formulas once more ------------------


def other_inputs(spec: InputSpec) -> tuple[Sample, ...]:
    """24 images of kinds and seeds that `mobile_export.parity.samples` does not use.

    Dead leaves (overlapping discs of random colour and size, whose statistics are those of natural
    images: Lee, Mumford, Huang 2001), single objects on a plain ground, ramps of colour, noise.
    """
    images = [
        *(_leaves(spec, seed, count=120) for seed in range(10)),
        *(_leaves(spec, 50 + seed, count=1) for seed in range(6)),
        *(_ramp(spec, 70 + seed) for seed in range(4)),
        *(np.random.default_rng(90 + seed).integers(0, 256, spec.shape) for seed in range(4)),
    ]
    return tuple(_sample(spec, image, index) for index, image in enumerate(images))


def _leaves(spec: InputSpec, seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = spec.size
    y, x = np.mgrid[:height, :width]
    image = np.empty((spec.shape[1], height, width))
    image[:] = rng.integers(0, 256, (spec.shape[1], 1, 1))
    for radius in np.sort(1 / rng.uniform(2 / min(height, width), 0.5, count))[::-1]:
        inside = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < radius
        image[:, inside] = rng.integers(0, 256, (spec.shape[1], 1))
    return _as_input(spec, image)


def _ramp(spec: InputSpec, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    height, width = spec.size
    y, x = np.mgrid[:height, :width] / np.array([height, width]).reshape(2, 1, 1)
    slopes = rng.uniform(-200, 200, (2, spec.shape[1], 1, 1))
    image = 128 + slopes[0] * (y - 0.5) + slopes[1] * (x - 0.5)
    return _as_input(spec, image.clip(0, 255).round())


def _as_input(spec: InputSpec, image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(
        image[None] if len(spec.shape) == 4 else image[None, :, None], spec.shape
    )


def _sample(spec: InputSpec, image: np.ndarray, index: int) -> Sample:
    pixels = torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))
    parts = (1, -1, *[1] * (pixels.ndim - 2))
    mean, std = (torch.tensor(values).double().view(parts) for values in (spec.mean, spec.std))
    return Sample(f"other-{index}", ((pixels.double() / 255 - mean) / std).float(), pixels)


@dataclass(frozen=True)
class Off:
    """How far one output is off on `other_inputs`, and how far it may be.

    Attributes:
        size, spread: the largest error relative to the output's size, and to what changes.
    """

    size: float
    spread: float
    bound: Bound


class Others:
    """The original module in float64 on `other_inputs`, computed when it is asked for."""

    def __init__(self, module: torch.nn.Module, spec: InputSpec) -> None:
        self._module = module
        self.samples = other_inputs(spec)
        self._exact: list[list[np.ndarray]] | None = None
        self._rounded = rounded_outputs(module, self.samples)

    @property
    def exact(self) -> list[list[np.ndarray]]:
        if self._exact is None:
            double = double_copy(self._module)
            with torch.no_grad():
                runs = [flatten_outputs(run_float64(double, s.image))[1] for s in self.samples]
            self._exact = [[tensor.numpy() for tensor in run] for run in runs]
        return self._exact

    def errors(
        self, session: Session, precision: Precision, float32_error: float
    ) -> list[list[Off]]:
        """Of the file and of each of its variants, of each output."""
        got = [session.run(sample) for sample in self.samples]
        outputs = tuple(map(tuple, self.exact))
        reference = Reference(self.samples, outputs, float32_error, rounded=self._rounded)
        off = []
        for index, (size, spread) in enumerate(self._errors(got)):
            bound = bound_of(reference, index, spread, precision, session.arithmetic)
            off.append(Off(size, spread, bound))
        found = [off]
        for variant in session.variants:
            row = precision_named(variant.precision)
            found += self.errors(variant, row, float32_error)
        return found

    def _errors(self, got: Sequence[Sequence[np.ndarray]]) -> Iterator[tuple[float, float]]:
        """Of each output, the error relative to its size and to what changes with the image."""
        for a, b in zip(zip(*got, strict=True), zip(*self.exact, strict=True), strict=True):
            if not np.issubdtype(b[0].dtype, np.floating):
                yield max(float((x != y).mean()) for x, y in zip(a, b, strict=True)), 0.0
                continue
            x, y = np.stack(a).astype(np.float64), np.stack(b)
            axes = tuple(range(1, y.ndim))
            d = x - y
            size = float((abs(d).max(axes) / abs(y).max(axes)).max())
            moves = abs(y - y.mean(0)).max()
            still = moves <= 1e-9 * abs(y).max()
            yield size, 0.0 if still else float(abs(d - d.mean(0)).max() / moves)


# --- one model ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """One file of a model, and what it is judged with."""

    model: str
    row: Format
    precision: Precision
    path: Path
    program: Program
    references: References
    others: Others

    def load(self, path: Path | None = None) -> Session:
        session: Session = runtime_of(self.row).load(path or self.path, self.program.outputs)
        return session

    @cached_property
    def constants(self) -> list[np.ndarray]:
        """What the file was written with."""
        config = ExportConfig(precision=self.precision.name)
        preparation = Preparation(self.program, self.references, config)
        program, _ = preparation.passed(self.row, ())
        return constants_of([preparation.adapted(self.row, program, config.job(self.row))])

    def judge(self, session: Session) -> tuple[ParityReport, ParityReport]:
        """As at export: by its outputs alone, and by the numbers that it stores, too."""
        outputs = check_parity(session, self.program, self.references, self.precision)
        return outputs, with_stored_weights(outputs, session.stored_weights(), self.constants)


def records(written: Written, per_kind: int, done: set[str]) -> Iterator[dict[str, Any]]:
    """One record for the whole file, and one for each damaged file that is not done.

    When the whole file does not pass, its damaged ones say nothing, and there are none.
    """
    session = written.load()
    by_outputs, report = written.judge(session)
    if WHOLE not in done:
        yield _record(written, Damage(WHOLE, ""), report, None, by_outputs=by_outputs)
    if not report.passed:
        return
    outputs = session.run(written.references.get(pixels=session.takes_pixels).samples[0])
    sites = list(editor_of(written.row.name, written.path).sites())
    seed = f"{written.model} {written.row.name} {written.precision.name}"
    damages = [*around_runtime(written.program, outputs), *chosen_sites(sites, seed, per_kind)]
    for damage in damages:
        if f"{damage.kind}|{damage.where}" not in done:
            yield _damaged(written, session, damage)


def _damaged(written: Written, whole: Session, damage: Damage) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        try:
            session = whole
            if damage.site is not None:
                path = Path(folder) / written.path.name
                editor_of(written.row.name, written.path).write(damage.site, path)
                session = written.load(path)
            if damage.around is not None:
                session = damage.around(session)
            by_outputs, report = written.judge(session)
        except MobileExportError as error:
            return _record(written, damage, None, None, str(error).splitlines()[0])
        effect = None
        if by_outputs.passed:
            session = session if damage.around is None else damage.around(whole)
            given = (written.precision, report.float32_error)
            effect = tuple(written.others.errors(each, *given) for each in (session, whole))
        return _record(written, damage, report, effect, by_outputs=by_outputs)


def _record(
    written: Written,
    damage: Damage,
    report: ParityReport | None,
    effect: tuple[list[list[Off]], ...] | None,
    error: str | None = None,
    by_outputs: ParityReport | None = None,
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "model": written.model,
        "format": written.row.name,
        "precision": written.precision.name,
        "kind": damage.kind,
        "where": damage.where,
        "status": "refused" if report is None else report.deciding.status,
    }
    if by_outputs is not None:
        facts["by_outputs"] = by_outputs.deciding.status
    if error is not None:
        facts["error"] = error
    if report is not None:
        worst = report.deciding
        facts |= {
            "max_rel": worst.max_rel,
            "tolerance": worst.tolerance,
            "spread_error": worst.spread_error,
            "spread_allowed": worst.spread_allowed,
        }
    if effect is not None:
        assert report is not None
        facts |= _effect(report, *effect)
    return facts


def _effect(
    report: ParityReport, damaged: list[list[Off]], whole: list[list[Off]]
) -> dict[str, Any]:
    """What the other inputs show of a damaged file that passed: in each way that a device may run
    it, whether every output is within what is allowed, or no further off than the whole file's."""
    within, worst = True, (0.0, {})
    for run, outputs, whole_outputs in zip((report, *report.variants), damaged, whole, strict=True):
        for off, sound in zip(outputs, whole_outputs, strict=True):
            within &= off.size <= max(off.bound.size, sound.size)
            within &= off.spread <= max(off.bound.spread_allowed, sound.spread)
            facts = {
                "precision": run.precision,
                "allowed": off.bound.size,
                "max_rel": off.size,
                "spread_error": off.spread,
                "whole_max_rel": sound.size,
                "whole_spread_error": sound.spread,
                "spread_allowed": off.bound.spread_allowed,
            }
            beyond = max(off.size / off.bound.size, off.spread / off.bound.spread_allowed)
            worst = max(worst, (beyond, facts), key=lambda each: each[0])
    return {"others": worst[1], "below_tolerance": within}


def write_files(
    spec: str, formats: Sequence[Format], precision: str, folder: Path
) -> dict[str, Path]:
    """The file of every format that can have this precision, written where it is not there yet.

    Files that do not pass are kept: the record of the whole file says so.
    """
    name, _, size = spec.partition("@")
    stem = name.replace("/", "_")
    where = folder / precision
    found = {row.name: where / (stem + row.suffix) for row in formats}
    missing = [row.name for row in formats if not found[row.name].exists()]
    if missing:
        try:
            with quiet(True):
                api.export(
                    name, missing, where, name=stem, precision=precision, force=True,
                    keep_failed=True, size=parse_size(size) if size else None,
                )  # fmt: skip
        except MobileExportError as error:
            print(f"{spec} {precision}: {error}", file=sys.stderr)
    return {name: path for name, path in found.items() if path.exists()}


def load_all(request: ModelRequest) -> tuple[Program, References, Others]:
    """A model, traced, and what its files are judged with."""
    source = load_source(request)
    ((program, references),) = capture(lambda: source, lambda stage: None)
    return program, references, Others(source.module, source.input)


def score(
    spec: str, formats: Sequence[Format], folder: Path, per_kind: int, done: Callable[..., set[str]]
) -> Iterator[dict[str, Any]]:
    """The records of one model in all formats and precisions."""
    name, _, size = spec.partition("@")
    request = ModelRequest.of(name, size=parse_size(size) if size else None)
    loaded: tuple[Program, References, Others] | None = None
    for precision in ("fp32", "fp16"):
        having = [row for row in formats if precision in {p.name for p in row.precisions}]
        having = [row for row in having if "complete" not in done(spec, row.name, precision)]
        if not having:
            continue
        files = write_files(spec, having, precision, folder)
        if loaded is None:
            loaded = load_all(request)
        for row in having:
            if row.name in files:
                path = files[row.name]
                written = Written(spec, row, row.precision(precision), path, *loaded)
                yield from records(written, per_kind, done(spec, row.name, precision))
            facts = {"model": spec, "format": row.name, "precision": precision}
            yield {**facts, "kind": "complete", "where": "", "written": row.name in files}


def leave_probe_out(patch: Callable[..., None] = setattr) -> None:
    """Load ncnn files without the child process in which they are run first, which costs more than
    all the rest; the editors write files that do not crash it."""
    from mobile_export.exporters.ncnn import session

    patch(session, "_probe", lambda *sessions: None)


class Results:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text() if path.exists() else ""
        self.records = [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    def done(self, model: str, format: str, precision: str) -> set[str]:
        """What is there of one file: "complete", `WHOLE`, and "kind|where"."""
        mine = [
            r for r in self.records
            if (r["model"], r["format"], r["precision"]) == (model, format, precision)
        ]  # fmt: skip
        plain = {r["kind"] for r in mine if r["kind"] in ("complete", WHOLE)}
        return plain | {f"{r['kind']}|{r['where']}" for r in mine}

    def leave_out(self, precision: str) -> None:
        """Forget the records of files of this precision, also on disk."""
        self.records = [each for each in self.records if each["precision"] != precision]
        self.path.write_text("".join(json.dumps(each) + "\n" for each in self.records))

    def add(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        with self.path.open("a") as stream:
            stream.write(json.dumps(record) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=MODELS, help="NAME@SIZE")
    names = [row.name for row in FORMATS]
    parser.add_argument("--format", nargs="+", choices=names, default=names)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--keep", type=Path, default=Path("mutation-files"))
    parser.add_argument("--per-kind", type=int, default=1, help="places damaged in each kind")
    parser.add_argument("--again", choices=["fp16", "fp32"], help="a precision to judge again")
    given = parser.parse_args()
    results = Results(given.results)
    if given.again:
        results.leave_out(given.again)
    torch.set_num_threads(1)
    leave_probe_out()
    for spec in given.models:
        start = time.monotonic()
        try:
            formats = [get_format(name) for name in given.format]
            for record in score(spec, formats, given.keep, given.per_kind, results.done):
                results.add(record)
        except MobileExportError as error:
            print(f"{spec}: {error}", file=sys.stderr)
        print(f"{spec}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    text = page(results.records, MODELS)
    print(text)
    if given.page is not None:
        given.page.write_text(text)


if __name__ == "__main__":
    main()
