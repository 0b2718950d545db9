"""XNOR-Net (ECCV 2016; arXiv 1603.05279): AlexNet of binary weights, and of binary inputs."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="xnor_alexnet",
        family="XNOR-Net",
        builder="xnor_net.network:xnor_alexnet",
        published=Published(
            source="XNOR-Net (arXiv 1603.05279), Table 1",
            params_m=None,
            macs_m=None,
            top1=56.8,
            code="https://github.com/allenai/XNOR-Net",
        ),
        size=(224, 224),
        min_size=223,
        options=(("inputs", ("float", "binary")),),
        weight_options=("inputs",),
    ),
)
