"""Deformable ConvNets v2 (arXiv 1811.11168): a ResNet-50 of deformable convolutions."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="resnet50_dcnv2",
        family="DCNv2",
        builder="dcn.network:resnet50_dcnv2",
        published=Published(
            source="Deformable ConvNets v2 (arXiv 1811.11168), §3; as in mmdetection 3.3.0",
            params_m=None,
            macs_m=None,
            code=None,
        ),
        strides=(4, 8, 16, 32),
    ),
)
