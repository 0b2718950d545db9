"""The three forms in which a segmenter gives its result, chosen by the option ``output``.

The same of a network that tells one thing from the rest, `finish_mask`.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "MaskOutput",
    "SegmentationOutput",
    "check_mask_output",
    "check_output",
    "finish",
    "finish_mask",
]

SegmentationOutput = Literal["logits", "upsampled", "labels"]
"""``logits``: (B, classes, h, w), as the head makes them, at an 8th (SeaFormer) or a 32nd (EMO) of
the image's size; what phones are timed with.
``upsampled``: (B, classes, H, W), bilinear, pixel centres aligned.
``labels``: (B, H, W) int64, the class of each pixel of the image: arg-max of ``upsampled``."""


MaskOutput = Literal["probabilities", "logits", "labels"]
"""``probabilities``: (B, 1, H, W) in (0, 1). ``logits``: before the sigmoid. ``labels``: (B, H, W)
int64, 1 where the probability is above a half."""


def check_output(output: str) -> None:
    """Refuse an unknown option with a sentence that lists the known ones."""
    _check(output, get_args(SegmentationOutput))


def check_mask_output(output: str) -> None:
    """`check_output` for a `MaskOutput`."""
    _check(output, get_args(MaskOutput))


def _check(output: str, known: tuple[str, ...]) -> None:
    if output not in known:
        raise ValueError(f"output is {output!r}; it must be one of {', '.join(known)}")


def finish(logits: Tensor, size: tuple[int, int], output: SegmentationOutput) -> Tensor:
    """A head's logits (B, classes, h, w) in the form asked for.

    Args:
        size: (height, width) of the images.
    """
    if output == "logits":
        return logits
    if logits.shape[2:] != size:
        logits = F.interpolate(logits, size=size, mode="bilinear", align_corners=False)
    return logits.argmax(1) if output == "labels" else logits


def finish_mask(logits: Tensor, output: MaskOutput) -> Tensor:
    """Logits (B, 1, H, W) in the form asked for."""
    if output == "labels":
        # logits > 0 as every format has it: of background (0) and object, the larger
        return torch.cat([torch.zeros_like(logits), logits], 1).argmax(1)
    return logits if output == "logits" else torch.sigmoid(logits)
