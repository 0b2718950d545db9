"""What a manifest says of the file itself: from its session, and the program for what it means.

Names, shapes and dtypes are those that the runtime found in the written file. What the numbers mean
is known of the program's outputs, and of what the file adds: a suppression, the name of the best
class.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec

from ..artifacts.interface import (
    Box,
    FileInput,
    FileOutput,
    Interface,
    Meaning,
    Normalization,
    Preprocessing,
)
from ..detection.contract import CORNERS

if TYPE_CHECKING:
    from ..detection import FileOutput as Detected
    from ..graph.program import Program
    from ..graph.specs import InputSpec, OutputSpec
    from ..parity.session import FileTensor, Session

__all__ = ["file_interface", "found_interface", "preprocessing", "unlike_interface"]

_Tensor = FileInput | FileOutput
_PIXEL = 255.0
_AXES = {2: "NC", 3: "NHW", 4: "NCHW", 5: "NCTHW"}
"""Of the model's outputs, by rank; of rank 3, of labels only."""


def file_interface(session: Session, program: Program) -> Interface:
    """What the file of a session, which has run, takes and gives.

    Args:
        program: that it was written from, with what was put in front of the model and behind it.
    """
    inputs, outputs = session.interface()
    taken = _taken(inputs, program)
    last = any(
        _channels_last(each.shape, taken[each.name].shape)
        for each in inputs
        if each.name in taken and taken[each.name].role == "image"
    )
    described = (
        {}
        if session.detector is None
        else {each.name: each for each in session.detector.suppression.outputs}
    )
    sources = _sources(outputs, program.outputs)
    return Interface(
        inputs=tuple(_input(each, taken.get(each.name), session.takes_pixels) for each in inputs),
        outputs=tuple(
            _detected(each, described[each.name])
            if each.name in described
            else _output(each, sources.get(each.name), last)
            for each in outputs
        ),
    )


def found_interface(session: Session, program: Program) -> Interface:
    """What a file that lies there takes and gives; its session has run.

    Args:
        program: of the model alone; what the file does itself in front of it and behind it, the
            session has seen.
    """
    if session.takes_pixels:
        program = replace(program, input=program.input.as_pixels())
    if session.activation is not None:
        (logits,) = program.outputs
        program = replace(program, outputs=(logits.as_probabilities(),))
    return file_interface(session, program)


def unlike_interface(said: Interface, found: Interface) -> Iterator[str]:
    """What a manifest says of a file that the file is not, a sentence each.

    What nobody knows of the file (None in ``found``) is not compared.
    """
    both: tuple[tuple[str, Sequence[_Tensor], Sequence[_Tensor]], ...] = (
        ("input", said.inputs, found.inputs),
        ("output", said.outputs, found.outputs),
    )
    for kind, named, own in both:
        if len(named) != len(own):
            yield f"the file has {len(own)} {kind}s; the manifest describes {len(named)}"
            continue
        for one, other in zip(named, own, strict=True):
            words, facts = _facts(one), _facts(other)
            wrong = [name for name in facts if facts[name] not in (None, words.get(name))]
            if wrong:
                of_file, of_manifest = (
                    ", ".join(f"{name} {_word(values.get(name))}" for name in wrong)
                    for values in (facts, words)
                )
                yield (
                    f"the file's {kind} {other.name} has {of_file}; the manifest says {of_manifest}"
                )


def _facts(tensor: _Tensor) -> dict[str, object]:
    """What is said of an input or an output; mean, std and ``source`` are the model's."""
    facts = msgspec.structs.asdict(tensor)
    del facts["source"]
    normalization = facts.pop("normalization", None)
    if normalization is not None:
        facts["normalization inside"] = normalization.inside
    return facts


def _word(value: object) -> str:
    """A fact of an interface as its manifest spells it."""
    return msgspec.json.encode(value).decode()


def _taken(inputs: Sequence[FileTensor], program: Program) -> dict[str, InputSpec]:
    """The program's input that each input of the file is: the first by whatever name."""
    others = {each.name: each for each in program.others}
    return {each.name: others.get(each.name, program.input) for each in inputs if not each.optional}


def preprocessing(program: Program) -> Preprocessing | None:
    """The recipe of the program's authors, at the program's size; None where it is not known."""
    recipe = program.recipe
    if recipe is None or recipe.crop_mode not in ("center", "squash", "border"):
        return None
    height, width = (math.floor(extent / recipe.crop_pct) for extent in program.input.size)
    return Preprocessing(
        resize=(height, width),
        crop_mode=recipe.crop_mode,  # type: ignore[arg-type]
        crop_pct=recipe.crop_pct,
        interpolation=recipe.interpolation,
        source=recipe.source,
    )


def _input(tensor: FileTensor, spec: InputSpec | None, pixels: bool) -> FileInput:
    """An input of the program, or one of the numbers that a package takes beside it (None)."""
    plain = FileInput(
        name=tensor.name,
        tensor=tensor.inner,
        shape=tensor.shape,
        dtype=tensor.dtype,
        optional=tensor.optional,
        source=None if spec is None else spec.name,
    )
    if spec is None:
        return plain
    if spec.role != "image":
        return msgspec.structs.replace(plain, range=_RANGES.get(spec.role, _range(spec)))
    layout = _layout(tensor.shape, _first(spec), last=spec.channels_last)
    if layout is None and tensor.image is None:
        return plain
    pixels = pixels or spec.dtype == "uint8"
    low = 0.0 + min(-mean / std for mean, std in zip(spec.mean, spec.std, strict=True))
    high = max((1 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    order = tensor.image or spec.channel_order
    return msgspec.structs.replace(
        plain,
        layout=layout,
        image=tensor.image is not None,
        channel_order=order if spec.channels in (1, 3) else None,
        range=(0.0, _PIXEL) if pixels else (low, high),
        normalization=Normalization(pixels, 1 / _PIXEL, spec.mean, spec.std),
    )


_RANGES = {"mask": (0.0, 1.0)}


def _range(spec: InputSpec) -> tuple[float, float] | None:
    """Of indices, where it is known."""
    return None if spec.highest is None else (0.0, float(spec.highest))


def _first(spec: InputSpec) -> tuple[int, ...]:
    """The shape of an image with channels first."""
    shape = spec.shape
    return (shape[0], shape[-1], *shape[1:-1]) if spec.channels_last else shape


def _detected(tensor: FileTensor, output: Detected) -> FileOutput:
    """An output of the suppression."""
    return FileOutput(
        name=tensor.name,
        tensor=tensor.inner,
        shape=output.shape,
        dtype=tensor.dtype,
        meaning=output.meaning,
        box=None if output.box is None else Box(*output.box),  # type: ignore[arg-type]
    )


def _output(tensor: FileTensor, source: OutputSpec | None, last: bool) -> FileOutput:
    """An output of the program, or the name of the best class."""
    meaning: Meaning | None = None if source is None else source.meaning
    if tensor.label:
        meaning = "label name"
    layout = None
    if source is not None and (len(source.shape) != 3 or meaning == "labels"):
        layout = _layout(tensor.shape, source.shape, last=last)
    return FileOutput(
        name=tensor.name,
        tensor=tensor.inner,
        shape=tensor.shape,
        dtype=tensor.dtype,
        layout=layout,
        meaning=meaning,
        box=Box(*CORNERS) if meaning == "boxes" else None,  # type: ignore[arg-type]
        source=None if source is None else source.name,
    )


def _sources(outputs: Sequence[FileTensor], specs: Sequence[OutputSpec]) -> dict[str, OutputSpec]:
    """The program's output that each output of the file is: by name or, as `run`, by place."""
    named = {spec.name: spec for spec in specs}
    plain = [each for each in outputs if not each.label]
    if len(plain) == len(specs) and not {each.name for each in plain} <= set(named):
        return {each.name: spec for each, spec in zip(plain, specs, strict=True)}
    return {each.name: named[each.name] for each in plain if each.name in named}


def _channels_last(shape: Sequence[int | None], model: Sequence[int]) -> bool:
    return list(shape) != list(model) and list(shape) == _moved(model)


def _moved(shape: Sequence[int]) -> list[int]:
    """Channels last."""
    return [shape[0], *shape[2:], shape[1]]


def _layout(shape: Sequence[int | None], model: Sequence[int], *, last: bool) -> str | None:
    """What the axes of a tensor are that is the model's, perhaps with channels last or no batch.

    Args:
        last: the file's image has channels last, and so have its outputs where both are possible.
    """
    letters = _AXES.get(len(model))
    if letters is None or len(shape) > len(letters):
        return None
    found = list(shape)
    turned = letters[0] + letters[2:] + letters[1]
    forms = [(list(model), letters), (list(model[1:]), letters[1:])]
    if "C" in letters and len(letters) > 2:
        forms.insert(0 if last else 1, (_moved(model), turned))
    return next((name for extents, name in forms if _matches(found, extents)), None)


def _matches(shape: Sequence[int | None], model: Sequence[int]) -> bool:
    """Whether a shape is the model's, whose extents may be free in the file."""
    return len(shape) == len(model) and all(
        extent in (None, own) for extent, own in zip(shape, model, strict=True)
    )
