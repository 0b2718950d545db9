"""Which passes there are, and in which order they run: one row each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError
from ..graph.changes import Pass
from .compose_layers import compose_layers
from .exclude_padding import exclude_padding
from .fold_constants import fold_constants
from .fold_norms import fold_norms
from .fold_scales import fold_scales
from .guard_norms import guard_norms
from .guard_padding import guard_padding
from .index_nearest import index_nearest
from .limit_rank import limit_rank
from .merge_branches import merge_branches
from .move_less import move_less
from .move_narrow import move_narrow
from .normalize_ops import normalize_ops
from .order_products import order_products
from .remove_noops import remove_noops
from .repeat_channels import repeat_channels
from .settle_layouts import settle_layouts
from .settle_pools import settle_pools
from .slice_windows import slice_windows
from .split_depthwise import split_depthwise

__all__ = ["PASSES", "ROWS", "PassRow", "Stage", "notes_on", "select_passes", "stage_of"]

Stage = Literal["shared", "rounds", "last"]
"""``shared``: what formats have in common, run first, in rounds, once for all that begin with the
same; ``rounds``: with these again in rounds, for one format; ``last``: once, after the rounds.
"""


@dataclass(frozen=True)
class PassRow:
    """A pass and its place.

    Attributes:
        default: every format has it, unless its row leaves it out; others ask for it.
        why: why it stands where it stands.
        always: it cannot be left out.
    """

    function: Pass
    stage: Stage
    default: bool
    why: str
    always: bool = False

    @property
    def name(self) -> str:
        """That of the function, which ``--no-pass`` takes."""
        return self.function.__name__


ROWS: tuple[PassRow, ...] = (
    PassRow(
        normalize_ops, "shared", True, "all others know the ops in its spelling only", always=True
    ),
    PassRow(fold_constants, "shared", True, "others look for stored tensors, not for their sums"),
    PassRow(remove_noops, "shared", True, "what changes nothing would hide neighbours from others"),
    PassRow(
        merge_branches,
        "shared",
        True,
        "before norms are folded: one behind a sum has nowhere to go until that is one convolution",
    ),
    PassRow(
        fold_norms, "shared", True, "a norm that is left is a factor less to fold than a scale"
    ),
    PassRow(
        fold_scales, "shared", True, "takes what is left of norms and of the model's own scales"
    ),
    PassRow(
        order_products, "shared", True, "counts multiplications of layers with their final sizes"
    ),
    PassRow(
        compose_layers, "shared", True, "layers that products stood between are neighbours now"
    ),
    PassRow(
        move_less, "rounds", True, "the other computations are settled, so it knows what moves"
    ),
    PassRow(index_nearest, "rounds", False, "its selections may be folded or moved by the others"),
    PassRow(slice_windows, "rounds", False, "its slices may be moved by the others"),
    PassRow(move_narrow, "rounds", False, "for formats without move_less, in its place"),
    PassRow(
        limit_rank, "rounds", False, "joins what the passes before it have left above rank five"
    ),
    PassRow(
        repeat_channels, "last", False, "merge_branches would take the repeated channels for one"
    ),
    PassRow(split_depthwise, "last", False, "merge_branches would join its parts again"),
    PassRow(guard_norms, "last", False, "what others fold into norms or between them is settled"),
    PassRow(settle_pools, "last", False, "others know pools, not their pads and factors apart"),
    PassRow(exclude_padding, "last", False, "others know pools, not their factors apart"),
    PassRow(
        guard_padding, "last", False, "its concatenations say what a pad says better to others"
    ),
    PassRow(
        settle_layouts, "last", False, "to the others its copies are nothing, and they remove them"
    ),
)


PASSES: tuple[Pass, ...] = tuple(row.function for row in ROWS if row.default)
"""The passes that a format has unless its row says otherwise, in order."""

_BY_NAME = {row.name: row for row in ROWS}
_STAGES = {row.function: row.stage for row in ROWS}


def stage_of(function: Pass) -> Stage:
    """The stage of a pass; ``rounds`` for one that is not in the table."""
    return _STAGES.get(function, "rounds")


def select_passes(without: Sequence[str] = (), extra: Sequence[str] = ()) -> tuple[Pass, ...]:
    """The default passes and those named in ``extra``, without those named in ``without``.

    A pass that always runs stays; `notes_on` says so.

    Raises:
        UsageError: there is no pass of that name.
    """
    unknown = [name for name in (*without, *extra) if name not in _BY_NAME]
    if unknown:
        raise UsageError(
            f"There is no pass {unknown[0]!r}.",
            hint=f"The passes are: {', '.join(sorted(_BY_NAME))}.",
        )
    return tuple(
        row.function
        for row in ROWS
        if row.always or ((row.default or row.name in extra) and row.name not in without)
    )


def notes_on(without: Sequence[str]) -> tuple[str, ...]:
    """What to say of passes that were to be left out but always run, one sentence each."""
    return tuple(
        f"{name} always runs ({_BY_NAME[name].why}): leaving it out does nothing."
        for name in dict.fromkeys(without)
        if name in _BY_NAME and _BY_NAME[name].always
    )
