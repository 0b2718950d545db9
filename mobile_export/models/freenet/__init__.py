"""FreeNet (AAAI 2025): classifiers, and two of timm's with its mixers in the last stage."""

from __future__ import annotations

from ..entry import ModelEntry, Published

__all__ = ["ROWS"]


def _row(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"freenet_{variant}",
        family="FreeNet",
        builder=f"freenet.network:freenet_{variant}",
        published=Published(
            source="FreeNet (AAAI 2025), Tables 1 and 3",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=None,
        ),
        strides=(4, 8, 16, 32),
    )


def _replaced(
    name: str,
    params_m: float,
    macs_m: float,
    top1: float,
    options: tuple[tuple[str, tuple[str, ...]], ...],
) -> ModelEntry:
    """A network of timm's with FreeNet's mixers in its last stage."""
    return ModelEntry(
        name=f"{name}_freenet",
        family="FreeNet",
        builder=f"freenet.replaced:{name}_freenet",
        published=Published(
            source="FreeNet (AAAI 2025), Table 5",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=None,
        ),
        size_step=32,
        options=options,
        weight_options=tuple(key for key, _ in options),
    )


ROWS = (
    _row("s1", 2.4, 280, 71.9),
    _row("s2", 6.8, 900, 78.8),
    _row("s3", 9.6, 1310, 79.4),
    _row("s4", 15.3, 2010, 81.0),
    _replaced("convnext_tiny", 26.2, 4292, 82.123, (("replaced", ("ffn", "mixer")),)),
    _replaced(
        "pvt_v2_b2_li",
        18.2,
        3651,
        82.104,
        (("replaced", ("both", "ffn", "mixer")), ("depths", ("3-4-6-3", "3-3-8-4"))),
    ),
)
