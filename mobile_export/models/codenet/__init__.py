"""CoDeNet (FPGA 2021; arXiv 2006.08357): a detector with deformable depthwise convolutions."""

from __future__ import annotations

from ..entry import DETECTION, ModelEntry, Published

__all__ = ["ROWS"]

ROWS = (
    ModelEntry(
        name="codenet_1x",
        family="CoDeNet",
        builder="codenet.network:codenet_1x",
        published=Published(
            source="CoDeNet (arXiv 2006.08357), Table 4 (6.07 MiB of float32)",
            params_m=1.59,
            macs_m=1240,
            box_ap=22.2,
            code="https://github.com/Zhen-Dong/CoDeNet",
        ),
        task="detection",
        size=(512, 512),
        size_step=32,
        num_classes=80,
        classes="coco80",
        options=(*DETECTION, ("stem", ("stride", "maxpool"))),
    ),
)
