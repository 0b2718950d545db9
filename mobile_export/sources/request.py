"""ModelRequest: which model is wanted, with which weights and input; importable without torch."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ..errors import UsageError
from ..graph.specs import InputSpec
from ..system.options import Range, argument, check_options, option, shortened
from .inputs import NamedInput, read_inputs
from .labels import check_labels, read_labels

__all__ = [
    "ModelRequest",
    "is_folder",
    "parse_numbers",
    "parse_size",
    "query_of",
]

MAX_PIXELS = 8192 * 8192
"""Of an input; float64 activations of anything larger fit into no machine's memory"""

MAX_SIZES = 8
"""Of one file; each is traced, rewritten, written and checked by itself."""

_PIXELS = Range(1, MAX_PIXELS, whole=True)
_CLASSES = Range(0, 2**20, whole=True)
_CHANNELS = Range(1, 2**12, whole=True)
_BATCHES = Range(1, 1024, whole=True)
_SEEDS = Range(0, 2**63 - 1, whole=True)
_MEANS = Range(-1e6, 1e6)
_DEVIATIONS = Range(1e-6, 1e6)

_SIZE_HINT = "Give pixels: one number for a square (224), or HEIGHTxWIDTH (512x1024)."


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from ``224`` or ``512x1024``.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:[xX]([0-9]{1,6}))?", text.strip(), re.ASCII)
    height = int(match[1]) if match else 0
    width = int(match[2] or height) if match else 0
    if height < 1 or width < 1:
        raise UsageError(f"`size` {shortened(repr(text))} is not a size.", hint=_SIZE_HINT)
    return height, width


def _pairs(size: Any) -> tuple[Any, ...]:
    """One size as a pair, several as pairs; what stands in them is checked later.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(size, int):
        return (size, size)
    several = not isinstance(size, str) and isinstance(size, Sequence)
    found = tuple(tuple(e) if isinstance(e, (list, tuple)) else e for e in size) if several else ()
    sizes = found if any(isinstance(each, tuple) for each in found) else (found,)
    if not all(isinstance(each, tuple) and len(each) == 2 for each in sizes):
        raise UsageError(f"`size` {shortened(repr(size))} is not a size.", hint=_SIZE_HINT)
    return found


def parse_sizes(text: str) -> tuple[int, int] | tuple[tuple[int, int], ...]:
    """`parse_size`, or several sizes with commas between them: ``224,320,512x384``.

    Raises:
        UsageError: anything else.
    """
    sizes = tuple(map(parse_size, text.split(",")))
    return sizes[0] if len(sizes) == 1 else sizes


def parse_numbers(text: str) -> tuple[float, ...]:
    """``0.5,0.5,0.5`` -> (0.5, 0.5, 0.5).

    Raises:
        UsageError: an item is no number.
    """
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise UsageError(
            f"{shortened(repr(text))} is not a list of numbers.",
            hint="Valid is one number per channel, separated by commas: 0.485,0.456,0.406.",
        ) from None


def query_of(spec: str) -> dict[str, Any]:
    """The values of ``NAME?key=value&key=value``: Python's numbers, tuples and truth values, or
    texts.

    Raises:
        UsageError: a part is no key=value.
    """
    arguments: dict[str, Any] = {}
    for part in filter(None, spec.partition("?")[2].split("&")):
        key, equals, text = part.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(
                f"{part!r} in {spec!r} is not key=value.", hint="Use ?key=value&key=value"
            )
        arguments[key] = _value(unquote(text))
    return arguments


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text


def read_names(text: str) -> tuple[str, ...]:
    """``boxes,scores`` -> ("boxes", "scores")."""
    return tuple(name.strip() for name in text.split(","))


@dataclass(frozen=True)
class ModelRequest:
    """What the user asked for; every source is given this one object.

    Attributes:
        model: a name of the built-in models (``emo_2m``), ``timm/NAME[?key=value]``,
            ``BACKBONE+HEAD[?key=value]``,
            ``package.module:factory[?key=value]``, ``file.pt2``; or, in Python, a module.
        weights: checkpoint (.pth, .pt, .safetensors); without it, and without ``pretrained``, a
            built-in or timm model gets seeded random weights.
        allow_missing: let a changed classifier keep its random weights.
        pretrained: download the official weights: ``timm/NAME``, and built-in models with a public
            file (`models.checkpoints`).
        num_classes: size of the classifier; the model's own by default. 0 is none: a timm model
            returns features then.
        size: (height, width) of the input in pixels; the model's own by default. Given as several
            such pairs, it is the first of them.
        other_sizes: the others, which the same file takes as well.
        channels: input channels of a user's own model; the model's own by default, else 3.
        batch: images that the model takes at a time; 1 by default. The answer on each must be what
            the model says of it alone.
        dynamic: what the file leaves open: "batch", or the height and width of its images
            ("size"); the number or size that was named is one of those it is checked at.
        mean, std: normalisation of pixels scaled to [0, 1]; one value, or one per channel.
        labels: class names, all different, in the order of the logits.
        seed: of random weights.
        input: what the forward of a user's own model takes, where that is not one image; by the
            names of its parameters.
        example_inputs: the same by an example: a tensor, a tuple of what forward takes by position,
            or a mapping of what it takes by name; in Python only.
        outputs: names of those that the file has, in this order; all that the model returns by
            default.
    """

    model: Any = argument(  # noqa: RUF009 (a field)
        help="A zoo name (emo_2m), timm/NAME, package.module:factory[?key=value], or file.pt2."
    )
    weights: Path | None = option(  # noqa: RUF009 (a field)
        None,
        help="Checkpoint: .pth, .pt or .safetensors; or a folder with a file for each part.",
    )
    allow_missing: bool = option(False, help="A changed classifier keeps its random weights.")
    pretrained: bool = option(
        False, help="Download the official weights; info MODEL says whether there are any."
    )
    num_classes: int | None = option(None, help="Size of the classifier; 0: none.", within=_CLASSES)
    size: tuple[int, int] | None = option(
        None,
        help="Input size in pixels: 224 or 512x1024 (height x width); several: 224,320.",
        within=_PIXELS,
        typed=str,
        read=parse_sizes,
    )
    other_sizes: tuple[tuple[int, int], ...] = ()
    channels: int | None = option(None, help="Input channels of your own model.", within=_CHANNELS)
    batch: int | None = option(
        None, help="Images that the file takes at a time; 1 by default.", within=_BATCHES
    )
    dynamic: str | None = option(
        None,
        help="Leave it open how many images, or images of which size, the file takes.",
        valid=("batch", "size"),
    )
    mean: tuple[float, ...] | None = option(
        None,
        help="Normalisation of pixels in [0, 1], e.g. 0.5,0.5,0.5.",
        within=_MEANS,
        typed=str,
        read=parse_numbers,
    )
    std: tuple[float, ...] | None = option(
        None, help="As --mean.", within=_DEVIATIONS, typed=str, read=parse_numbers
    )
    labels: tuple[str, ...] | None = option(
        None, help="Text file with one class label a line.", typed=Path, read=read_labels
    )
    seed: int = option(0, help="Seed of random weights.", within=_SEEDS)
    input: tuple[NamedInput, ...] | None = option(
        None,
        help="An input of your own model's forward: NAME=SHAPE[:DTYPE], such as ids=1x77:int64; "
        "once for each.",
        typed=tuple[str, ...],
        read=read_inputs,
    )
    example_inputs: Any = None
    outputs: tuple[str, ...] | None = option(
        None,
        help="The outputs that the file has, of those that the model returns: NAME,NAME.",
        typed=str,
        read=read_names,
    )

    def __post_init__(self) -> None:
        given: Any = self.size
        if given is not None and all(isinstance(each, Sequence) for each in given):
            first, *others = (tuple(each) for each in given)
            object.__setattr__(self, "size", first)
            object.__setattr__(self, "other_sizes", tuple(others))
        check_options(self)
        self._check_pixels()
        if self.dynamic is not None and self.other_sizes:
            raise UsageError(
                f"`size` names {len(self.sizes)} sizes; with `dynamic`, one is taken, and others "
                "follow from it.",
                hint="Give one of them.",
            )
        if self.pretrained and self.weights is not None:
            raise UsageError("`pretrained` and `weights` exclude each other.", hint="Give one.")
        if self.allow_missing and self.weights is None:
            raise UsageError("`allow_missing` needs `weights='FILE'`.")
        if self.labels is not None:
            check_labels(self.labels, "`labels`")
        if self.input is not None or self.example_inputs is not None:
            self._check_inputs()
        if self.outputs is not None and (
            not all(self.outputs) or len(set(self.outputs)) != len(self.outputs)
        ):
            raise UsageError(
                f"`outputs` {shortened(','.join(self.outputs))!r} is no list of different names.",
                hint="Give names of the model's outputs with commas between them: boxes,scores.",
            )

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """All sizes that were asked for, the first one first; none for the model's own."""
        return () if self.size is None else (self.size, *self.other_sizes)

    def require_one_size(self) -> None:
        """Raise UsageError where several sizes are asked for, or any: only a written file takes
        them."""
        asked = f"`size` names {len(self.sizes)} sizes" if self.other_sizes else None
        if self.dynamic is not None:
            asked = f"`dynamic` leaves the {self.dynamic} open"
        if asked is not None:
            raise UsageError(
                f"{asked}; several are taken where a file is written.",
                hint="Give one of them."
                if self.other_sizes
                else "Leave it out: the shape that is named is taken.",
            )

    def _check_pixels(self) -> None:
        images = self.batch or 1
        for height, width in self.sizes:
            if min(height, width) < 1:
                raise UsageError(f"`size` {height}x{width} is not a size.", hint=_SIZE_HINT)
            if images * height * width > MAX_PIXELS:
                of_a_batch = f" in each of the {images} images of a `batch`" if images > 1 else ""
                raise UsageError(
                    f"`size` {height}x{width} is {height * width:,} pixels{of_a_batch}.",
                    hint=f"At most {MAX_PIXELS:,} are taken in all, such as 8192x8192.",
                )
        if len(set(self.sizes)) < len(self.sizes) or len(self.sizes) > MAX_SIZES:
            twice = next((s for s in self.sizes if self.sizes.count(s) > 1), None)
            raise UsageError(
                f"`size` names {len(self.sizes)} sizes."
                if twice is None
                else f"`size` names {twice[0]}x{twice[1]} more than once.",
                hint=f"Give up to {MAX_SIZES} different sizes with commas between them: 224,320.",
            )

    def _check_inputs(self) -> None:
        given = {
            "`size`": self.size is not None,
            "`batch`": self.batch is not None,
            "`dynamic`": self.dynamic is not None,
            "`channels`": self.channels is not None,
            "`example_inputs`": self.example_inputs is not None and self.input is not None,
        }
        wrong = [name for name, present in given.items() if present]
        if wrong:
            name = "`input`" if self.input is not None else "`example_inputs`"
            raise UsageError(
                f"{wrong[0]} and {name} exclude each other: {name} says what each input is.",
                hint="Give one of them.",
            )

    @classmethod
    def of(
        cls,
        model: Any,
        *,
        size: int | Sequence[int] | Sequence[Sequence[int]] | None = None,
        weights: str | Path | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        labels: Sequence[str] | None = None,
        input: Mapping[str, Any] | Sequence[str | NamedInput] | None = None,
        outputs: Sequence[str] | None = None,
        **others: Any,
    ) -> ModelRequest:
        """The request from what Python's callers give: also one number as ``size``, a string as
        ``weights``, any sequences, and as ``input`` a mapping of names to shapes, or to pairs of
        shape and dtype.

        Args:
            others: the attributes that are not named here, as they are.

        Raises:
            UsageError: a value is not valid, or two exclude each other.
            TypeError: there is no such attribute.
        """
        return cls(
            model,
            size=None if size is None else _pairs(size),
            weights=None if weights is None else Path(weights),
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
            labels=None if labels is None else tuple(labels),
            input=None if input is None else read_inputs(input),
            outputs=None if outputs is None else tuple(outputs),
            **others,
        )

    def asked(self) -> dict[str, Any]:
        """What changes the model that is built, beside its name and its weights; of several sizes,
        the first."""
        names = ("size", "num_classes", "channels", "batch", "mean", "std", "seed", "pretrained")
        open_ = {} if self.dynamic is None else {"dynamic": self.dynamic}
        inputs = [str(each) for each in self.input or ()]
        more = ("allow_missing", "outputs")
        return {name: getattr(self, name) for name in (*names, *more)} | {"input": inputs} | open_

    @property
    def spec(self) -> str:
        """The model as it is named in reports: as typed, or the name of the module's class."""
        return self.model if isinstance(self.model, str) else type(self.model).__name__

    def input_spec(
        self,
        *,
        size: tuple[int, int] = (224, 224),
        channels: int = 3,
        channel_order: str = "RGB",
        frames: int | None = None,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
    ) -> InputSpec:
        """What the user asked for, or else these defaults; single values serve all channels."""
        planes = self.channels or channels
        clip = () if frames is None else (frames,)
        return InputSpec(
            shape=(self.batch or 1, planes, *clip, *(self.size or size)),
            mean=_per_channel("mean", self.mean, mean, planes),
            std=_per_channel("std", self.std, std, planes),
            channel_order="L" if planes == 1 else channel_order,
        )


def is_folder(model: Any) -> bool:
    """Whether it is the path of a folder with a configuration of transformers."""
    place = f"{model}/config.json"
    return isinstance(model, str) and os.path.isfile(place)  # noqa: PTH113 (no error: any text)


def _per_channel(
    name: str, given: tuple[float, ...] | None, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) == channels:
        return tuple(float(value) for value in values)
    if len(values) == 1:
        return (float(values[0]),) * channels
    if given is None:  # an RGB model that was built for another number of channels
        return (sum(values) / len(values),) * channels
    raise UsageError(
        f"`{name}` has {len(values)} values, but the image has {channels} channels.",
        hint=f"Give one value, or {channels}.",
    )
