"""InternImage (arXiv 2211.05778) and FlashInternImage (arXiv 2401.06197): deformable blocks."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(name: str, source: str, macs_m: float | None, top1: float, code: str) -> ModelEntry:
    return ModelEntry(
        name=name,
        family="InternImage",
        builder=f"internimage.network:{name}",
        published=Published(
            source=f"{source}, README of the official code",
            params_m=30,
            macs_m=macs_m,
            top1=top1,
            code=f"https://github.com/OpenGVLab/{code}",
        ),
        strides=(4, 8, 16, 32),
    )


ROWS = (
    _row("internimage_tiny", "InternImage (arXiv 2211.05778)", 5000, 83.5, "InternImage"),
    _row("flash_internimage_tiny", "DCNv4 (arXiv 2401.06197)", None, 83.6, "DCNv4"),
)
