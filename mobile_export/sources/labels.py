"""Class names of ImageNet-1k, in the order of the logits."""

from __future__ import annotations

from importlib import resources

__all__ = ["imagenet_labels", "labels_for"]


def imagenet_labels() -> tuple[str, ...]:
    """The 1000 class names, all different.

    They are torchvision's, where the machine (517) is called "construction crane", so that it is
    told apart from 134, "crane bird", in every version; Core ML's dictionaries need unique keys.
    """
    text = (
        resources.files("mobile_export.models.data").joinpath("imagenet1k.txt").read_text("utf-8")
    )
    return tuple(text.splitlines())


def labels_for(num_classes: int | None) -> tuple[str, ...] | None:
    """ImageNet's names for a classifier of 1000 classes, None for any other."""
    return imagenet_labels() if num_classes == 1000 else None
