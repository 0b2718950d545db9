"""The manifest beside an artifact: where it came from, what was done, what was proven.

One definition writes it and reads it. A manifest travels with its file, so it is read as input:
every field has a type and a limit, and nothing in it is ever executed, imported or opened but the
files beside it. `docs/manifest.md` explains the fields; `manifest.schema.json` is made from here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from ..errors import ArtifactError, UsageError
from ..exporters.table import format_named, precision_names
from ..system.files import MIB, read_regular_file
from .content import sha256_of, size_of
from .expected import Expected
from .fields import (
    Count,
    Dim,
    FileName,
    Magnitude,
    Name,
    Number,
    Positive,
    Seed,
    Sha256,
    Shape,
    Share,
    Text,
    decode,
    element_count,
)
from .interface import Build, Interface, Preprocessing, Task, contradictions, contradictions_of
from .names import manifest_path
from .words import Role, class_count, is_one_picture

__all__ = [
    "SCHEMA",
    "FileFacts",
    "Input",
    "Manifest",
    "Nms",
    "NmsOutput",
    "Output",
    "Parity",
    "Pass",
    "Size",
    "Weights",
    "artifact_manifest",
    "manifest_schema",
    "other_files",
    "read_manifest",
    "require_own_files",
]

SCHEMA = 2
"""The latest that this version writes; it reads all up to it. A manifest of a model with one image
is of schema 1, which older readers understand; one of any other inputs, or of a batch, is of
schema 2."""

_MOST_BYTES = 64 * MIB
_MOST_INPUT_ELEMENTS = 2**28
_MOST_OUTPUT_ELEMENTS = 2**31
_AGAIN = "Write the file with mobile-export, which puts a manifest beside it."


class FileFacts(msgspec.Struct, frozen=True):
    """A file of the artifact, by name: it lies in the folder of the manifest."""

    file: FileName
    sha256: Sha256
    bytes: Count = 0


class Weights(msgspec.Struct, frozen=True):
    """Where the weights came from.

    Attributes:
        kind: ``random``, ``checkpoint``, ``pretrained``, ``own`` or ``program``.
        description: one line for people.
        path, sha256: of the checkpoint, as the exporting machine saw it.
        seed: of random weights.
    """

    kind: Literal["random", "checkpoint", "pretrained", "own", "program"]
    description: Text = ""
    path: Name | None = None
    sha256: Sha256 | None = None
    seed: Seed | None = None
    notes: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input of the PyTorch model.

    Attributes:
        name: in the file.
        shape: of an image (N, C, H, W), or (N, C, T, H, W) of a clip, or with C last.
        channel_order: ``RGB``, ``BGR`` or ``L``.
        mean, std: per channel, of pixels scaled to [0, 1]; empty of what is no image.
        dtype: that the PyTorch model takes; ``interface`` says what the file takes.
        role: what it is.
        channels_last: the PyTorch model takes its image as (N, H, W, C).
        highest: the largest number that indices or boxes may hold.
    """

    name: Name = "image"
    shape: Annotated[tuple[Annotated[int, Meta(ge=1, le=2**31)], ...], Meta(max_length=8)]
    layout: Name = "NCHW of the PyTorch model"
    channel_order: Literal["RGB", "BGR", "L"] = "RGB"
    mean: Annotated[tuple[Number, ...], Meta(max_length=4096)] = ()
    std: Annotated[tuple[Positive, ...], Meta(max_length=4096)] = ()
    dtype: Literal["float32", "uint8", "int32", "int64", "bool"] = "float32"
    role: Role = "image"
    channels_last: bool = False
    highest: Count | None = None

    def __post_init__(self) -> None:
        element_count(self.shape, _MOST_INPUT_ELEMENTS)
        if self.role != "image":
            if self.mean or self.std:
                raise ValueError(f"mean and std are of images; {self.name[:80]} is none")
            return
        if len(self.shape) not in (4, 5):
            raise ValueError(f"shape has {len(self.shape)} axes; an image or a clip has 4 or 5")
        channels = self.shape[-1 if self.channels_last else 1]
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (0, channels):
                raise ValueError(
                    f"{name} has {len(values)} numbers; the image has {channels} channels"
                )


class Output(msgspec.Struct, frozen=True):
    """An output of the PyTorch model."""

    name: Name
    shape: Shape

    def __post_init__(self) -> None:
        element_count(self.shape, _MOST_OUTPUT_ELEMENTS)


class NmsOutput(msgspec.Struct, frozen=True):
    """An output of a file that ends with detections.

    Attributes:
        shape: null stands for a number of rows that depends on the image.
    """

    name: Name
    shape: Annotated[tuple[Annotated[int, Meta(ge=0, le=2**31)] | None, ...], Meta(max_length=16)]
    layout: Text = ""


class Nms(msgspec.Struct, frozen=True):
    """Non-maximum suppression inside the file."""

    iou_threshold: Annotated[float, Meta(gt=0, le=1)]
    score_threshold: Annotated[float, Meta(ge=0, lt=1)]
    max_detections: Count
    candidates: Text
    outputs: Annotated[tuple[NmsOutput, ...], Meta(max_length=16)]
    labels: Annotated[tuple[Text, ...], Meta(max_length=1_000_000)]


class Change(msgspec.Struct, frozen=True):
    """A rewrite: the node, and what was done."""

    node: Text
    what: Text


class Refusal(msgspec.Struct, frozen=True):
    """A rewrite that would not have been exact: the node, and why."""

    node: Text
    reason: Text


class Pass(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one graph pass did."""

    name: Name
    formats: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    changes: Annotated[tuple[Change, ...], Meta(max_length=1_000_000)]
    refusals: Annotated[tuple[Refusal, ...], Meta(max_length=1_000_000)]


class Detections(msgspec.Struct, frozen=True):
    """Detections of the file against those of the reference, summed over the samples."""

    certain: Count
    found: Count
    open: Count
    unexpected: Count


class QualityRecord(msgspec.Struct, frozen=True):
    """How well one output of the file serves, by one measure; a share or dB."""

    output: Name
    measure: Name
    gate: Number
    value: Number | None = None
    passed: bool = False


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """The file against the original model in float64; null stands for what is not finite.

    Attributes:
        status: ``passed``, ``failed`` or ``inconclusive``; called ``verdict`` in the file.
        float16_error: PyTorch's own with float16 weights, and results where the file was executed
            so; null of float32 files and of older manifests.
        spread: how far an output moves between the samples, relative to its largest magnitude.
        spread_error: largest error of what moves, relative to that; null where nothing moves.
        spread_allowed: the largest that passes; null of older manifests.
        faithful, useful: the two verdicts; null where nobody can tell, and of older manifests.
        qualities: what ``useful`` is made of.
        unmoved: outputs that depend on the input and are the same for all samples.
        variants: the same file under other options of its runtime; called ``others`` in the file.
        sizes: of the image, in words, that a file of several was checked at.
    """

    runtime: Name | None = None
    emulated: bool = False
    precision: Name = ""
    status: Literal["passed", "failed", "inconclusive"] = field(name="verdict")
    tolerance: Magnitude | None = None
    float32_error: Magnitude | None = None
    float16_error: Magnitude | None = None
    max_abs: Magnitude | None = None
    max_rel: Magnitude | None = None
    cosine: Annotated[float, Meta(ge=-1.001, le=1.001)] | None = None
    psnr: Number | None = None
    worst: Text = ""
    worst_index: Annotated[tuple[Count, ...], Meta(max_length=64)] = ()
    top1: Share | None = None
    top5: Share | None = None
    samples: Count = 0
    spread: Magnitude | None = None
    spread_error: Magnitude | None = None
    spread_allowed: Magnitude | None = None
    faithful: bool | None = None
    useful: bool | None = None
    qualities: Annotated[tuple[QualityRecord, ...], Meta(max_length=1000)] = ()
    unmoved: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()
    notes: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()
    detections: Detections | None = None
    variants: Annotated[tuple[Parity, ...], Meta(max_length=64)] = field(name="others", default=())
    sizes: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    passed: bool = False

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        if self.passed and any(each.status != "passed" for each in (self, *self.variants)):
            raise ValueError("passed is true, and a verdict is not passed")


def _require_precision(name: str) -> None:
    """Raise ValueError unless some format has the precision; an empty name says nothing."""
    if name and name not in precision_names():
        raise ValueError(f"precision is {name[:80]!r}; valid are {', '.join(precision_names())}")


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """A size of the image that a file of several takes.

    Attributes:
        size: (height, width) in pixels.
        signature: what the runtime calls the entry of the file for it; null where there is one
            entry for all.
        expected: as that of the manifest, at this size.
    """

    size: tuple[Dim, Dim]
    signature: Name | None = None
    expected: Expected


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is known of one artifact.

    Attributes:
        format: of the file, a name of the table of formats, or ``pt2``.
        file, sha256, bytes: the artifact; of a folder, all its files together.
        companions: the files without which it is nothing.
        plan: of a file of integers, what says which integers it holds and computes; ``verify``
            reads it.
        precision: that it was written in.
        source: the model as the user named it. Nobody may import it because it stands here.
        input: of the model; the first one of several.
        other_inputs: the rest of them, in order.
        outputs, expected: of the model; of a file that ends with detections, in front of them.
        sizes: of a file that takes images of several, all of them; ``input``, ``outputs`` and
            ``expected`` are those of the first.
        task: what the model is for; null where nobody said.
        interface: what the file itself takes and gives; null of older manifests and of programs.
        preprocessing: how the model's authors bring a picture to its size, where that is known.
        build: what was asked of the source; null of older manifests.
        nms: of a file that ends with detections.
        parity: None of a file that was not compared (a saved program).
        tools: version of every library that had a hand in it.
    """

    schema: Annotated[int, Meta(ge=1, le=SCHEMA)]
    format: Name
    file: FileName
    sha256: Sha256
    bytes: Count = 0
    companions: Annotated[tuple[FileFacts, ...], Meta(max_length=16)] = ()
    plan: FileFacts | None = None
    precision: Name = "fp32"
    source: Annotated[str, Meta(min_length=1, max_length=4096)]
    weights: Weights | None = None
    input: Input
    other_inputs: Annotated[tuple[Input, ...], Meta(max_length=63)] = ()
    outputs: Annotated[tuple[Output, ...], Meta(min_length=1, max_length=256)]
    expected: Expected
    sizes: Annotated[tuple[Size, ...], Meta(max_length=64)] = ()
    labels: Annotated[tuple[Text, ...], Meta(max_length=1_000_000)] | None = None
    task: Task | None = None
    interface: Interface | None = None
    preprocessing: Preprocessing | None = None
    build: Build | None = None
    nms: Nms | None = None
    passes: Annotated[tuple[Pass, ...], Meta(max_length=1000)] = ()
    parity: Parity | None = None
    tools: Annotated[dict[Name, Name], Meta(max_length=1000)] = {}
    notes: Annotated[tuple[Text, ...], Meta(max_length=1000)] = ()

    def at_size(self, size: tuple[int, int]) -> Manifest:
        """The same for images of one of `sizes`: shapes and expected outputs.

        Raises:
            UsageError: it is none of them; or the file has an entry of its own for it.
        """
        found = next((each for each in self.sizes if each.size == size), None)
        if found is None or found.signature != self.sizes[0].signature:
            said = f"has no expected outputs at {size[0]}x{size[1]}"
            if found is not None:
                said = f"takes {size[0]}x{size[1]} by its signature {found.signature}, not run here"
            first = self.sizes[0].signature if self.sizes else None
            able = ["x".join(map(str, e.size)) for e in self.sizes if e.signature == first]
            raise UsageError(
                f"{self.file} {said}.",
                hint=f"It has them at {', '.join(able)}." if able else "Leave `size` out.",
            )
        height = len(self.input.shape) - 2 - self.input.channels_last
        shape = (*self.input.shape[:height], *size, *self.input.shape[height + 2 :])
        return msgspec.structs.replace(
            self,
            input=msgspec.structs.replace(self.input, shape=shape),
            outputs=tuple(Output(each.name, each.shape) for each in found.expected.outputs),
            expected=found.expected,
            build=self.build and msgspec.structs.replace(self.build, size=size),
        )

    @property
    def inputs(self) -> tuple[Input, ...]:
        """All inputs of the model, in order."""
        return (self.input, *self.other_inputs)

    @property
    def takes_one_picture(self) -> bool:
        """The model takes one image of float32, channels first, and nothing else."""
        return is_one_picture(self.inputs)

    @property
    def taken(self) -> str:
        """Every input of the model, for a message."""
        return ", ".join(f"{i.name} {i.shape} {i.dtype} ({i.role})" for i in self.inputs)

    @property
    def class_names(self) -> tuple[str, ...] | None:
        """What the file calls its classes; None where they have no names."""
        return self.labels if self.nms is None else self.nms.labels

    @property
    def fitting_labels(self) -> tuple[str, ...]:
        """Names of the classes; none where the outputs have another number of classes."""
        if self.labels is None or self.interface is None:
            return ()
        shapes: dict[str, tuple[int | None, ...]] = {each.name: each.shape for each in self.outputs}
        outputs = reversed(self.interface.outputs)
        count = class_count(
            {each.meaning: shapes.get(each.source or "", each.shape) for each in outputs}
        )
        return self.labels if count in (None, len(self.labels)) else ()

    def __post_init__(self) -> None:
        _require_precision(self.precision)
        if len(self.other_inputs) != len(self.expected.others_sha256):
            raise ValueError("other_inputs and expected.others_sha256 differ in their number")
        if sum(math.prod(each.shape) for each in self.inputs) > _MOST_INPUT_ELEMENTS:
            raise ValueError(
                f"all inputs together have more than {_MOST_INPUT_ELEMENTS:,} elements"
            )
        if self.schema == 1 and not _one_image(self.inputs):
            raise ValueError("schema is 1, which has one image of float32")
        given = [(output.name, output.shape) for output in self.outputs]
        if given != [(output.name, output.shape) for output in self.expected.outputs]:
            raise ValueError("outputs and expected.outputs differ in their names or shapes")
        for said in () if self.interface is None else contradictions(self.interface, self.inputs):
            raise ValueError(said)
        for said in () if self.build is None else contradictions_of(self.build, self.inputs):
            raise ValueError(said)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made


def _one_image(inputs: Sequence[Any]) -> bool:
    """Whether a model takes what a manifest of schema 1 can say."""
    first, *others = inputs
    return not others and first.role == "image" and first.dtype == "float32"


def artifact_manifest(
    program: Any,
    path: Path,
    format_: str,
    *,
    expected: Expected,
    sizes: Sequence[Size] = (),
    passes: Sequence[Mapping[str, Any]],
    companions: Sequence[Path] = (),
    plan: Path | None = None,
    precision: str = "fp32",
    interface: Interface | None = None,
    preprocessing: Preprocessing | None = None,
    task: Task | None = None,
    parity: Mapping[str, Any] | None = None,
    tools: Mapping[str, str] | None = None,
    nms: Nms | None = None,
) -> Manifest:
    """The manifest of the file of ``program`` at ``path``, which is hashed.

    Args:
        program: has ``spec``, ``input``, ``others``, ``outputs``, ``weights``, ``labels``,
            ``asked`` and ``notes``, as a `graph.program.Program` has them.
        expected: what the file must compute.
        passes: what each graph pass did.
        companions: the other files of the artifact.
        plan: the file of the plan, of a file of integers.
        precision: of the file.
        interface: what the file takes and gives.
        preprocessing: how pictures are made ready for it.
        task: what it is for.
        parity: a report, JSON-ready.
        tools: versions by distribution.

    Raises:
        ArtifactError: something is beyond the limits of a manifest.
    """
    single = program.input.shape[:1] == (1,) and not sizes
    facts = {
        "schema": 1 if single and _one_image(program.inputs) else SCHEMA,
        "format": format_,
        **_file_facts(path),
        "companions": [_file_facts(file) for file in companions],
        "plan": None if plan is None else _file_facts(plan),
        "precision": precision,
        "source": program.spec,
        "weights": vars(program.weights) | {"description": program.weights.describe()},
        "input": _described(program.input),
        "other_inputs": tuple(map(_described, program.others)),
        "outputs": program.outputs,
        "expected": expected,
        "sizes": sizes,
        "labels": program.labels,
        "task": task,
        "interface": interface,
        "preprocessing": preprocessing,
        "build": dict(program.asked) or None,
        "nms": nms,
        "passes": passes,
        "parity": parity,
        "tools": tools or {},
        "notes": program.notes,
    }
    try:
        return msgspec.convert(facts, Manifest, from_attributes=True)
    except msgspec.ValidationError as problem:
        raise ArtifactError(f"A manifest of {path.name} cannot be written: {problem}.") from problem


def _described(spec: Any) -> dict[str, Any]:
    """An input; one that becomes uint8 in the file only (`graph.processing`) is the model's own."""
    own = spec.pixels and spec.dtype == "uint8"
    layout = (
        "as the PyTorch model takes it" if spec.role != "image" else "NCHW of the PyTorch model"
    )
    if spec.channels_last:
        layout = "NHWC of the PyTorch model"
    names = ("name", "shape", "channel_order", "mean", "std", "role", "channels_last", "highest")
    facts = {name: getattr(spec, name) for name in names}
    return {**facts, "layout": layout, "dtype": "float32" if own else spec.dtype}


def _file_facts(path: Path) -> dict[str, Any]:
    return {"file": path.name, "sha256": sha256_of(path), "bytes": size_of(path)}


def read_manifest(path: Path) -> Manifest:
    """The manifest beside the artifact ``path``.

    Raises:
        ArtifactError: there is none, it cannot be read, or something in it is not valid.
    """
    place = manifest_path(path)
    refuse_link_out(place, path)
    if not place.exists():
        raise ArtifactError(
            f"{path} has no manifest ({place.name}), so nothing vouches for it.", hint=_AGAIN
        )
    data = read_regular_file(place, limit=_MOST_BYTES)
    try:
        return decode(data, Manifest, str(place), ArtifactError)
    except ArtifactError:
        _refuse_newer(data, place)
        raise


class _Schema(msgspec.Struct):
    schema: Count


def _refuse_newer(data: bytes, place: Path) -> None:
    """Raise ArtifactError for a manifest of a schema that this version does not know."""
    try:
        number = msgspec.json.decode(data, type=_Schema).schema
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return
    if number > SCHEMA:
        raise ArtifactError(
            f"{place} was written by a newer mobile-export: its schema is {number}, and this "
            f"version reads those up to {SCHEMA}.",
            hint="Update mobile-export, or export the model again with this one.",
        )


def other_files(path: Path, manifest: Manifest) -> Iterator[Path]:
    """The files of the artifact ``path``, its plan included, that are there and are not those that
    ``manifest`` names: their SHA-256 differs."""
    named = (*manifest.companions, *((manifest.plan,) if manifest.plan else ()))
    hashes = {path.with_name(each.file): each.sha256 for each in named}
    for file, sha256 in {path: manifest.sha256, **hashes}.items():
        if file.exists() and sha256_of(file) != sha256:
            yield file


def require_own_files(path: Path, manifest: Manifest) -> None:
    """Raise ArtifactError where `other_files` finds one, or the manifest is of another format."""
    row = format_named(path)
    if row is not None and manifest.format != row.name:
        raise ArtifactError(
            f"The manifest of {path} is of a file of the format {manifest.format[:80]!r}, and not "
            f"{row.name}.",
            hint="Copy both from where they were made, or export the model again.",
        )
    for other in other_files(path, manifest):
        raise ArtifactError(
            f"{other} is not the file that its manifest is of: its SHA-256 differs.",
            hint="Copy both from where they were made, or export the model again.",
        )


def refuse_link_out(file: Path, artifact: Path) -> None:
    """Raise ArtifactError when ``file`` is a link that leads away from the folder of its artifact.

    Where the artifact itself is a link, the folder that it leads to is as good.
    """
    try:
        folder = file.resolve().parent
        near = {artifact.parent.resolve(), artifact.resolve().parent}
    except (OSError, RuntimeError) as problem:  # RuntimeError: links in a circle
        raise ArtifactError(f"{file} cannot be read: {problem}.") from problem
    if folder not in near:
        raise ArtifactError(
            f"{file} is a link that leads out of its folder, to {folder}.", hint="Copy the file."
        )


def manifest_schema() -> dict[str, Any]:
    """The JSON Schema of a manifest, as `manifest.schema.json` has it."""
    made = json.loads(json.dumps(msgspec.json.schema(Manifest)))
    for definition in made["$defs"].values():
        definition["description"] = definition["description"].splitlines()[0]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    print(json.dumps(manifest_schema(), indent=2))
