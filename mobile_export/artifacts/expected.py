"""The expected outputs in a manifest: what a file must compute wherever it runs.

A phone, a board or a bench has no PyTorch and no model, so the manifest carries the outputs of the
original eager module in float64 for one parity input, rounded to float32. The input is made again
from its seed; its hash says whether that worked. Of an output with more than `MOST_VALUES` elements
a fixed selection is kept. This module needs NumPy only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec
import numpy as np
from msgspec import Meta

from ..errors import ArtifactError
from .fields import Magnitude, Name, Sha256, Shape, element_count
from .words import Role

__all__ = [
    "MOST_ALLOWED",
    "MOST_VALUES",
    "Deviation",
    "Drawn",
    "Expected",
    "ExpectedOutput",
    "compare_expected",
    "drawn_input",
    "expected_facts",
    "expected_inputs",
    "seeded_input",
]

MOST_VALUES = 4096
MOST_ALLOWED = 0.1
"""No device may be further off, relative to an output's size: ignoring the image may be no more."""
_MOST_ELEMENTS = 2**31
_SCATTER = 2654435761  # prime, so that multiples modulo a size are spread over all axes
_ROUNDED = 1e-6
"""What rounding a number to float32 changes, of its size; float32 keeps 24 bits."""
_LEAST = 1e-37
"""Below it, float32 keeps fewer bits."""
_SEEDED = {"noise-0": (0, False), "pixel-noise-0": (0, True)}


class ExpectedOutput(msgspec.Struct, frozen=True):
    """One output of the original module.

    Attributes:
        integer: it holds labels or indices, which are equal or not.
        scale: largest finite magnitude.
        values: float32, little-endian; all elements in C order or `MOST_VALUES` of them.
    """

    name: Name
    shape: Shape
    integer: bool
    scale: Magnitude
    values: bytes

    def __post_init__(self) -> None:
        count = min(element_count(self.shape, _MOST_ELEMENTS), MOST_VALUES)
        if len(self.values) != 4 * count:
            raise ValueError(
                f"values hold {len(self.values)} bytes; {count} of 4 bytes belong to the shape"
            )
        values = np.frombuffer(self.values, dtype="<f4")
        largest = _scale(values)
        whole = bool(np.isfinite(values).all()) and count == math.prod(self.shape)
        if self.scale < largest * (1 - _ROUNDED) or (
            whole and self.scale > largest * (1 + _ROUNDED) + _LEAST
        ):
            raise ValueError(
                f"scale is {self.scale:.6g}; the largest of the values is {largest:.6g}"
            )


class Expected(msgspec.Struct, frozen=True):
    """The entry ``expected`` of a manifest.

    Attributes:
        sample: name of the parity input, ``noise-0`` or ``pixel-noise-0``.
        input_sha256: of that input, float32, little-endian.
        others_sha256: likewise of the model's other inputs, in order.
        tolerance: largest error allowed per precision of the arithmetic, relative to ``scale``; a
            precision for which more than `MOST_ALLOWED` would have to be allowed is left out.
        outputs: in the order of the program.
    """

    sample: Name
    input_sha256: Sha256
    tolerance: dict[Name, Annotated[float, Meta(gt=0, le=MOST_ALLOWED)]]
    outputs: Annotated[tuple[ExpectedOutput, ...], Meta(max_length=256)]
    others_sha256: Annotated[tuple[Sha256, ...], Meta(max_length=64)] = ()


@dataclass(frozen=True)
class Deviation:
    """How far outputs are from the expected ones.

    Attributes:
        max_rel: largest error divided by the largest magnitude of that output; for integer outputs
            the share of values that differ.
        compared: number of values.
    """

    max_rel: float
    compared: int


def seeded_input(shape: Sequence[int], seed: int, *, pixels: bool = False) -> np.ndarray:
    """Standard-normal noise, or uniform 8-bit pixels, as float32.

    Args:
        shape: (1, C, H, W).
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    values = rng.integers(0, 256, tuple(shape)) if pixels else rng.standard_normal(tuple(shape))
    return np.asarray(values, dtype=np.float32)


class Drawn(Protocol):
    """An input that values are drawn for; `graph.specs.InputSpec` says what the fields are."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def highest(self) -> int | None: ...


STATE_SCALE = 0.1
"""Standard deviation of what is drawn for a recurrent state."""
UNKNOWN_HIGHEST = 9
"""Of indices, where nothing says how large they may be."""
UNKNOWN_SIDE = 64
"""Likewise of boxes."""


def drawn_input(spec: Drawn, seed: int, place: int = 0) -> np.ndarray:
    """Values for one input, of its dtype: the same for the same seed and place everywhere.

    Standard-normal noise; of a state, a tenth of it; boxes that lie in a square of ``highest``
    pixels, each place of a side as likely as the other; 8-bit pixels, zeros and ones, or whole
    numbers from 0 to the highest, each as likely as the other, where the input has those.

    Args:
        place: of the input among those of the model; the first one's noise is `seeded_input`'s.
    """
    if place == 0 and spec.dtype == "float32" and spec.role in ("image", "values"):
        return seeded_input(spec.shape, seed)
    rng = np.random.Generator(np.random.PCG64([seed, place]))
    if spec.role == "boxes":
        return _drawn_boxes(rng, spec)
    if spec.role == "mask" or spec.dtype == "bool":
        values: np.ndarray = rng.integers(0, 2, spec.shape)
    elif spec.role == "image" and spec.dtype != "float32":
        values = rng.integers(0, 256, spec.shape)
    elif spec.dtype != "float32":
        highest = UNKNOWN_HIGHEST if spec.highest is None else spec.highest
        values = rng.integers(0, highest + 1, spec.shape)
    else:
        values = rng.standard_normal(spec.shape) * (STATE_SCALE if spec.role == "state" else 1.0)
    return np.asarray(values).astype(spec.dtype)


def _drawn_boxes(rng: np.random.Generator, spec: Drawn) -> np.ndarray:
    """(…, 4) left, top, right, bottom: two corners drawn of each."""
    corners = rng.random((*spec.shape[:-1], 2, 2))
    sides = np.concatenate([corners.min(-2), corners.max(-2)], -1)
    highest = UNKNOWN_SIDE if spec.highest is None else spec.highest
    return np.asarray(sides * highest).astype(spec.dtype)


def expected_facts(
    sample: str,
    inputs: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    names: Sequence[str],
    tolerances: Mapping[str, float],
) -> Expected:
    """The entry ``expected`` of a manifest.

    Args:
        sample: name of the parity input, ``noise-0`` or ``pixel-noise-0``.
        inputs: what the artifact takes, in the order of the model's inputs.
        outputs: of the original module, float64 or integers.
        tolerances: largest relative error per precision of the arithmetic.
    """
    return Expected(
        sample=sample,
        input_sha256=_hash(inputs[0]),
        others_sha256=tuple(map(_hash, inputs[1:])),
        tolerance={name: value for name, value in tolerances.items() if value <= MOST_ALLOWED},
        outputs=tuple(
            ExpectedOutput(
                name=name,
                shape=value.shape,
                integer=not np.issubdtype(value.dtype, np.floating),
                scale=_scale(value),
                values=_select(value).astype("<f4").tobytes(),
            )
            for name, value in zip(names, outputs, strict=True)
        ),
    )


def expected_inputs(facts: Expected, specs: Sequence[Drawn]) -> list[np.ndarray]:
    """The inputs that ``facts`` belong to, in the order of ``specs``, as the model takes them.

    Raises:
        ArtifactError: they cannot be made again to the last bit.
    """
    known = _SEEDED.get(facts.sample)
    hashes = (facts.input_sha256, *facts.others_sha256)
    if known is not None and len(hashes) == len(specs):
        seed, pixels = known
        made = [drawn_input(spec, seed, place) for place, spec in enumerate(specs)]
        if pixels:
            made[0] = seeded_input(specs[0].shape, seed, pixels=True)
        if tuple(map(_hash, made)) == hashes:
            return made
    raise ArtifactError(
        f"The parity input {facts.sample!r} of the manifest cannot be made again here with "
        f"NumPy {np.__version__}.",
        hint="Export the model again on this machine.",
    )


def compare_expected(facts: Expected, outputs: Sequence[np.ndarray]) -> Deviation:
    """Difference of ``outputs``, in the program's order and layout, from the expected ones.

    A missing output or a wrong shape is infinitely far; so are NaN and an infinity that is not
    expected.
    """
    wanted = facts.outputs
    if len(outputs) != len(wanted):
        return Deviation(float("inf"), 0)
    errors = [_error(item, value) for item, value in zip(wanted, outputs, strict=True)]
    compared = sum(min(element_count(item.shape, _MOST_ELEMENTS), MOST_VALUES) for item in wanted)
    return Deviation(max(errors, default=float("inf")), compared)


def _error(wanted: ExpectedOutput, got: np.ndarray) -> float:
    if got.shape != wanted.shape:
        return float("inf")
    a = np.asarray(_select(got), dtype=np.float64)
    b = np.frombuffer(wanted.values, dtype="<f4").astype(np.float64)
    if wanted.integer:
        return float(np.mean(a != b)) if b.size else 0.0
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b)
    error = np.where(np.isinf(b) & (a == b), 0.0, np.where(np.isfinite(error), error, np.inf))
    largest = float(error.max(initial=0.0))
    scale = wanted.scale
    return largest / scale if scale > 0 else (0.0 if largest == 0 else float("inf"))


def _select(value: np.ndarray) -> np.ndarray:
    """All elements in C order, or `MOST_VALUES` of them that lie all over the array."""
    flat = np.ascontiguousarray(value).reshape(-1)
    if flat.size <= MOST_VALUES:
        return flat
    return flat[np.arange(MOST_VALUES, dtype=np.int64) * _SCATTER % flat.size]


def _scale(value: np.ndarray) -> float:
    finite = np.abs(np.asarray(value, dtype=np.float64))
    return float(finite[np.isfinite(finite)].max(initial=0.0))


def _hash(image: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(image, dtype="<f4").tobytes()).hexdigest()
