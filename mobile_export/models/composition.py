"""``BACKBONE+HEAD``: a model put together of a backbone's feature maps and a head of `heads`.

The name is read here without torch; `compose` builds the network. Parameter names are those of
mmsegmentation and mmdetection: ``backbone.``, ``neck.``, ``decode_head.`` or ``bbox_head.``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import SourceError, UsageError
from .heads import HEADS, Head, head_names

if TYPE_CHECKING:
    from torch import nn

    from .heads.network import Backbone

__all__ = ["OUTPUT_STRIDES", "Composition", "compose", "is_composition", "parse"]

SIGN = "+"
OUTPUT_STRIDES = (8, 16, 32)
"""Of the last feature map of a backbone whose later stages are dilated instead of strided."""
_WIDEST = 4096
_KEYS = ("output", "output_stride", "width", "regions")
_MOST_REGIONS = 2000


@dataclass(frozen=True)
class Composition:
    """What a name ``BACKBONE+HEAD?key=value`` says.

    Attributes:
        backbone: the name of the model that gives the feature maps, with its own options.
        head: the row of the head.
        output: the form of the result.
        output_stride: of the backbone's last map; None: the backbone's own.
        width: channels of the head; None: of a head whose width is fixed.
        regions: boxes that this part of a detector's second stage takes; None: it is none.
    """

    backbone: str
    head: Head
    output: str
    output_stride: int | None
    width: int | None
    regions: int | None = None


def is_composition(spec: str) -> bool:
    """Whether a name is one of a backbone and a head.

    A ``+`` inside the options of somebody's own factory makes none, unless a head's name follows.
    """
    backbone, sign, rest = spec.rpartition(SIGN)
    if not sign or spec.endswith(".pt2"):
        return False
    return rest.partition("?")[0] in HEADS or "?" not in backbone


def parse(spec: str) -> Composition:
    """The parts of a name.

    Raises:
        SourceError: there is no such head; it names those that are spelt alike.
        UsageError: the head has no such option, or no backbone is named.
    """
    backbone, _, rest = spec.rpartition(SIGN)
    name, _, query = rest.partition("?")
    if name not in HEADS:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), head_names(), n=3)
        guess = f"Did you mean {' or '.join(f'{backbone}{SIGN}{one}' for one in near)}? "
        raise SourceError(
            f"There is no head called {name!r}.",
            hint=f"{guess if near else ''}Heads: {', '.join(head_names())}.",
        )
    if not backbone:
        raise UsageError(
            f"{spec!r} names a head without a backbone.",
            hint=f"Put a model before it that has feature maps: emo_1m{SIGN}{name}.",
        )
    head = HEADS[name]
    said = dict(_pair(head, part) for part in query.split("&") if part)
    forms = head.options[0][1]
    output = said.get("output", forms[0])
    if output not in forms:
        raise UsageError(
            f"{name} has no output {output!r}.", hint=f"output can be {', '.join(forms)}."
        )
    stride = _number(said, "output_stride", OUTPUT_STRIDES)
    width = _number(said, "width", range(8, _WIDEST + 1))
    regions = _number(said, "regions", range(1, _MOST_REGIONS + 1))
    default = dict(head.regions).get(output)
    if regions is not None and default is None:
        raise UsageError(
            f"The output {output} of {name} takes no regions.",
            hint=f"Those that do: {', '.join(part for part, _ in head.regions)}.",
        )
    return Composition(backbone, head, output, stride, width or head.width, regions or default)


def _pair(head: Head, part: str) -> tuple[str, str]:
    key, _, value = part.partition("=")
    lacking = {"width": head.width is None, "regions": not head.regions}
    keys = [one for one in _KEYS if not lacking.get(one)]
    if key not in keys:
        raise UsageError(f"{head.name} has no option {key!r}.", hint=f"It has: {', '.join(keys)}.")
    return key, value


def _number(said: dict[str, str], key: str, valid: tuple[int, ...] | range) -> int | None:
    text = said.get(key)
    if text is None:
        return None
    known = (
        f"{valid.start} to {valid.stop - 1}"
        if isinstance(valid, range)
        else ", ".join(map(str, valid))
    )
    if not text.isdecimal() or len(text) > len(str(_WIDEST)) or int(text) not in valid:
        raise UsageError(f"{key} {text[:40]!r} is not valid.", hint=f"{key} can be {known}.")
    return int(text)


def compose(parts: Composition, backbone: Backbone, num_classes: int | None = None) -> nn.Module:
    """The network.

    Args:
        backbone: its feature maps (`heads.network.Backbone`).
        num_classes: None is the head's default.

    Raises:
        UsageError: the backbone lacks a map that the head takes, or there are no classes.
    """
    from .heads.mask_rcnn import MaskRCNN
    from .heads.network import ComposedDetector, ComposedSegmenter

    head = parts.head
    classes = head.num_classes if num_classes is None else num_classes
    kind: Any = ComposedDetector if head.task == "detection" else ComposedSegmenter
    if head.regions:
        kind = MaskRCNN
    try:
        module: nn.Module = kind(backbone, head, classes, parts.width, parts.output)
    except ValueError as error:
        raise UsageError(
            f"{parts.backbone}{SIGN}{head.name} cannot be built: {error}.",
            hint="Another backbone or head: docs/models.md lists both.",
        ) from error
    return module
