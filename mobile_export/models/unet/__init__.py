"""U-Net (MICCAI 2015; arXiv 1505.04597), with padded convolutions and batch norm."""

from __future__ import annotations

from ..entry import SEGMENTATION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="unet",
        family="U-Net",
        builder="unet.network:unet",
        published=Published(
            source="U-Net (arXiv 1505.04597), Figure 1; code of others",
            params_m=None,
            macs_m=None,
            code="https://github.com/milesial/Pytorch-UNet",
        ),
        task="segmentation",
        size=(512, 512),
        size_step=16,
        num_classes=2,
        options=SEGMENTATION,
    ),
)
