"""The three forms in which a segmenter gives its result, chosen by the option ``output``."""

from __future__ import annotations

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

__all__ = ["SegmentationOutput", "check_output", "finish"]

SegmentationOutput = Literal["logits", "upsampled", "labels"]
"""``logits``: (B, classes, h, w), as the head makes them, at an 8th (SeaFormer) or a 32nd (EMO) of
the image's size; what phones are timed with.
``upsampled``: (B, classes, H, W), bilinear, pixel centres aligned.
``labels``: (B, H, W) int64, the class of each pixel of the image: arg-max of ``upsampled``."""


def check_output(output: str) -> None:
    """Refuse an unknown option with a sentence that lists the known ones."""
    if output not in get_args(SegmentationOutput):
        known = ", ".join(get_args(SegmentationOutput))
        raise ValueError(f"output is {output!r}; it must be one of {known}")


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
