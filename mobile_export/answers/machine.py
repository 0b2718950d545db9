"""What answers: a written file, as its manifest describes it, or a model in PyTorch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from ..artifacts.words import is_one_picture
from ..errors import ArtifactError, MobileExportError, UsageError, summary
from ..graph.specs import InputSpec, OutputSpec
from ..system.files import MIB, read_regular_file
from ..system.pictures import SUFFIXES, decode_picture
from .decode import Answer, Result, decode
from .prepare import Prepared, prepare

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..artifacts.interface import Preprocessing
    from ..artifacts.manifest import Manifest, Weights
    from ..detection import Detections
    from ..graph.source import Source
    from ..graph.specs import WeightsInfo
    from ..parity.samples import Sample
    from ..sources.request import ModelRequest

__all__ = ["Machine", "load_file", "load_model", "machine_of", "read_picture"]

_LARGEST_PICTURE = 256 * MIB
Run = Callable[["Sample"], "tuple[Sequence[np.ndarray], Detections | None]"]


@dataclass(frozen=True)
class Machine:
    """A file or a model, ready to answer.

    Attributes:
        name: as the user named it; ``runtime``: what executes it.
        input: of the model, in PyTorch's order of axes.
        outputs: of the model.
        rule: how its authors prepare pictures; None: not known.
        labels: names of its classes.
        run: outputs in that order, and detections where the file ends with them.
        suppresses: whether it ends with them.
        sizes: (height, width) of the images that it takes where these are several, with the outputs
            for each; a picture is shown at the one that is nearest to its own.
        notes: what a reader has to know before the answers, a sentence each.
    """

    name: str
    runtime: str
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    rule: Preprocessing | None
    labels: tuple[str, ...] | None
    run: Run
    suppresses: bool = False
    sizes: Mapping[tuple[int, int], tuple[OutputSpec, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def batch(self) -> int:
        """Pictures that it takes at a time."""
        return self.input.shape[0]

    def answer(self, picture: Path) -> tuple[Answer, Prepared]:
        """The answer on a picture, and what it was shown.

        Raises:
            UsageError: the picture cannot be read, or the model takes none.
        """
        return self.answer_image(read_picture(picture), picture.name)

    def answer_image(self, image: Image, name: str) -> tuple[Answer, Prepared]:
        """`answer` for a picture that was read before.

        Raises:
            UsageError: the model takes no picture.
            ArtifactError: an output does not have the shape that the manifest says.
        """
        return self.answer_images([(image, name)])[0]

    def answer_images(self, images: Sequence[tuple[Image, str]]) -> list[tuple[Answer, Prepared]]:
        """`answer_image` for up to `batch` pictures at once; the last one fills what is left of a
        batch.

        Args:
            images: pictures with their names.
        """
        if len(self.sizes) > 1:
            return [self._at_size_of(image)._answers([(image, name)])[0] for image, name in images]
        return self._answers(images)

    def _at_size_of(self, image: Image) -> Machine:
        """This at the one of `sizes` that is nearest to a picture's, where the distance is that of
        the logarithms of height and width: of sizes that lose as many pixels, the one of its
        proportions."""

        def far(size: tuple[int, int]) -> float:
            return math.hypot(math.log(size[0] / image.height), math.log(size[1] / image.width))

        size = min(self.sizes, key=far)
        rule = self.rule and _scaled(self.rule, self.input.size, size)
        spec = replace(self.input, shape=(*self.input.shape[:-2], *size))
        return replace(self, input=spec, outputs=self.sizes[size], rule=rule, sizes={})

    def _answers(self, images: Sequence[tuple[Image, str]]) -> list[tuple[Answer, Prepared]]:
        """`answer_images` at the size of `input`."""
        prepared = [prepare(image, name, self.input, self.rule) for image, name in images]
        values, detections = self.run(_together([each.sample for each in prepared], self.batch))
        for spec, value in zip(self.outputs, values, strict=True):
            if np.shape(value) != tuple(spec.shape):
                raise ArtifactError(
                    f"{self.name} gives {spec.name} of shape {list(np.shape(value))}; its manifest "
                    f"says {list(spec.shape)}.",
                    hint="Export the model again.",
                )
        answers = []
        for place, each in enumerate(prepared):
            results = [
                Result(spec.name, _of_place(np.asarray(value), place, self.batch), spec.meaning)
                for spec, value in zip(self.outputs, values, strict=True)
            ]
            answers.append((decode(results, detections, self.labels, each), each))
        return answers


def _scaled(rule: Preprocessing, made: tuple[int, int], size: tuple[int, int]) -> Preprocessing:
    """A rule for one size of the input at another: the same part of the picture.

    Args:
        made, size: (height, width).
    """
    height, width = (
        max(1, round(to * want / have))
        for to, want, have in zip(rule.resize, size, made, strict=True)
    )
    return msgspec.structs.replace(rule, resize=(height, width))


def _together(samples: Sequence[Sample], batch: int) -> Sample:
    """One sample of a batch, of samples of one picture each."""
    if batch == 1:
        return samples[0]
    import torch

    filled = [*samples, *[samples[-1]] * (batch - len(samples))]
    shown = [each.pixels for each in filled if each.pixels is not None]
    return replace(
        samples[0],
        image=torch.cat([each.image for each in filled]),
        pixels=torch.cat(shown) if len(shown) == batch else None,
    )


def _of_place(value: np.ndarray, place: int, batch: int) -> np.ndarray:
    """What belongs to one picture; all of what is not cut along its first axis."""
    return value[place : place + 1] if batch > 1 and value.shape[:1] == (batch,) else value


def read_picture(path: Path, size: tuple[int, int] | None = None, *, upright: bool = True) -> Image:
    """A PNG or JPEG file.

    Args:
        size: (width, height) that it must have, as it is stored or as its EXIF orientation says:
            what is true of its pixels was written down in one of the two.
        upright: of any size: turned as its EXIF orientation says, and not as it is stored.

    Raises:
        UsageError: it is none, or damaged, or too large, or of another size.
        MissingExtraError: Pillow is not installed.
    """
    content = read_regular_file(path, limit=_LARGEST_PICTURE, error=UsageError)
    try:
        image = decode_picture(content, upright=upright and size is None)
        if size is None or image.size == size:
            return image
        turned = decode_picture(content)
    except MobileExportError:
        raise
    except Exception as error:  # a decoder may raise anything
        raise UsageError(
            f"{path} is no picture that can be read: {_said(error)}.",
            hint=f"Valid are {', '.join(SUFFIXES)}.",
        ) from error
    if turned.size != size:
        raise UsageError(f"{path} is {turned.width}x{turned.height}, and not {size[0]}x{size[1]}.")
    return turned


def _said(error: Exception) -> str:
    """A sentence of a decoder or ours; the type of what is no plain problem of a file."""
    plain = type(error) in (OSError, ValueError) and str(error)
    return str(error).splitlines()[0][:300] if plain else summary(error)


def load_file(path: Path) -> Machine:
    """A file that mobile-export wrote.

    Raises:
        ArtifactError: it is damaged, has no manifest, or is not the file that its manifest is of.
    """
    from ..artifacts.manifest import read_manifest, require_own_files
    from ..exporters.apart import describe_apart
    from ..exporters.interface import runtime_of
    from ..exporters.table import format_of_file

    row = format_of_file(path)
    row.require()
    describe_apart(row, path, run=True)
    manifest = read_manifest(path)
    require_own_files(path, manifest)
    _require_picture(str(path), manifest.takes_one_picture, manifest.taken)
    outputs = _outputs(manifest)
    session = runtime_of(row).load(path, outputs)

    def run(sample: Sample) -> tuple[Sequence[np.ndarray], Detections | None]:
        if session.detector is not None:
            return session.detector.detect(sample)
        return session.run(sample), None

    labels = manifest.class_names
    given = manifest.input
    channels = given.shape[1]
    mean, std = given.mean or (0.0,) * channels, given.std or (1.0,) * channels
    spec = InputSpec(given.shape, mean, std, given.name, given.channel_order)
    sizes = {}
    for each in manifest.sizes:
        shapes = {output.name: output.shape for output in each.expected.outputs}
        there = (replace(o, shape=shapes.get(o.name, o.shape)) for o in outputs)
        sizes[each.size] = tuple(there)
    return Machine(
        str(path),
        session.runtime,
        spec,
        outputs,
        manifest.preprocessing,
        labels,
        run,
        session.detector is not None,
        sizes,
        _notes(manifest.weights),
    )


def _notes(weights: Weights | WeightsInfo | None) -> tuple[str, ...]:
    """What weights do to answers."""
    if weights is None or weights.kind != "random":
        return ()
    return (f"random weights (seed {weights.seed}): the answers mean nothing",)


def _require_picture(name: str, one: bool, taken: str) -> None:
    """Refuse what takes more than one picture of float32, or none.

    Raises:
        UsageError: it says what it takes.
    """
    if not one:
        raise UsageError(
            f"{name} takes {taken}; one picture is what is shown.",
            hint="Run it from your own code: the interface in its manifest says what it takes; "
            "mobile-export verify FILE checks it.",
        )


def _outputs(manifest: Manifest) -> tuple[OutputSpec, ...]:
    """The model's outputs with the meaning that they have in the file."""
    if manifest.interface is None:
        return tuple(OutputSpec(each.name, each.shape) for each in manifest.outputs)
    meanings = {each.source: each.meaning for each in manifest.interface.outputs if each.source}
    if manifest.nms is not None:
        meanings = {"boxes": "boxes", "scores": "scores"}
    return tuple(
        OutputSpec(each.name, each.shape, meanings.get(each.name)) for each in manifest.outputs
    )


def load_model(request: ModelRequest, beside: Manifest | None = None) -> Machine:
    """A model in PyTorch, in float32.

    Args:
        beside: of the file that it is compared with; what of the model is not as it says is a note.
    """
    from ..sources.again import unlike_manifest
    from ..sources.table import load_source

    request.require_one_size()
    source = load_source(request)
    machine = machine_of(source)
    unlike = () if beside is None else unlike_manifest(beside, request, source)
    return replace(machine, notes=(*machine.notes, *unlike))


def machine_of(source: Source) -> Machine:
    """`load_model` of a model that was built before."""
    import torch

    from ..exporters.record import preprocessing
    from ..graph.capture import flatten_outputs, trace

    taken = ", ".join(f"{each} ({each.role})" for each in source.inputs)
    _require_picture(source.spec, is_one_picture(source.inputs), taken)
    program = trace(source)

    def run(sample: Sample) -> tuple[Sequence[np.ndarray], Detections | None]:
        with torch.no_grad():
            tensors = flatten_outputs(source.module(sample.image))[1]
        return [tensor.numpy() for tensor in tensors], None

    return Machine(
        source.spec,
        f"PyTorch {torch.__version__}",
        program.input,
        program.outputs,
        preprocessing(program),
        program.labels,
        run,
        notes=_notes(source.weights),
    )
