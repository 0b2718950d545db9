"""Class names of ImageNet-1k, in the order of the logits."""

from __future__ import annotations

from importlib import resources

__all__ = ["imagenet_labels", "labels_for"]


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names, all different.

    They are torchvision's, except that the two pairs of equal names are told apart: 134 "crane
    bird" and 517 "construction crane", 638 "maillot" and 639 "maillot, tank suit" (dictionaries of
    Core ML need unique keys).
    """
    text = resources.files("mobile_export.data").joinpath("imagenet1k.txt").read_text("utf-8")
    return tuple(text.splitlines())


def labels_for(num_classes: int | None) -> tuple[str, ...] | None:
    """ImageNet's names for a classifier of 1000 classes, None for any other."""
    return imagenet_labels() if num_classes == 1000 else None
