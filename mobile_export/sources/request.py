"""What a source is asked for and what it gives; importable without torch."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..graph.specs import InputSpec

if TYPE_CHECKING:
    pass

__all__ = ["Request", "near_matches", "parse_size"]

MAX_PIXELS = 8192 * 8192
"""Of an input; float64 activations of anything larger fit into no machine's memory"""

_SIZE_HINT = "Give pixels: one number for a square (224), or HEIGHTxWIDTH (512x1024)."


@dataclass(frozen=True)
class Request:
    """What the user asked of a source beside its name; the arguments of `load_source`."""

    size: tuple[int, int] | None = None
    num_classes: int | None = None
    weights: Path | None = None
    allow_missing: bool = False
    pretrained: bool = False
    seed: int = 0
    channels: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for option, value in (("--num-classes", self.num_classes), ("--channels", self.channels)):
            if value is not None and value < 1:
                raise UsageError(f"{option} is {value}.", hint="It must be 1 or more.")
        if self.size is not None and min(self.size) < 1:
            raise UsageError(f"--size is {self.size[0]}x{self.size[1]}.", hint=_SIZE_HINT)
        if self.size is not None and self.size[0] * self.size[1] > MAX_PIXELS:
            raise UsageError(
                f"--size {self.size[0]}x{self.size[1]} is {self.size[0] * self.size[1]:,} pixels.",
                hint=f"At most {MAX_PIXELS:,} are taken, such as 8192x8192.",
            )
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"--seed is {self.seed}.", hint="It must be from 0 to 2^63 - 1.")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise UsageError(f"--std is {self.std}.", hint="Standard deviations are above 0.")
        if self.pretrained and self.weights is not None:
            raise UsageError("--pretrained and --weights exclude each other.", hint="Give one.")
        if self.allow_missing and self.weights is None:
            raise UsageError("--allow-missing needs --weights FILE.")

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
            shape=(1, planes, *clip, *(self.size or size)),
            mean=_per_channel("--mean", self.mean, mean, planes),
            std=_per_channel("--std", self.std, std, planes),
            channel_order="L" if planes == 1 else channel_order,
        )


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from ``224`` or ``512x1024``.

    Raises:
        UsageError: anything else.
    """
    match = re.fullmatch(r"([0-9]{1,6})(?:[xX]([0-9]{1,6}))?", text.strip(), re.ASCII)
    height = int(match[1]) if match else 0
    width = int(match[2] or height) if match else 0
    if height < 1 or width < 1:
        raise UsageError(f"--size {text!r} is not a size.", hint=_SIZE_HINT)
    return height, width


def near_matches(name: str, known: list[str]) -> list[str]:
    """Up to three known names that resemble a misspelt one, best first, ignoring case and -/_."""
    folded: dict[str, str] = {}
    for candidate in known:
        folded.setdefault(_fold(candidate), candidate)
        folded.setdefault(_fold(candidate.rsplit("/", 1)[-1]), candidate)
    found = difflib.get_close_matches(_fold(name), list(folded), n=6, cutoff=0.6)
    return list(dict.fromkeys(folded[match] for match in found))[:3]


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _per_channel(
    option: str, given: tuple[float, ...] | None, default: tuple[float, ...], channels: int
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) == channels:
        return tuple(float(value) for value in values)
    if len(values) == 1:
        return (float(values[0]),) * channels
    if given is None:  # an RGB model that was built for another number of channels
        return (sum(values) / len(values),) * channels
    raise UsageError(
        f"{option} has {len(values)} values, but the image has {channels} channels.",
        hint=f"Give one value, or {channels}.",
    )
