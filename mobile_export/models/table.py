"""The table of built-in models.

Importable without torch, so that listing, completing and misspelling a name stays cheap: a
family's module is imported when one of its models is built. To add a family, write
``models/FAMILY.py`` with one builder function per variant, and add its rows here
(docs/adding-a-model.md).
"""

from __future__ import annotations

from ..errors import SourceError
from .entry import DETECTION, SEGMENTATION, ModelEntry, Published
from .peers import PEERS

__all__ = ["ModelEntry", "Published", "entries", "get", "names"]


def _emo(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}",
        family="EMO",
        builder=f"emo:emo_{variant}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 7",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/zhangzjn/EMO",
        ),
    )


def _emo_seg(variant: str, head: str, params_m: float, macs_m: float, miou: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}_{head}",
        family="EMO",
        builder=f"emo_seg:emo_{variant}_{head}",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 10",
            params_m=params_m,
            macs_m=macs_m,
            miou=miou,
            code="https://github.com/zhangzjn/EMO",
        ),
        task="segmentation",
        size=(512, 512),
        num_classes=150,
        options=SEGMENTATION,
    )


def _emo_ssdlite(variant: str, params_m: float, macs_m: float, box_ap: float) -> ModelEntry:
    return ModelEntry(
        name=f"emo_{variant}_ssdlite",
        family="EMO",
        builder=f"emo_ssdlite:emo_{variant}_ssdlite",
        published=Published(
            source="EMO (arXiv 2301.01146), Table 8",
            params_m=params_m,
            macs_m=macs_m,
            box_ap=box_ap,
            code="https://github.com/zhangzjn/EMO",
        ),
        task="detection",
        size=(320, 320),
        num_classes=80,
        options=DETECTION,
    )


def _seaformer(
    name: str,
    params_m: float,
    macs_m: float,
    *,
    top1: float | None = None,
    miou: float | None = None,
) -> ModelEntry:
    """A row of Table 14 (classification) or Table 2 (segmentation, FLOPs of Table 13 if there)."""
    segments = miou is not None
    plus = name.startswith("seaformerpp")
    module = "seaformerpp" if plus else "seaformer_seg" if segments else "seaformer"
    if name.endswith("_kd_seg"):
        module = "seaformerpp_kd"
    return ModelEntry(
        name=name,
        family="SeaFormer++" if plus else "SeaFormer",
        builder=f"{module}:{name}",
        published=Published(
            source=f"SeaFormer++ (arXiv 2301.13156), Table{'s 2 and 13' if segments else ' 14'}",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            miou=miou,
            code=None if plus else "https://github.com/fudan-zvg/SeaFormer",
        ),
        task="segmentation" if segments else "classification",
        size=(512, 512) if segments else (224, 224),
        num_classes=150 if segments else 1000,
        options=SEGMENTATION if segments else (),
    )


def _freenet(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"freenet_{variant}",
        family="FreeNet",
        builder=f"freenet:freenet_{variant}",
        published=Published(
            source="FreeNet (AAAI 2025), Tables 1 and 3",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code=None,
        ),
    )


def _mobile_former(variant: str, params_m: float, macs_m: float, top1: float) -> ModelEntry:
    return ModelEntry(
        name=f"mobile_former_{variant}",
        family="Mobile-Former",
        builder=f"mobile_former:mobile_former_{variant}",
        published=Published(
            source="Mobile-Former (arXiv 2108.05895), table of the official code",
            params_m=params_m,
            macs_m=macs_m,
            top1=top1,
            code="https://github.com/AAboys/MobileFormer",
        ),
    )


_ENTRIES = {
    entry.name: entry
    for entry in (
        _emo("1m", 1.3, 261, 71.5),
        _emo("2m", 2.3, 439, 75.1),
        _emo("5m", 5.1, 903, 78.4),
        _emo("6m", 6.1, 961, 79.0),
        _emo_seg("1m", "deeplabv3", 5.6, 2400, 33.5),
        _emo_seg("2m", "deeplabv3", 6.9, 3500, 35.3),
        _emo_seg("5m", "deeplabv3", 10.3, 5800, 37.8),
        _emo_seg("1m", "pspnet", 4.3, 2100, 33.2),
        _emo_seg("2m", "pspnet", 5.5, 3100, 34.5),
        _emo_seg("5m", "pspnet", 8.5, 5300, 38.2),
        _emo_ssdlite("1m", 2.3, 600, 22.0),
        _emo_ssdlite("2m", 3.3, 900, 25.2),
        _emo_ssdlite("5m", 6.0, 1800, 27.9),
        _freenet("s1", 2.4, 280, 71.9),
        _freenet("s2", 6.8, 900, 78.8),
        _freenet("s3", 9.6, 1310, 79.4),
        _freenet("s4", 15.3, 2010, 81.0),
        _mobile_former("96m", 4.6, 96, 72.8),
        _mobile_former("151m", 7.6, 151, 75.2),
        _mobile_former("214m", 9.4, 214, 76.7),
        _mobile_former("294m", 11.4, 294, 77.9),
        _mobile_former("508m", 14.0, 508, 79.3),
        _seaformer("seaformer_tiny", 1.8, 100, top1=67.9),
        _seaformer("seaformer_tiny_seg", 1.7, 600, miou=35.8),
        _seaformer("seaformer_small", 4.1, 200, top1=73.3),
        _seaformer("seaformer_small_seg", 4.0, 1100, miou=39.4),
        _seaformer("seaformer_base", 8.7, 300, top1=76.0),
        _seaformer("seaformer_base_seg", 8.6, 1820, miou=41.0),
        _seaformer("seaformer_large", 14.0, 1200, top1=79.9),
        _seaformer("seaformer_large_seg", 14.0, 6500, miou=43.7),
        _seaformer("seaformerpp_tiny", 1.9, 100, top1=69.8),
        _seaformer("seaformerpp_tiny_seg", 1.8, 610, miou=36.8),
        _seaformer("seaformerpp_tiny_kd_seg", 2.3, 300, miou=35.5),
        _seaformer("seaformerpp_small", 4.2, 200, top1=74.5),
        _seaformer("seaformerpp_small_seg", 4.1, 1110, miou=39.7),
        _seaformer("seaformerpp_small_kd_seg", 5.0, 500, miou=38.4),
        _seaformer("seaformerpp_base", 8.8, 300, top1=77.0),
        _seaformer("seaformerpp_base_seg", 8.7, 1830, miou=41.4),
        _seaformer("seaformerpp_base_kd_seg", 10.2, 900, miou=39.5),
        _seaformer("seaformerpp_large", 14.1, 1200, top1=80.6),
        _seaformer("seaformerpp_large_seg", 14.1, 6500, miou=43.8),
        _seaformer("seaformerpp_large_kd_seg", 17.1, 2900, miou=42.2),
        *PEERS,
    )
}


def names() -> tuple[str, ...]:
    """Names of all built-in models, sorted."""
    return tuple(sorted(_ENTRIES))


def entries() -> tuple[ModelEntry, ...]:
    """All rows, sorted by name."""
    return tuple(_ENTRIES[name] for name in names())


def get(name: str) -> ModelEntry:
    """The row of one model.

    Raises:
        SourceError: there is no such name.
    """
    try:
        return _ENTRIES[name]
    except KeyError:
        raise SourceError(
            f"No built-in model is called {name!r}.",
            hint=f"Built-in models: {', '.join(names())}.",
        ) from None
