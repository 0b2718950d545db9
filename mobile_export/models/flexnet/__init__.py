"""FlexNet (ICLR 2022; arXiv 2110.08059): kernels of learnt size that a network makes of places."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="flexnet_7",
        family="FlexNet",
        builder="flexnet.network:flexnet_7",
        published=Published(
            source="FlexConv (arXiv 2110.08059), CIFAR-10",
            params_m=0.67,
            macs_m=None,
            code="https://github.com/rjbruin/flexconv",
        ),
        size=(32, 32),
        num_classes=10,
    ),
)
