"""DCGAN (arXiv 1511.06434): its discriminator."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="dcgan_discriminator",
        family="DCGAN",
        builder="dcgan.network:dcgan_discriminator",
        published=Published(
            source="DCGAN (arXiv 1511.06434), §3; code of others",
            params_m=None,
            macs_m=None,
            code=None,
        ),
        size=(64, 64),
        size_step=64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        num_classes=1,
        options=(("output", ("logits", "probabilities")),),
    ),
)
