"""Which passes there are, and in which order they run."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UsageError
from ..graph.changes import Pass
from .compose_layers import compose_layers
from .fold_constants import fold_constants
from .fold_norms import fold_norms
from .fold_scales import fold_scales
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
from .slice_windows import slice_windows
from .split_depthwise import split_depthwise

__all__ = ["EXTRA_PASSES", "LAST_PASSES", "PASSES", "SHARED_PASSES", "select_passes"]

SHARED_PASSES: tuple[Pass, ...] = (
    normalize_ops,
    fold_constants,
    remove_noops,
    merge_branches,
    fold_norms,
    fold_scales,
    order_products,
    compose_layers,
)
"""What every format runs first, until none of them finds anything: done once for all formats.

Sums of branches are merged before norms are folded: a norm behind a sum has nowhere to go until the
sum is one convolution. What a fold uncovers is merged in the next round.
"""

PASSES: tuple[Pass, ...] = (*SHARED_PASSES, move_less)
"""Every pass that a format has unless its row in `targets.FORMATS` says otherwise, in order."""

LAST_PASSES: tuple[Pass, ...] = (repeat_channels, split_depthwise, guard_padding, settle_layouts)
"""Passes that run once, after the rounds of the others, which would undo what they do."""

EXTRA_PASSES: tuple[Pass, ...] = (
    index_nearest,
    slice_windows,
    move_narrow,
    limit_rank,
    *LAST_PASSES,
)
"""Passes that only those formats run whose row in `targets.FORMATS` asks for them."""


def select_passes(without: Sequence[str] = (), extra: Sequence[str] = ()) -> tuple[Pass, ...]:
    """`PASSES` and those of `EXTRA_PASSES` that are named, without those named.

    Raises:
        UsageError: there is no pass of that name.
    """
    names = {function.__name__ for function in (*PASSES, *EXTRA_PASSES)}
    unknown = [name for name in without if name not in names]
    if unknown:
        raise UsageError(
            f"There is no pass {unknown[0]!r}.", hint=f"The passes are: {', '.join(sorted(names))}."
        )
    added = [function for function in EXTRA_PASSES if function.__name__ in extra]
    return tuple(f for f in (*PASSES, *added) if f.__name__ not in without)
