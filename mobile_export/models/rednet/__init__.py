"""RedNet (CVPR 2021; arXiv 2103.06255): ResNet with involutions for convolutions."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="rednet26",
        family="RedNet",
        builder="rednet.network:rednet26",
        published=Published(
            source="Involution (arXiv 2103.06255), README of the official code",
            params_m=9.23,
            macs_m=1730,
            top1=75.96,
            code="https://github.com/d-li14/involution",
        ),
        size_step=32,
        strides=(4, 8, 16, 32),
    ),
)
