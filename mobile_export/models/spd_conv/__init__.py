"""SPD-Conv (arXiv 2208.03641): space to depth instead of strides, in ResNet-50."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="resnet50_spd",
        family="SPD-Conv",
        builder="spd_conv.network:resnet50_spd",
        published=Published(
            source="SPD-Conv (arXiv 2208.03641), official code (CIFAR-10)",
            params_m=None,
            macs_m=None,
            code="https://github.com/LabSAINT/SPD-Conv",
        ),
        size=(32, 32),
        size_step=16,
        num_classes=10,
    ),
)
