"""QuantizationPlan: which tensors are integers, with which scales, why, and who chose them.

A plan is made once from the prepared program (`make_plan`), inserted into it (`insert`), and can be
kept as a JSON file. It belongs to one program: its hash is that of the graph and of all weights.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..errors import UsageError
from ..system.files import MIB, read_regular_file

if TYPE_CHECKING:
    from ..graph.program import Program

__all__ = [
    "PROJECTED",
    "Chosen",
    "Equalized",
    "Floating",
    "Kind",
    "PlannedTensor",
    "QuantizationPlan",
    "SampleFile",
    "Sensitivity",
    "program_hash",
    "read_plan",
    "require_plan_of",
]

Kind = Literal["activation", "weight", "bias", "constant", "source", "result"]
PROJECTED = ("source", "result")
"""Kinds that only `project` makes."""
VERSION = 1
BITS = (4, 6, 8, 16, 32)
_LARGEST = 64 * MIB

_Text = Annotated[str, Meta(max_length=4096)]
_Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
_Scale = Annotated[float, Meta(gt=0.0, lt=1e38)]
_Shift = Annotated[float, Meta(gt=-1e38, lt=1e38)]
_Zero = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]


class PlannedTensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor that is stored as integers: (q - zero_point) · scale.

    Attributes:
        name: of a node of the prepared program; of a weight or bias, of the layer that it is of.
        kind: "source" is what one layer reads, rounded for that layer alone, and ``name`` that of
            the layer; "result" what a layer gives, with the activation behind it. Both are never in
            a file, only in what `project` makes of a plan.
        module: the module of the user's that it comes from.
        bits: of an integer.
        symmetric: zero is stored as 0, and the least integer is minus the largest in weights.
        scale, zero_point: one, or one for each place on ``axis``.
        axis: of a tensor with several scales.
        why: what the scale was chosen by.
        shift: of a bias, what is added to the model's before it is rounded, one for each scale:
            the mean of what rounding the weights adds, taken off (`correct`).
        palette: of weights that are indices, the values that they stand for, in ascending order;
            scale and zero point are then 1 and 0, and mean nothing.
        least: the least integer, where the format of a projection has another one than its kind.
        block: of weights, how many input channels share a scale; ``scale`` has those of one output
            channel behind those of the other.
    """

    name: _Text
    kind: Kind
    bits: Annotated[int, Meta(ge=2, le=32)]
    symmetric: bool
    scale: list[_Scale]
    zero_point: list[_Zero]
    why: _Text
    axis: Annotated[int, Meta(ge=0, le=15)] | None = None
    module: _Text = ""
    shift: list[_Shift] = []
    palette: Annotated[list[float], Meta(min_length=1, max_length=256)] | None = None
    block: Annotated[int, Meta(ge=1, le=2**20)] | None = None
    least: Annotated[int, Meta(ge=-(2**31), le=0)] | None = None

    @property
    def low(self) -> int:
        """The least integer."""
        if self.least is not None:
            return self.least
        return -self.high if self.kind in ("weight", *PROJECTED) else -self.high - 1

    @property
    def high(self) -> int:
        """The largest integer."""
        return int(2 ** (self.bits - 1)) - 1


class Floating(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator that is computed in floating point, and why."""

    name: _Text
    operator: _Text
    why: _Text
    module: _Text = ""


class Sensitivity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one layer does when only its weights are integers.

    Attributes:
        name: of the layer.
        sqnr: of the outputs, in dB.
    """

    name: _Text
    sqnr: Annotated[float, Meta(ge=-1e4, le=1e4)]


class SampleFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample that ranges were measured on, and the hash of what the model was given."""

    name: _Text
    sha256: _Hash


class Equalized(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Channels that are divided by factors where they are made, and multiplied where read.

    Attributes:
        name: of the layer or norm whose output channels have these factors.
        factors: one for each of its channels; none where they are left alone.
        why: how they were chosen, or why there are none.
        label: where the node is in the user's module.
    """

    name: _Text
    factors: list[Annotated[float, Meta(gt=1e-9, lt=1e9)]]
    why: _Text
    label: _Text = ""


class Chosen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who chose the scales.

    Attributes:
        method: of `ranges.METHODS`.
        data: "folder", "arrays", or "synthetic", which no file for shipping is made with.
        samples: in order.
        seed: of synthetic samples.
    """

    method: _Text
    data: Literal["folder", "arrays", "synthetic", "none"]
    samples: list[SampleFile] = []
    seed: int = 0


class QuantizationPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the module's docstring.

    Attributes:
        model: as the user names it.
        program: hash of the prepared program (`program_hash`).
        precision: the name that was asked for.
        tensors: by the order of the graph; all others are floating point.
        floating: operators that are not computed with integers.
        equalized: what was done to channels before, in the order of the graph (`equalize`); the
            hash is that of the program before that.
        sensitivity: of the layers, the worst first, where a gate made it necessary to ask.
    """

    model: _Text
    program: _Hash
    precision: _Text
    chosen: Chosen
    tensors: list[PlannedTensor]
    floating: list[Floating]
    sensitivity: list[Sensitivity] = []
    equalized: list[Equalized] = []
    version: int = VERSION

    def by_name(self, kind: Kind) -> Mapping[str, PlannedTensor]:
        """The tensors of one kind by their names."""
        return {each.name: each for each in self.tensors if each.kind == kind}

    def to_json(self) -> bytes:
        """As in a file: indented, the same bytes for the same plan."""
        return msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n"


def program_hash(program: Program) -> str:
    """SHA-256 of the graph of a program and of all its numbers."""
    import torch

    exported = program.exported
    digest = hashlib.sha256(str(exported.graph).encode())
    for name, value in sorted({**exported.state_dict, **exported.constants}.items()):
        digest.update(name.encode())
        if isinstance(value, torch.Tensor):
            digest.update(repr((value.dtype, tuple(value.shape))).encode())
            digest.update(value.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()


def read_plan(path: Path) -> QuantizationPlan:
    """The plan in a file.

    Raises:
        UsageError: there is no such file, or it is no plan.
    """
    content = read_regular_file(path, limit=_LARGEST, error=UsageError)
    try:
        plan = msgspec.json.decode(content, type=QuantizationPlan)
        _check(plan)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError) as problem:
        raise UsageError(
            f"{path} is no quantisation plan: {problem}.",
            hint="Remove it, so that it is written again, or give another file as `plan`.",
        ) from problem
    return plan


def _check(plan: QuantizationPlan) -> None:
    """Raise ValueError where the parts of a plan do not fit together."""
    if plan.version != VERSION:
        raise ValueError(f"it is of version {plan.version}, this program reads {VERSION}")
    seen: set[Any] = set()
    for each in plan.tensors:
        if (each.kind, each.name) in seen:
            raise ValueError(f"{each.kind} {each.name} is there twice")
        seen.add((each.kind, each.name))
        if each.kind in PROJECTED:
            raise ValueError(f"{each.name} is a {each.kind}, which no plan has")
        if each.least is not None:
            raise ValueError(f"{each.name} has a least integer, which no plan has")
        if each.bits not in BITS:
            raise ValueError(f"{each.name} has {each.bits} bits")
        if len(each.scale) != len(each.zero_point) or not each.scale:
            raise ValueError(
                f"{each.name} has {len(each.scale)} scales and {len(each.zero_point)} zero points"
            )
        if each.shift and (each.kind != "bias" or len(each.shift) != len(each.scale)):
            raise ValueError(f"{each.name} has {len(each.shift)} shifts and is a {each.kind}")
        if each.block is not None and each.kind != "weight":
            raise ValueError(f"{each.kind} {each.name} has blocks")
        if len(each.scale) > 1 and each.axis is None:
            raise ValueError(f"{each.name} has several scales and no axis")
        if not all(each.low <= zero <= each.high for zero in each.zero_point):
            raise ValueError(f"a zero point of {each.name} is no integer of {each.bits} bits")
        if not all(math.isfinite(scale) for scale in each.scale):
            raise ValueError(f"a scale of {each.name} is not finite")
        _check_palette(each)


def _check_palette(planned: PlannedTensor) -> None:
    values = planned.palette
    if values is None:
        if planned.bits == 6:
            raise ValueError(f"{planned.name} has 6 bits and no palette")
        return
    if planned.kind != "weight" or len(values) > 2**planned.bits:
        raise ValueError(f"{planned.kind} {planned.name} has a palette of {len(values)} values")
    bounded = all(-3e38 < each < 3e38 for each in values)
    if not bounded or any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"the palette of {planned.name} is not in ascending order")


def require_plan_of(plan: QuantizationPlan, program: Program, precision: str, path: Path) -> None:
    """Refuse a plan of another model, of another version of it, or of another precision.

    Raises:
        UsageError: it says which.
    """
    if plan.precision != precision:
        raise UsageError(
            f"The plan in {path} is of the precision {plan.precision}, and {precision} is asked "
            "for.",
            hint=f"Ask for `precision={plan.precision!r}`, or give another file as `plan`.",
        )
    if plan.program != program_hash(program):
        which = (
            f"another version of {program.spec}, or other options"
            if plan.model == program.spec
            else f"{plan.model}, not of {program.spec}"
        )
        raise UsageError(
            f"The plan in {path} is of {which}: the graph or the weights are not the same.",
            hint="Give another file as `plan`: it is written when it does not exist.",
        )
